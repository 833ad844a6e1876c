// The graph of a run: boxes, steps and edges as SVG. Where things stand follows from the columns that the server gives;
// how things stand changes with `update`, which touches only the units that changed.

import { icon, make, Ruler } from "./svg.js";

const WIDTH = 208, HEIGHT = 62, BAR = 12;       // of a step; of the progress below it
const GAP_X = 46, GAP_Y = 14, PAD = 14, HEAD = 30;
const CELL = 14, CELLS_IN_ROW = 13, MOST_CELLS = 104;
const REACH = 180;                              // how far down the middle of something tall may be

export class Graph {
  // units: id -> {kind, title, about, columns, edges}; the box of all is "". now: id -> {state, note, of, done, failed}.
  // items: of a foreach, the states of those items that are known one by one.
  constructor(host, units, now, items) {
    this.host = host;
    this.units = units;
    this.now = now;
    this.items = items;
    this.opened = new Set();
    this.scale = 1;
    this.ruler = new Ruler(host);
    this.draw();
  }

  // --- where everything stands ---------------------------------------------------------------------------------

  draw() {
    this.drawn = new Map();
    this.places = new Map();
    this.measure("");
    const { width, height } = this.places.get("");
    this.size = { width: width + 2, height: height + 2 };
    this.svg = make("svg", { viewBox: `-1 -1 ${this.size.width} ${this.size.height}`, role: "group",
      "aria-label": "Steps from left to right" });
    const tip = make("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7,
      orient: "auto-start-reverse" }, make("defs", {}, this.svg));
    make("path", { d: "M0 0L8 4L0 8z", class: "tip" }, tip);
    this.place("", 0, 0);
    for (const id of Object.keys(this.units)) this.show(id);
    this.host.replaceChildren(this.svg);
    this.zoom(this.scale);
  }

  measure(id) {
    const unit = this.units[id];
    const place = { width: WIDTH, height: HEIGHT + (this.counts(id) ? BAR : 0), columns: [] };
    this.places.set(id, place);
    if (unit.columns) {
      const edge = this.framed(id) ? PAD : 0;
      for (const names of unit.columns) {
        const sizes = names.map((name) => (name[0] === "~" ? { width: 0, height: 6 } : this.measure(name)));
        place.columns.push({
          names, sizes,
          width: Math.max(...sizes.map((size) => size.width)),
          height: sizes.reduce((sum, size) => sum + size.height, 0) + GAP_Y * (names.length - 1),
        });
      }
      const inside = place.columns.reduce((sum, column) => sum + column.width + GAP_X, -GAP_X);
      place.width = Math.max(inside + 2 * edge, this.framed(id) ? WIDTH : 0);
      place.inner = Math.max(...place.columns.map((column) => column.height));
      place.height = place.inner + 2 * edge + (edge ? HEAD : 0) + (edge && this.counts(id) ? BAR : 0);
    }
    place.cells = this.opened.has(id) ? this.cellRows(id) * CELL + 10 : 0;
    place.height += place.cells;
    return place;
  }

  place(id, x, y) {
    const unit = this.units[id], place = this.places.get(id);
    Object.assign(place, { x, y });
    if (!unit.columns) return;
    const edge = this.framed(id) ? PAD : 0;
    const top = y + edge + (edge ? HEAD : 0) + (edge && this.counts(id) ? BAR : 0);
    const ways = new Map();
    let left = x + edge;
    if (edge) this.frame(id);
    for (const { names, sizes, width, height } of place.columns) {
      let down = top + Math.min((place.inner - height) / 2, REACH);
      names.forEach((name, at) => {
        if (name[0] === "~") ways.set(name, { x: left, width, y: down + 3 });
        else this.place(name, left, down);
        down += sizes[at].height + GAP_Y;
      });
      left += width + GAP_X;
    }
    for (const [from, to, ...bends] of unit.edges) this.edge(from, to, bends.map((name) => ways.get(name)));
  }

  middle(id) {
    const { y, height, cells } = this.places.get(id);
    return y + Math.min((height - cells) / 2, REACH);
  }

  edge(from, to, bends) {
    const start = this.places.get(from), end = this.places.get(to);
    let [x, y] = [start.x + start.width, this.middle(from)];
    let way = `M${x} ${y}`;
    const curve = (toX, toY) => {
      const bend = Math.max(18, (toX - x) / 2);
      way += `C${x + bend} ${y} ${toX - bend} ${toY} ${toX} ${toY}`;
      [x, y] = [toX, toY];
    };
    for (const bend of bends) {
      curve(bend.x, bend.y);
      way += `H${bend.x + bend.width}`;
      x = bend.x + bend.width;
    }
    curve(end.x - 3, this.middle(to));
    make("path", { d: way, class: "edge", "marker-end": "url(#tip)" }, this.svg);
  }

  framed(id) {
    const { kind, title } = this.units[id];
    return id !== "" && title !== "" && kind !== "all";
  }

  counts(id) {
    return this.units[id].kind === "foreach" || (this.now[id]?.of !== undefined && !this.units[id].columns);
  }

  cellRows(id) {
    return Math.ceil(Math.min(this.items(id).length, MOST_CELLS) / CELLS_IN_ROW) + (this.hidden(id) ? 1 : 0);
  }

  hidden(id) {
    return (this.now[id]?.of ?? 0) - Math.min(this.items(id).length, MOST_CELLS);
  }

  // --- what is drawn ---------------------------------------------------------------------------------------------

  frame(id) {
    const unit = this.units[id], { x, y, width, height } = this.places.get(id);
    const group = make("g", { class: "box", "data-unit": id }, this.svg);
    make("rect", { x, y, width, height, rx: 10 }, group);
    const parts = { group, room: width - 2 * PAD };
    const link = unit.kind === "loop" || unit.kind === "foreach" ? this.link(id, group) : group;
    parts.tip = make("title", {}, link);
    const right = unit.kind === "foreach" ? 24 : 0;
    parts.title = make("text", { x: x + PAD, y: y + 20, class: "box-title" }, link);
    parts.room -= right;
    if (unit.kind === "foreach") {
      this.toggle(id, x + width - PAD - 16, y + 8, group);
      this.bar(parts, x + PAD, y + HEAD - 2, width - 2 * PAD, group);
      this.cells(id, x + PAD, y + height - this.places.get(id).cells, group);
    }
    this.drawn.set(id, parts);
  }

  card(id) {
    const unit = this.units[id], { x, y, height, cells } = this.places.get(id);
    const group = make("g", { class: "unit", "data-unit": id }, this.svg);
    const link = this.link(id, group);
    const parts = { group, link };
    parts.tip = make("title", {}, link);
    make("rect", { x, y, width: WIDTH, height, rx: 8, class: "face" }, link);
    make("rect", { x: x + 4, y: y + 8, width: 4, height: HEIGHT - 16, rx: 2, class: "stripe" }, link);
    const room = WIDTH - 28;
    make("text", { x: x + 16, y: y + 20, class: "title" }, link).textContent =
      this.ruler.fit(unit.title, room - (unit.kind === "foreach" ? 20 : 0), "600 13px");
    make("text", { x: x + 16, y: y + 36, class: "about" }, link).textContent = this.ruler.fit(unit.about, room, "11px");
    parts.state = make("text", { x: x + 16, y: y + 53, class: "state" }, link);
    if (this.counts(id)) this.bar(parts, x + 16, y + HEIGHT - 1, WIDTH - 32, group);
    if (unit.kind === "foreach") {
      this.toggle(id, x + WIDTH - 24, y + 8, group);
      this.cells(id, x + 10, y + height - cells, group);
    }
    this.drawn.set(id, parts);
  }

  link(id, group) {
    return make("a", { href: `#step=${encodeURIComponent(id)}` }, group);
  }

  bar(parts, x, y, width, group) {
    make("rect", { x, y, width, height: 5, rx: 2.5, class: "track" }, group);
    parts.fill = make("rect", { x, y, width: 0, height: 5, rx: 2.5, class: "fill" }, group);
    parts.long = width;
  }

  toggle(id, x, y, group) {
    const open = this.opened.has(id);
    const button = make("g", { class: "toggle", role: "button", tabindex: 0, "aria-expanded": open,
      "aria-label": `${open ? "Hide" : "Show"} the items of ${this.units[id].title}` }, group);
    make("rect", { x, y, width: 16, height: 16, rx: 3 }, button);
    make("path", { d: `M${x + 4} ${y + 8}h8${open ? "" : `M${x + 8} ${y + 4}v8`}` }, button);
    const turn = () => {
      if (!this.opened.delete(id)) this.opened.add(id);
      this.draw();
      this.host.querySelector(`[data-unit="${CSS.escape(id)}"] .toggle`)?.focus();
    };
    button.addEventListener("click", turn);
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      turn();
    });
  }

  cells(id, x, y, group) {
    if (!this.opened.has(id)) return;
    const items = this.items(id).slice(0, MOST_CELLS);
    items.forEach((item, at) => {
      const cell = make("a", { href: `#step=${encodeURIComponent(item.id)}`, class: `cell ${item.state}`,
        "aria-label": `${item.id}: ${item.state}` }, group);
      const left = x + (at % CELLS_IN_ROW) * CELL, top = y + Math.floor(at / CELLS_IN_ROW) * CELL;
      make("title", {}, cell).textContent = `${item.id}: ${item.state}`;
      make("rect", { x: left, y: top, width: CELL - 2, height: CELL - 2, rx: 2 }, cell);
      make("text", { x: left + (CELL - 2) / 2, y: top + 9.5, "text-anchor": "middle" }, cell).textContent =
        icon(item.state);
    });
    if (this.hidden(id) > 0) {
      const below = y + Math.ceil(items.length / CELLS_IN_ROW) * CELL + 9;
      make("text", { x, y: below, class: "about" }, group).textContent = `and ${this.hidden(id)} more`;
    }
  }

  show(id) {
    const unit = this.units[id], parts = this.drawn.get(id);
    if (!parts && (unit.columns || id === "")) return;
    if (!parts) {
      this.card(id);
      return this.show(id);
    }
    const now = this.now[id] ?? { state: "", note: "" };
    const count = now.of === undefined ? "" : `${now.done} of ${now.of}${now.failed ? `, ${now.failed} failed` : ""}`;
    const words = [now.state, now.undone ? "undone" : now.note, count].filter(Boolean).join(" · ");
    parts.tip.textContent = [unit.title, unit.about, words].filter(Boolean).join("\n");
    parts.group.setAttribute("class", `${unit.columns ? "box" : "unit"} ${unit.kind || "step"} ${now.state}`);
    if (parts.state) {
      parts.state.textContent = this.ruler.fit(`${icon(now.state)} ${words}`, WIDTH - 28, "600 12px");
    } else {
      const told = now.state && !(unit.kind === "branch" && now.state === "pending")
        ? ` — ${icon(now.state)} ${words}` : "";
      parts.title.textContent = this.ruler.fit(`${unit.title}${told}`, parts.room, "600 13px");
    }
    parts.fill?.setAttribute("width", now.of ? (parts.long * now.done) / now.of : 0);
  }

  // --- what changes ------------------------------------------------------------------------------------------------

  update(now) {
    const before = this.now;
    this.now = now;
    const changed = Object.keys(now).filter((id) => JSON.stringify(before[id]) !== JSON.stringify(now[id]));
    const opened = changed.some((id) => this.opened.has(id) || this.opened.has(this.units[id]?.parent));
    if (opened || changed.some((id) => before[id]?.of === undefined && now[id].of !== undefined)) this.draw();
    else for (const id of changed) if (this.units[id]) this.show(id);
    return changed;
  }

  zoom(scale) {
    this.scale = Math.min(2, Math.max(0.1, scale));
    this.svg.setAttribute("width", this.size.width * this.scale);
    this.svg.setAttribute("height", this.size.height * this.scale);
  }

  fit() {
    this.zoom(Math.min(1, (this.host.clientWidth - 2) / this.size.width));
  }

  reveal(id) {
    const place = this.places.get(id);
    if (!place) return;
    this.host.scrollTo({
      left: (place.x + place.width / 2) * this.scale - this.host.clientWidth / 2,
      top: (place.y + HEIGHT / 2) * this.scale - this.host.clientHeight / 2,
    });
  }

  select(id) {
    for (const marked of this.svg.querySelectorAll(".selected")) marked.classList.remove("selected");
    this.drawn.get(id)?.group.classList.add("selected");
  }
}
