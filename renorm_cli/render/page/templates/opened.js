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

document.querySelectorAll(".share").forEach(makeSlider);
document.querySelectorAll(".depth").forEach(makeDepth);
document.querySelectorAll("table.all").forEach(makeCards);
document.querySelectorAll("table.all[data-axis]").forEach(makeOpening);
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".controls").forEach(makeFilter);
