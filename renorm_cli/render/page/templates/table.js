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
      table.querySelectorAll("tr.detail").forEach(close);
      const kind = head.dataset.sort;
      const order = kind === "text" ? ["ascending", "descending"] : ["descending", "ascending"];
      const next = order[order.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(rows, head.cellIndex, kind, next === "ascending" ? 1 : -1) : rows));
    });
  }
}

/* Filtering by text, by "only findings" and by "only guesses and warnings". */

function makeFilter(controls) {
  const table = controls.parentElement.querySelector("table.all");
  const rows = [...table.tBodies[0].rows].map((row) => {
    const head = row.cells[0];
    const words = [...row.querySelectorAll("td.text")].map((cell) => cell.textContent);
    const text = [head.textContent, head.title, ...words].join(" ").toLowerCase();
    return { row, text };
  });
  const field = controls.querySelector(".filter");
  const only = controls.querySelector(".only") ?? { checked: false, addEventListener() {} };
  const doubtful = controls.querySelector(".doubtful") ?? { checked: false, addEventListener() {} };
  const output = controls.querySelector(".count");
  function update() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    table.querySelectorAll("tr.detail").forEach(close);
    for (const { row, text } of rows) {
      const asked = (!only.checked || row.classList.contains("found")) && (!doubtful.checked || row.classList.contains("doubt"));
      const keep = asked && words.every((word) => text.includes(word));
      if (row.hidden === keep) row.hidden = !keep;
      shown += keep;
    }
    output.textContent = `${counts.format(shown)} of ${counts.format(rows.length)} shown`;
  }
  field.addEventListener("input", update);
  only.addEventListener("change", update);
  doubtful.addEventListener("change", update);
  table.addEventListener("recounted", () => only.checked && update());
  controls.hidden = false;
  update();
}

/* A narrow screen shows a line as a card, each cell with its title. */

function makeCards(table) {
  const titles = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  table.classList.add("cards");
  for (const row of table.tBodies[0].rows) for (const cell of row.cells) if (cell.cellIndex && cell.colSpan === 1) cell.dataset.label = titles[cell.cellIndex];
}
