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

/* A line's units by norm: counts in equal bins from its least norm to its largest. */

function unitsOf(row) {
  if (!row.dataset.h) return null;
  const counts = row.dataset.h.split(",").map(Number);
  const [low, high] = row.dataset.r.split(" ").map(Number);
  return { counts, low, high, total: counts.reduce((sum, count) => sum + count, 0) };
}

function overOf({ counts, low, high, total }, bound) {
  if (bound >= high) return 0;
  if (bound < low) return total;
  const place = ((bound - low) / (high - low)) * counts.length;
  const bin = Math.min(Math.floor(place), counts.length - 1);
  let over = counts[bin] * (bin + 1 - place);
  for (let at = bin + 1; at < counts.length; at += 1) over += counts[at];
  return Math.min(Math.max(Math.round(over), 1), total - 1);
}

function drawn(svg, name) {
  let path = svg.querySelector(name ? `.${name}` : "path:not([class])");
  if (!path) {
    path = document.createElementNS(svg.namespaceURI, "path");
    if (name) path.setAttribute("class", name);
    svg.append(path);
  }
  return path;
}

function outline(heights, first) {
  let path = "";
  heights.forEach((height, at) => {
    if (!height) return;
    const start = at && heights[at - 1] ? "" : `M${(first + at) * 3} 20`;
    path += `${start}V${20 - height}h3${at + 1 < heights.length && heights[at + 1] ? "" : "V20"}`;
  });
  return path;
}

/* The lines of a table, counted and drawn again for a bound; at the bound of the report they are as they were. */

function makeRecount(table) {
  const heads = [...table.tHead.rows[0].cells];
  let column = heads.findIndex((head) => head.textContent === "over");
  if (column < 0) {
    column = heads.findLastIndex((head) => ["shape", "units"].includes(head.textContent)) + 1;
    const head = Object.assign(document.createElement("th"), { scope: "col", textContent: "over" });
    head.dataset.sort = "number";
    heads[column - 1].after(head);
    for (const row of table.tBodies[0].rows) {
      const skipped = row.querySelector("td[colspan]");
      if (skipped) skipped.colSpan += 1;
      else row.insertCell(column);
    }
  }
  const [low, high, log] = table.dataset.axis.split(" ").map(Number);
  const scale = log ? Math.log10 : (norm) => norm;
  const x = (norm) => {
    const place = norm <= low ? 0 : norm >= high ? 1 : (scale(norm) - scale(low)) / (scale(high) - scale(low));
    return Math.round(1 + place * 158);
  };
  const lines = [...table.tBodies[0].rows].map((row) => ({ row, units: unitsOf(row) })).filter((line) => line.units);
  for (const line of lines) {
    line.cell = line.row.cells[column];
    line.was = [line.cell.textContent, line.cell.className, line.row.classList.contains("found")];
    line.name = line.row.cells[0].cloneNode(true);
    line.name.querySelectorAll("small, em").forEach((one) => one.remove());
    line.name = line.name.textContent;
    [line.range, line.bars] = ["r", "h"].map((name) => line.row.querySelector(`svg.${name}`));
    if (line.range) {
      const of = (svg, names) => names.map((name) => [svg, name, svg.querySelector(name ? `.${name}` : "path:not([class])")?.getAttribute("d") ?? ""]);
      line.paths = [...of(line.range, ["b", "", "o"]), ...of(line.bars, ["", "o", "b"])];
    }
  }
  function draw({ range, bars, units }, bound, over) {
    const [from, to] = [x(units.low), x(units.high)];
    const edge = over ? Math.max(from, x(bound)) : to;
    drawn(range, "b").setAttribute("d", bound >= low && bound <= high ? `M${x(bound)} 0v20` : "");
    drawn(range, "").setAttribute("d", `M${from} 6H${Math.max(edge, from + 1)}`);
    drawn(range, "o").setAttribute("d", over ? `M${edge} 6H${Math.max(to, edge + 1)}` : "");
    const counts = units.counts.length === 64 ? units.counts.filter((_, at) => at % 2 === 0).map((count, at) => count + units.counts[2 * at + 1]) : units.counts;
    const top = Math.max(...counts);
    const heights = counts.map((count) => Math.ceil(Math.sqrt(count / top) * 20));
    const place = units.high > units.low ? (bound - units.low) / (units.high - units.low) : -1;
    const split = over ? Math.max(0, Math.ceil(place * counts.length - 0.5)) : counts.length;
    drawn(bars, "").setAttribute("d", outline(heights.slice(0, split), 0));
    drawn(bars, "o").setAttribute("d", outline(heights.slice(split), split));
    drawn(bars, "b").setAttribute("d", over && place >= 0 && place <= 1 ? `M${(place * counts.length * 3).toFixed(1)} 0v20` : "");
  }
  return (bound, isOfReport) => {
    for (const line of lines) {
      const over = overOf(line.units, bound);
      const [text, style, found] = line.was;
      line.over = over;
      line.cell.textContent = isOfReport ? text : counts.format(over);
      line.cell.className = isOfReport ? style : over ? "bad" : "";
      line.row.classList.toggle("found", isOfReport ? found : over > 0 || (found && !style.includes("bad")));
      if (line.range && isOfReport) for (const [svg, name, path] of line.paths) drawn(svg, name).setAttribute("d", path);
      else if (line.range) draw(line, bound, over);
    }
    table.dispatchEvent(new Event("recounted"));
    return lines;
  };
}

/* The findings for a bound: the others as they are, those over the bound counted again, the largest share first. */

function tellFindings(section, lines, bound, isOfReport, one) {
  if (!section) return;
  const list = section.querySelector("ol");
  section.firstElementChild.textContent = isOfReport ? "Findings" : `Findings at the bound ${bound}`;
  list.querySelectorAll(".tried").forEach((one) => one.remove());
  const told = [...list.children];
  for (const one of told) one.hidden = !isOfReport && one.dataset.fault === "over";
  if (!isOfReport) {
    const worst = lines.filter((line) => line.over).sort((a, b) => b.units.high - a.units.high).slice(0, 10);
    list.append(...worst.map((line) => {
      const [item, name] = [document.createElement("li"), document.createElement("b")];
      item.className = "tried";
      name.textContent = line.name;
      const share = `about ${counts.format(line.over)} of ${counts.format(line.units.total)} units have ${one} over ${bound}`;
      item.append(name, ` ${share}; the largest is ${Number(line.units.high.toPrecision(9))}`);
      return item;
    }));
  }
  section.hidden = ![...list.children].some((one) => !one.hidden);
}

/* The bound to try: a slider, or the pointer on the drawings. */

function shareText(part, whole) {
  if (part === 0 || part === whole) return part ? "100 %" : "0 %";
  const percent = (100 * part) / whole;
  return percent < 0.1 ? "< 0.1 %" : percent > 99.9 ? "> 99.9 %" : `${percent.toFixed(1)} %`;
}

/* The large histogram: bars over the bound in colour, and their heights on a scale of units or of their logarithm. */

function makeBars(svg) {
  const paths = svg.querySelectorAll(".bars");
  const tallest = Number(svg.dataset.tallest);
  const bars = [...paths].flatMap((path) => [...path.getAttribute("d").matchAll(/M([\d.]+) 100V([\d.]+)H([\d.]+)V100z/g)]).map((found) => [Number(found[1]), Number(found[3]), 1 - Number(found[2]) / 100]);
  const grid = svg.parentElement.querySelectorAll("line.step");
  const labels = svg.parentElement.querySelectorAll("text.step");
  return (place, isLog) => {
    const height = (share) => (isLog ? Math.log1p(share * tallest) / Math.log1p(tallest) : share);
    const path = (pieces) => pieces.map(([left, right, share]) => `M${left} 100V${(100 * (1 - height(share))).toFixed(1)}H${right}V100z`).join("");
    const edge = place * 1000;
    paths[0].setAttribute("d", path(bars.filter(([left]) => left < edge).map(([left, right, share]) => [left, Math.min(right, edge), share])));
    paths[1].setAttribute("d", path(bars.filter(([, right]) => right > edge).map(([left, right, share]) => [Math.max(left, edge), right, share])));
    labels.forEach((label, at) => {
      const y = 150 - 134 * height(Number(label.textContent) / tallest);
      label.setAttribute("y", y - 4);
      for (const end of ["y1", "y2"]) grid[at].setAttribute(end, y);
    });
  };
}

function makeSlider(share) {
  const [bounds, over] = [share.dataset.bounds, share.dataset.over].map((text) => JSON.parse(text));
  const [units, exact] = [share.dataset.units, share.dataset.exact].map(Number);
  const slider = share.querySelector("input[type=range]");
  const output = share.querySelector(".told");
  const cursors = share.querySelectorAll(".cursor");
  const article = share.closest("article");
  const table = article.querySelector("table.all[data-axis]");
  const recount = table ? makeRecount(table) : () => [];
  const draw = makeBars(share.querySelector(".counts"));
  const log = share.querySelector(".log");
  const again = share.querySelector(".again");
  let waiting = 0;
  let before = exact;
  function spread() {
    waiting = 0;
    const at = Number(slider.value);
    if (at !== before) tellFindings(article.querySelector(".faults"), recount(bounds[at], at === exact), bounds[at], at === exact, share.dataset.one);
    before = at;
  }
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
    draw(parseFloat(place) / 100, log.checked);
    if (again) again.firstElementChild.textContent = again.firstElementChild.dataset.command.replace("{bound}", bounds[at]);
    waiting ||= requestAnimationFrame(spread);
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
  log.addEventListener("change", tell);
  log.parentElement.hidden = false;
  slider.parentElement.hidden = false;
  if (again) {
    again.hidden = false;
    again.querySelector(".copy").addEventListener("click", (event) => copy(again.firstElementChild, event.currentTarget));
  }
  slider.value = share.dataset.start;
  tell();
}

async function copy(code, button) {
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    if (!document.execCommand("copy")) return;
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

/* A line opens to its histogram, large, and to what the table has no room for. */

function close(detail) {
  detail.previousElementSibling?.querySelector(".open")?.setAttribute("aria-expanded", "false");
  detail.remove();
}

function element(name, attributes, text = "") {
  const made = document.createElementNS(document.querySelector("main svg").namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

const short = (value) => String(Number(value.toPrecision(4)));

function unitsDrawn(row) {
  const { counts: bins, low, high } = unitsOf(row);
  const top = Math.max(...bins);
  const svg = element("svg", { class: "h large", width: "100%", height: "160", viewBox: "0 0 640 100", preserveAspectRatio: "none", role: "img" });
  const bars = bins.map((count, at) => (count ? `M${at * 10} 100V${(100 - (100 * count) / top).toFixed(1)}h9.4V100z` : ""));
  const mark = row.querySelector("svg.h .o");
  const split = mark && mark.getAttribute("d") ? Math.round(Number(mark.getAttribute("d").slice(1).split(" ")[0]) / 96 * bins.length) : bins.length;
  drawn(svg, "").setAttribute("d", bars.slice(0, split).join(""));
  drawn(svg, "o").setAttribute("d", bars.slice(split).join(""));
  svg.setAttribute("aria-label", `histogram of the norms of this variable, highest bar ${top} units`);
  const scale = document.createElement("p");
  scale.className = "scale";
  scale.append(...[low, (low + high) / 2, high].map((value) => Object.assign(document.createElement("span"), { textContent: short(value) })));
  return { parts: [svg, scale], text: `Highest bar: ${counts.format(top)} units.` };
}

/* The eigenvalues of a matrix, both axes logarithmic. A power law is a straight line there: of as many eigenvalues as
   are above its least, it has in a bin the difference of the shares beyond the two edges. */

function spectrumDrawn(row) {
  const [low, high, largest, edge, alpha, least, distance, text] = row.dataset.s.split(" ").map((one, at) => (at < 7 ? Number(one) : one));
  const bins = text.split(",").map(Number);
  const width = (high - low) / bins.length;
  const top = Math.max(...bins);
  const end = Math.max(high, Math.log10(edge)) + 0.06 * (high - low);
  const x = (log) => (log - low) / (end - low);
  const height = (count) => (count > 0.5 ? Math.log(2 * count) / Math.log(2 * Math.max(top, 2)) : 0);
  const svg = element("svg", { class: "plot", width: "100%", height: "172", role: "img", "aria-label": `eigenvalues from ${short(10 ** low)} to ${short(10 ** high)}, most in a bin ${top}` });
  const step = Math.ceil((end - low) / 8);
  for (let log = Math.ceil(low); log <= end; log += step) {
    const place = `${100 * x(log)}%`;
    svg.append(element("line", { class: "grid", x1: place, x2: place, y1: 0, y2: 150 }), element("text", { x: place, y: 165, "text-anchor": "middle" }, String(Number(`1e${log}`))));
  }
  const inner = element("svg", { y: 16, width: "100%", height: 134, viewBox: "0 0 1000 100", preserveAspectRatio: "none" });
  const bar = (count, at) => (count ? `M${(1000 * x(low + at * width)).toFixed(1)} 100V${(100 - 100 * height(count)).toFixed(1)}H${(1000 * x(low + (at + 1) * width)).toFixed(1)}V100z` : "");
  inner.append(element("path", { class: "bars", d: bins.map(bar).join("") }));
  const said = [`Eigenvalues of the matrix (squares of singular values) in ${bins.length} bins, both axes logarithmic.`];
  if (alpha) {
    const from = Math.log10(least);
    const above = bins.reduce((sum, count, at) => sum + count * Math.min(1, Math.max(0, (low + (at + 1) * width - from) / width)), 0);
    const first = Math.log10(above * (1 - 10 ** (width * (1 - alpha))));
    const last = Math.min(high, from + width / 2 + (first - Math.log10(0.5)) / (alpha - 1));
    const y = (log) => 100 - 100 * height(10 ** (first + (1 - alpha) * (log - from - width / 2)) + 1e-9);
    const [start, stop] = [from + width / 2, Math.max(last, from + width / 2)];
    inner.append(element("path", { class: distance > 0.1 ? "law far" : "law", d: `M${(1000 * x(start)).toFixed(1)} ${y(start).toFixed(1)}L${(1000 * x(stop)).toFixed(1)} ${y(stop).toFixed(1)}` }));
    said.push(`The line is the power law that fits best: alpha ${short(alpha)} from ${short(least)} on, at a distance of ${short(distance)}${distance > 0.1 ? ", which is too far to be one" : ""}.`);
  }
  svg.append(inner, element("line", { class: "base", x1: 0, x2: "100%", y1: 150, y2: 150 }));
  for (let level = 1; level <= top; level *= 10) svg.append(element("text", { class: "level", x: "100%", dx: -3, "text-anchor": "end", y: 146 - 134 * height(level) }, counts.format(level)));
  const place = x(Math.log10(edge));
  if (place >= 0) {
    const at = `${100 * place}%`;
    svg.append(element("line", { class: "edge", x1: at, x2: at, y1: 0, y2: 150 }), element("text", { class: "edgetext", x: at, y: 11, ...(place > 0.5 ? { "text-anchor": "end", dx: -5 } : { dx: 5 }) }, "Marchenko-Pastur edge"));
  }
  said.push(`The largest is ${short(largest / edge)} times the Marchenko-Pastur edge, ${short(edge)}: the largest of a random matrix of this size and Frobenius norm.`);
  const figure = document.createElement("figure");
  figure.append(svg);
  return { parts: [figure], text: said.join(" ") };
}

function open(row) {
  const detail = document.createElement("tr");
  detail.className = "detail";
  detail.dataset.role = row.dataset.role;
  const cell = detail.insertCell();
  cell.colSpan = 99;
  const matrix = row.dataset.s ? [spectrumDrawn(row)] : [];
  const units = matrix.length && unitsOf(row).total === 1 ? [] : [unitsDrawn(row)];
  const worst = row.querySelector(".worst");
  const told = document.createElement("p");
  told.className = "aside";
  told.textContent = [...matrix, ...units].map((one) => one.text).join(" ");
  if (row.dataset.f) told.textContent += ` Of the matrix: ${row.dataset.f}.`;
  told.textContent += ` ${row.querySelector("small").textContent}. Worst units: ${worst ? worst.textContent : ""}. Stored as ${row.cells[0].title}.`;
  cell.append(...[...matrix, ...units].flatMap((one) => one.parts), told);
  row.after(detail);
}

function makeOpening(table) {
  for (const row of table.tBodies[0].rows) {
    if (!row.dataset.h) continue;
    const head = row.cells[0];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "open";
    button.setAttribute("aria-expanded", "false");
    while (head.firstChild && !["EM", "SMALL"].includes(head.firstChild.nodeName)) button.append(head.firstChild);
    head.prepend(button);
  }
  table.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (!button) return;
    const row = button.closest("tr");
    if (button.getAttribute("aria-expanded") === "true") return close(row.nextElementSibling);
    button.setAttribute("aria-expanded", "true");
    open(row);
  });
}

/* The drawings by depth: the matrix under the pointer is told. */

function makeDepth(section) {
  const table = section.closest("article").querySelector("table.all");
  const rows = [...table.querySelectorAll("tr[data-d]")].sort((a, b) => a.dataset.d - b.dataset.d);
  const output = section.querySelector(".told");
  const cursors = section.querySelectorAll(".cursor");
  function point(event) {
    const area = event.currentTarget.getBoundingClientRect();
    const at = Math.min(Math.max(Math.floor(((event.clientX - area.left) / area.width) * rows.length), 0), rows.length - 1);
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    const figures = ["spectral", "operator", "stable rank"].filter((title) => heads.includes(title)).map((title) => `${title} ${rows[at].cells[heads.indexOf(title)].textContent}`);
    const name = rows[at].cells[0].cloneNode(true);
    name.querySelectorAll("small, em").forEach((one) => one.remove());
    output.textContent = `${at + 1} ${name.textContent.trim()}: ${figures.join(", ")}`;
    for (const cursor of cursors) {
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, `${(100 * (at + 0.5)) / rows.length}%`);
      cursor.setAttribute("visibility", "visible");
    }
  }
  for (const plot of section.querySelectorAll(".plot")) for (const kind of ["pointerdown", "pointermove"]) plot.addEventListener(kind, point);
  output.hidden = false;
}

/* A narrow screen shows a line as a card, each cell with its title. */

function makeCards(table) {
  const titles = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  table.classList.add("cards");
  for (const row of table.tBodies[0].rows) for (const cell of row.cells) if (cell.cellIndex && cell.colSpan === 1) cell.dataset.label = titles[cell.cellIndex];
}

document.querySelectorAll(".share").forEach(makeSlider);
document.querySelectorAll(".depth").forEach(makeDepth);
document.querySelectorAll("table.all").forEach(makeCards);
document.querySelectorAll("table.all[data-axis]").forEach(makeOpening);
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".controls").forEach(makeFilter);
