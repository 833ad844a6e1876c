// The timeline of a run: a row for each step, bars for how long it was queued, ran and waited. Only the rows that can be
// seen are there, so that a thousand of them cost no more than thirty.

import { make } from "./svg.js";
import { duration } from "./times.js";

const ROW = 24, AXIS = 26, LETTER = 7.2, AROUND = 6;          // rows drawn above and below what can be seen
const WORDS = { queue: "queued", run: "ran", retry: "until the next attempt", wait: "waited" };
const STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 18e5,
  36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];

// Most bars are shorter than a second; the numbers of the axis are round.
const span = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : duration(ms));
const round = (text) => text.replace(/\.0(?= s)| 00[ms]$/, "");

export class Timeline {
  constructor(host, view) {
    this.host = host;
    this.svg = make("svg", { role: "group", "aria-label": "Bars over time" });
    this.axis = make("svg", { class: "axis", "aria-hidden": "true" });
    host.replaceChildren(this.axis, this.svg);
    host.addEventListener("scroll", () => this.later(), { passive: true });
    new ResizeObserver(() => this.later()).observe(host);
    this.update(view);
  }

  update({ rows, bars, created, finished, now }) {
    this.rows = rows.filter((row) => bars[row.id]);
    this.bars = bars;
    this.created = created;
    this.longest = Math.max(0, ...this.rows.map((row) => row.id.length));
    this.end = finished;
    this.skew = Date.now() - now;
    this.later();
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  draw() {
    const width = Math.max(this.host.clientWidth, 280);
    const labels = Math.min(220, width * 0.35, this.longest * LETTER + 16);
    this.total = Math.max(1, (this.end ?? Date.now() - this.skew) - this.created);
    this.x = (ms) => labels + (Math.min(ms, this.total) / this.total) * (width - labels - 12);
    this.labels = labels;
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", Math.max(1, this.rows.length) * ROW);
    this.axis.setAttribute("width", width);
    this.axis.setAttribute("height", AXIS);
    this.axis.replaceChildren();
    this.svg.replaceChildren();
    const first = Math.max(0, Math.floor(this.host.scrollTop / ROW) - AROUND);
    const last = Math.min(this.rows.length, Math.ceil((this.host.scrollTop + this.host.clientHeight) / ROW) + AROUND);
    this.ticks(width, first, last);
    for (let at = first; at < last; at++) this.row(this.rows[at], at);
    if (!this.rows.length) make("text", { x: 0, y: 16, class: "label" }, this.svg).textContent = "Nothing has run yet.";
  }

  ticks(width, first, last) {
    const room = Math.max(2, Math.floor((width - this.labels) / 90));
    const step = STEPS_MS.find((ms) => this.total / ms <= room) ?? this.total / room;
    for (let ms = 0; ms <= this.total; ms += step) {
      const x = this.x(ms);
      make("text", { x, y: 17, "text-anchor": ms ? "middle" : "start", class: "tick" }, this.axis).textContent = round(span(ms));
      make("line", { x1: x, x2: x, y1: first * ROW, y2: last * ROW, class: "grid" }, this.svg);
    }
  }

  row(row, at) {
    const y = at * ROW;
    const link = make("a", { href: `#step=${encodeURIComponent(row.id)}`, tabindex: -1 }, this.svg);
    const most = Math.max(4, Math.floor((this.labels - 8) / LETTER));
    const name = row.id.length > most ? `${row.id.slice(0, most - 1)}…` : row.id;
    make("title", {}, link).textContent = row.id;
    make("text", { x: 2, y: y + 16, class: "label" }, link).textContent = name;
    let attempt = 0;
    for (const [kind, from, to, outcome] of this.bars[row.id]) {
      attempt += kind === "run";
      const end = to ?? this.total;
      const x = this.x(from), width = Math.max(2, this.x(end) - x);
      const low = kind === "run" || kind === "wait";
      const how = outcome ?? (to === null && kind === "run" ? "running" : kind === "run" ? "succeeded" : kind);
      const bar = make("rect", { x, width, y: y + (low ? 4 : 9), height: low ? 16 : 6, rx: low ? 3 : 2,
        class: `bar ${kind} ${how.replace(" ", "-")}` }, link);
      const words = [`${row.id}: ${WORDS[kind]} ${span(end - from)}`, kind === "run" ? `attempt ${attempt}` : "",
        outcome ?? (to === null ? "still" : "")];
      make("title", {}, bar).textContent = words.filter(Boolean).join(", ");
      if (kind === "run" && how === "failed") {
        make("text", { x: x + width + 3, y: y + 16, class: "mark" }, link).textContent = "✕";
      }
    }
  }
}
