"use strict";
// Tables that sort and filter, curves that answer, and the section that is being read.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 228, LEFT = 38, RIGHT = 8, TOP = 8, BOTTOM = 36;

function element(name, attributes = {}, parent = null, text = null) {
  const made = name.startsWith("svg:")
    ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

// ---- tables -------------------------------------------------------------------------------
function sortTable(table, column, heads) {
  const up = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head, i) => head.setAttribute("aria-sort", i !== column ? "none" : up ? "ascending" : "descending"));
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
  };
  const unknown = (row) => row.cells[column].textContent === "–";
  const compare = (a, b) => {
    if (unknown(a) !== unknown(b)) return unknown(a) ? 1 : -1;
    const x = key(a), y = key(b);
    const order = typeof x === "number" && typeof y === "number"
      ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return up ? order : -order;
  };
  body.append(...[...body.rows].sort(compare));
}

function filterTable(table, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of table.tBodies[0].rows) {
    const content = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => content.includes(word));
  }
}

for (const table of document.querySelectorAll(".table table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => sortTable(table, i, heads)));
  if (table.hasAttribute("data-filter")) {
    const box = element("input", { class: "filter", type: "search", placeholder: "Show rows with …", "aria-label": "Show rows with these words" });
    box.addEventListener("input", () => filterTable(table, box.value));
    table.parentElement.before(box);
  }
}

// ---- curves -------------------------------------------------------------------------------
function steps(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) found.push(Number(v.toPrecision(12)));
  return found;
}

class Chart {
  constructor(host, spec) {
    this.host = host;
    this.spec = spec;
    this.hidden = new Set();
    this.view = "mean";
    this.x = spec.x;
    const controls = element("div", { class: "controls" }, host);
    if (spec.differs) this.choice(controls, "view", "What is shown", [["mean", `${spec.metric}, %`], ["diff", "difference to random, points"]]);
    if (spec.validated) this.choice(controls, "x", "What the x axis counts", [["labeled", "labeled"], ["counted", "labeled + validation"]]);
    this.legend = element("div", { class: "legend", role: "group", "aria-label": `${spec.each}; press to hide one` }, host);
    for (const look of spec.looks) this.legendItem(look);
    this.panels = element("div", { class: "panels" }, host);
    this.said = element("p", { class: "hidden", "aria-live": "polite" }, host);
    this.tip = element("div", { class: "tip", hidden: "" }, host);
    this.draw();
  }

  choice(parent, key, label, options) {
    const group = element("div", { class: "choice", role: "group", "aria-label": label }, parent);
    const buttons = options.map(([value, text]) => {
      const button = element("button", { type: "button", "aria-pressed": this[key] === value }, group, text);
      button.addEventListener("click", () => {
        this[key] = value;
        buttons.forEach((other) => other.setAttribute("aria-pressed", other === button));
        this.draw();
      });
      return button;
    });
  }

  legendItem(look) {
    const button = element("button", { type: "button", "aria-pressed": true }, this.legend);
    const swatch = element("svg:svg", { width: 22, height: 8, "aria-hidden": true }, button);
    element("svg:line", { x1: 0, x2: 22, y1: 4, y2: 4, style: `stroke:${look.color}`, "stroke-width": 2.2, "stroke-dasharray": look.dash }, swatch);
    element("span", {}, button, look.name);
    button.addEventListener("click", () => {
      const shown = this.hidden.has(look.name);
      this.hidden[shown ? "delete" : "add"](look.name);
      button.setAttribute("aria-pressed", shown);
      this.draw();
    });
  }

  lines(panel) {
    const looks = new Map(this.spec.looks.map((look) => [look.name, look]));
    return panel.lines
      .filter((line) => !this.hidden.has(line.name) && line[this.view])
      .map((line) => ({ ...looks.get(line.name), x: line[this.x], ...line[this.view] }));
  }

  draw() {
    const all = this.spec.panels.flatMap((panel) => this.lines(panel));
    const values = all.flatMap((l) => [...l.y, ...l.low, ...l.high]).filter((v) => v !== null);
    const xs = all.flatMap((l) => l.x);
    if (this.view === "diff") values.push(0);
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    if (this.view === "mean") [low, high] = [Math.max(low, 0), Math.min(high, 1)];
    const pad = (high - low || 0.1) * 0.04;
    this.scale = {
      x0: Math.min(...xs, Infinity), x1: Math.max(...xs, -Infinity), y0: low - pad, y1: high + pad,
    };
    this.panels.replaceChildren();
    for (const panel of this.spec.panels) this.panel(panel);
  }

  px(x) {
    const { x0, x1 } = this.scale;
    return LEFT + (WIDTH - LEFT - RIGHT) * (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5);
  }

  py(y) {
    const { y0, y1 } = this.scale;
    const inside = Math.min(Math.max(y, y0), y1);
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (inside - y0) / (y1 - y0));
  }

  panel(panel) {
    const lines = this.lines(panel);
    const figure = element("figure", { class: "panel" }, this.panels);
    element("figcaption", {}, figure, panel.name);
    const label = `${this.spec.metric} for ${panel.name}; arrow keys read the values`;
    const svg = element("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": label }, figure);
    this.axes(svg);
    for (const line of lines) this.line(svg, line);
    const budgets = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const cursor = element("svg:line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, svg);
    this.listen(svg, cursor, panel, lines, budgets);
  }

  axes(svg) {
    const { x0, x1, y0, y1 } = this.scale;
    for (const y of steps(y0, y1, 5)) {
      const at = this.py(y);
      element("svg:line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }, svg);
      const value = Number((100 * y).toPrecision(6));
      const text = this.view === "diff" && value > 0 ? `+${value}` : `${value}`.replace("-", "−");
      element("svg:text", { x: LEFT - 6, y: at + 3.5, "text-anchor": "end" }, svg, text);
    }
    if (this.view === "diff") element("svg:line", { class: "zero", x1: LEFT, x2: WIDTH - RIGHT, y1: this.py(0), y2: this.py(0) }, svg);
    for (const x of x1 > x0 ? steps(x0, x1, 5) : [x0].filter(Number.isFinite)) {
      element("svg:text", { x: this.px(x), y: HEIGHT - 20, "text-anchor": "middle" }, svg, x.toLocaleString("en"));
    }
    const title = this.x === "counted" ? "labeled and validation images" : "labeled images";
    element("svg:text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, svg, title);
  }

  line(svg, line) {
    const at = line.x.map((x, i) => [this.px(x), line.y[i], line.low[i], line.high[i]]);
    const band = at.filter((point) => point[2] !== null);
    if (band.length) {
      const upper = band.map(([x, , , high]) => `${x},${this.py(high)}`);
      const lower = band.map(([x, , low]) => `${x},${this.py(low)}`).reverse();
      element("svg:polygon", { points: [...upper, ...lower].join(" "), style: `fill:${line.color}`, opacity: 0.12 }, svg);
    }
    const path = at.map(([x, y]) => `${x},${this.py(y)}`).join(" ");
    const style = `fill:none;stroke:${line.color}`;
    element("svg:polyline", { points: path, style, "stroke-width": 1.8, "stroke-dasharray": line.dash, "stroke-linejoin": "round" }, svg);
    for (const [x, y] of at) element("svg:circle", { cx: x, cy: this.py(y), r: 2, style: `fill:${line.color}` }, svg);
  }

  listen(svg, cursor, panel, lines, budgets) {
    let now = -1;
    const show = (i) => {
      if (!budgets.length) return;
      now = Math.max(0, Math.min(budgets.length - 1, i));
      const at = this.px(budgets[now]);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.setAttribute("visibility", "visible");
      this.tell(svg, panel, lines, budgets[now], at);
    };
    const hide = () => {
      cursor.setAttribute("visibility", "hidden");
      this.tip.hidden = true;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * WIDTH;
      const gaps = budgets.map((budget) => Math.abs(this.px(budget) - x));
      show(gaps.indexOf(Math.min(...gaps)));
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (move) {
        event.preventDefault();
        show(now + move);
      } else if (event.key === "Escape") hide();
    });
  }

  tell(svg, panel, lines, budget, at) {
    const number = (v) => (this.view === "diff" && v > 0 ? "+" : "") + (100 * v).toFixed(1).replace("-", "−");
    const rows = lines
      .map((line) => ({ line, i: line.x.indexOf(budget) }))
      .filter(({ i }) => i >= 0)
      .sort((a, b) => b.line.y[b.i] - a.line.y[a.i]);
    this.tip.replaceChildren();
    element("b", {}, this.tip, `${budget.toLocaleString("en")} images`);
    const table = element("table", {}, this.tip);
    for (const { line, i } of rows) {
      const row = element("tr", {}, table);
      const name = element("td", {}, row);
      element("i", { style: `background:${line.color}` }, name);
      name.append(line.name);
      element("td", { class: "number" }, row, number(line.y[i]));
      element("td", { class: "number" }, row, line.low[i] === null ? "one seed" : `${number(line.low[i])} to ${number(line.high[i])}`);
    }
    this.said.textContent = `${panel.name}, ${budget} images: ` + rows.map(({ line, i }) => `${line.name} ${number(line.y[i])}`).join(", ");
    const host = this.host.getBoundingClientRect(), box = svg.getBoundingClientRect();
    this.tip.hidden = false;
    const x = box.left - host.left + (at / WIDTH) * box.width;
    const width = this.tip.offsetWidth;
    const left = x + 14 + width > host.width ? x - 14 - width : x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(left, host.width - width))}px`;
    this.tip.style.top = `${box.top - host.top + 4}px`;
  }
}

for (const host of document.querySelectorAll("[data-chart]")) {
  new Chart(host, JSON.parse(host.querySelector("script").textContent));
}

// ---- navigation ---------------------------------------------------------------------------
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [decodeURIComponent(a.hash.slice(1)), a]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const [id, link] of links) link.classList.toggle("here", id === entry.target.id);
  }
}, { rootMargin: "-20% 0px -75% 0px" });
for (const section of document.querySelectorAll("main section")) watcher.observe(section);
