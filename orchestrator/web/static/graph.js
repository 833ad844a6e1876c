// The graph of a run: boxes, steps and edges as SVG. Where things stand follows from the columns that the server gives;
// how things stand changes with `update`, which touches only the units that changed.

import { BAR, framed, GAP_X, GAP_Y, HEAD, HEIGHT, measure, PAD, WIDTH } from "./places.js";
import { runPage } from "./server.js";
import { icon, make, Ruler } from "./svg.js";

const CELL = 14, CELLS_IN_ROW = 13, MOST_CELLS = 104;
// A switch has decided, and a branch is taken, before what is inside is done; a box with a condition has begun.
const BOX_WORDS = { switch: "decided", branch: "taken", parallel: "begun", steps: "begun" };

export class Graph {
  // units: id -> {kind, title, about, columns, edges}; the box of all is "". now: id -> {state, note, of, done, failed}.
  // items: of a foreach, the states of those items that are known one by one.
  constructor(host, units, now, items) {
    Object.assign(this, { host, units, now, items, opened: new Set(), scale: 1, ruler: new Ruler(host) });
    this.draw();
  }

  // --- where everything stands ---------------------------------------------------------------------------------

  draw() {
    this.drawn = new Map();
    this.places = measure(this.units, (id) => this.counts(id), (id) => this.cellsHeight(id));
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

  place(id, x, y) {
    const unit = this.units[id], place = this.places.get(id);
    Object.assign(place, { x, y });
    if (!unit.columns) return;
    const ways = new Map();
    const edge = framed(this.units, id) ? PAD : 0;
    let left = x + edge;
    if (edge) this.frame(id);
    for (const { names, sizes, width, axis } of place.columns) {
      let down = y + place.axis - axis;
      names.forEach((name, at) => {
        if (name[0] === "~") ways.set(name, { x: left, width, y: down + 3 });
        else this.place(name, left, down);
        down += sizes[at].height + GAP_Y;
      });
      left += width + GAP_X;
    }
    for (const [from, to, ...bends] of unit.edges) this.edge(from, to, bends.map((name) => ways.get(name)));
  }

  edge(from, to, bends) {
    const start = this.places.get(from), end = this.places.get(to);
    let [x, y] = [start.x + start.width, start.y + start.axis];
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
    curve(end.x - 3, end.y + end.axis);
    make("path", { d: way, class: "edge", "marker-end": "url(#tip)" }, this.svg);
  }

  counts(id) {
    return this.units[id].kind === "foreach" || (this.now[id]?.of !== undefined && !this.units[id].columns);
  }

  cellsHeight(id) {
    if (!this.opened.has(id)) return 0;
    const rows = Math.ceil(Math.min(this.items(id).length, MOST_CELLS) / CELLS_IN_ROW) + (this.hidden(id) ? 1 : 0);
    return rows * CELL + 10;
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
      this.ruler.fit(unit.title, room - (["foreach", "workflow"].includes(unit.kind) ? 20 : 0), "600 13px");
    make("text", { x: x + 16, y: y + 36, class: "about" }, link).textContent = this.ruler.fit(unit.about, room, "11px");
    parts.state = make("text", { x: x + 16, y: y + 53, class: "state" }, link);
    if (this.counts(id)) this.bar(parts, x + 16, y + HEIGHT - 1, WIDTH - 32, group);
    if (unit.kind === "foreach") {
      this.toggle(id, x + WIDTH - 24, y + 8, group);
      this.cells(id, x + 10, y + height - cells, group);
    }
    this.drawn.set(id, parts);
  }

  // The way to the run that a step has started, in the corner of its card.
  child(id, runId) {
    const { group } = this.drawn.get(id), { x, y } = this.places.get(id);
    const link = group.querySelector(".child") ?? make("a", { class: "child" }, group);
    link.setAttribute("href", runPage(runId));
    link.setAttribute("aria-label", `The run of ${this.units[id].title}`);
    link.replaceChildren();
    make("title", {}, link).textContent = `The run ${runId}`;
    make("rect", { x: x + WIDTH - 24, y: y + 8, width: 16, height: 16, rx: 3 }, link);
    make("path", { d: `M${x + WIDTH - 20} ${y + 20}l8 -8m-6 0h6v6` }, link);
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
    const told = (unit.columns && now.state === "succeeded" && BOX_WORDS[unit.kind]) || now.state;
    const words = [told, now.undone ? "undone" : now.note, count].filter(Boolean).join(" · ");
    parts.tip.textContent = [unit.title, unit.about, words].filter(Boolean).join("\n");
    parts.group.setAttribute("class", `${unit.columns ? "box" : "unit"} ${unit.kind || "step"} ${now.state}`);
    if (parts.state) {
      parts.state.textContent = this.ruler.fit(`${icon(now.state)} ${words}`, WIDTH - 28, "600 12px");
    } else {
      const about = now.state && !(unit.kind === "branch" && now.state === "pending")
        ? ` — ${icon(now.state)} ${words}` : "";
      parts.title.textContent = this.ruler.fit(`${unit.title}${about}`, parts.room, "600 13px");
    }
    if (now.child) this.child(id, now.child);
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
      top: (place.y + place.axis) * this.scale - this.host.clientHeight / 2,
    });
  }

  select(id) {
    for (const marked of this.svg.querySelectorAll(".selected")) marked.classList.remove("selected");
    this.drawn.get(id)?.group.classList.add("selected");
  }
}
