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
    for (const detail of table.querySelectorAll("tr.detail")) {
      const row = detail.previousElementSibling;
      detail.remove();
      open(row);
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
