"use strict";

const counts = new Intl.NumberFormat("en-US");
const names = new Intl.Collator("en", { numeric: true });

/* Sorting: a header becomes a button; it sorts one way, then the other, then in the order of the file again. */

function keyOf(row, index, kind) {
  const cell = row.cells[index];
  if (!cell || cell.colSpan > 1) return null;
  if (kind === "text") return cell.textContent;
  if (kind === "shape") return cell.textContent.split("×").reduce((product, size) => product * (parseFloat(size) || 1), 1);
  const number = parseFloat(cell.dataset.v || cell.textContent.replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

function sorted(rows, index, kind, sign) {
  const keyed = rows.map((row) => [keyOf(row, index, kind), row]);
  const compare = kind === "text" ? names.compare : (a, b) => a - b;
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b);
  });
  return keyed.map(([, row]) => row);
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  for (const head of heads.filter((cell) => cell.dataset.sort)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const kind = head.dataset.sort;
      const order = kind === "text" ? ["ascending", "descending"] : ["descending", "ascending"];
      const next = order[order.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(rows, head.cellIndex, kind, next === "ascending" ? 1 : -1) : rows));
    });
  }
}

/* Filtering by text and by "only findings". */

function makeFilter(controls) {
  const table = controls.parentElement.querySelector("table.all");
  const rows = [...table.tBodies[0].rows].map((row) => {
    const head = row.cells[0];
    const words = [...row.querySelectorAll("td.text")].map((cell) => cell.textContent);
    const text = [head.textContent, head.title, ...words].join(" ").toLowerCase();
    return { row, text, found: row.classList.contains("found") };
  });
  const field = controls.querySelector(".filter");
  const only = controls.querySelector(".only") ?? { checked: false, addEventListener() {} };
  const output = controls.querySelector(".count");
  function update() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text, found } of rows) {
      const keep = (!only.checked || found) && words.every((word) => text.includes(word));
      if (row.hidden === keep) row.hidden = !keep;
      shown += keep;
    }
    output.textContent = `${counts.format(shown)} of ${counts.format(rows.length)} shown`;
  }
  field.addEventListener("input", update);
  only.addEventListener("change", update);
  controls.hidden = false;
  update();
}

/* The bound to try: a slider, or the pointer on the drawings. */

function shareText(part, whole) {
  if (part === 0 || part === whole) return part ? "100 %" : "0 %";
  const percent = (100 * part) / whole;
  return percent < 0.1 ? "< 0.1 %" : percent > 99.9 ? "> 99.9 %" : `${percent.toFixed(1)} %`;
}

function makeSlider(share) {
  const [bounds, over] = [share.dataset.bounds, share.dataset.over].map((text) => JSON.parse(text));
  const [units, exact] = [share.dataset.units, share.dataset.exact].map(Number);
  const slider = share.querySelector("input[type=range]");
  const output = share.querySelector(".told");
  const cursors = share.querySelectorAll(".cursor");
  function tell() {
    const at = Number(slider.value);
    const about = at === exact || over[at] === 0 || over[at] === units ? "" : "about ";
    const text = `bound ${bounds[at]}: ${shareText(over[at], units)} of units over`;
    output.textContent = `${text}, ${about}${counts.format(over[at])} of ${counts.format(units)}`;
    slider.setAttribute("aria-valuetext", text);
    const line = at === exact ? share.querySelector(".bound") : null;
    const place = line ? line.getAttribute("x1") : `${(100 * at) / (bounds.length - 1)}%`;
    for (const cursor of cursors) {
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      cursor.setAttribute("visibility", "visible");
    }
  }
  function point(event) {
    if (event.type === "pointermove" && !event.buttons) return;
    const area = event.currentTarget.getBoundingClientRect();
    slider.value = Math.round(((event.clientX - area.left) / area.width) * (bounds.length - 1));
    tell();
  }
  for (const plot of share.querySelectorAll(".plot")) {
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointermove", point);
  }
  slider.addEventListener("input", tell);
  slider.parentElement.hidden = false;
  slider.value = share.dataset.start;
  tell();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".controls").forEach(makeFilter);
document.querySelectorAll(".share").forEach(makeSlider);
