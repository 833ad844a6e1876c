// The tables of a run's page: its steps, and its events. The server has written the rows that are there at first.

import { element } from "./dom.js";
import { runPage } from "./server.js";

const MOST_EVENTS = 200;

function cell(label, text = "") {
  const kind = { Attempt: "number", Took: "number", Time: "nowrap", Started: "nowrap" }[label] ?? "";
  return element("td", text, { role: "cell", "data-label": label, class: kind });
}

export class StepTable {
  constructor(body, steps) {
    this.body = body;
    this.steps = steps;
    this.rows = new Map([...body.rows].map((row, place) => [steps[place].id, row]));
  }

  // Only the rows of steps that changed are touched; they are put in order anew where steps have come up or gone.
  update(steps) {
    const known = new Map(this.steps.map((step) => [step.id, JSON.stringify(step)]));
    for (const step of steps) if (known.get(step.id) !== JSON.stringify(step)) this.write(step);
    const ids = steps.map((step) => step.id);
    if (ids.join() !== [...known.keys()].join()) {
      this.rows = new Map(ids.map((id) => [id, this.rows.get(id)]));
      this.body.replaceChildren(...this.rows.values());
    }
    this.steps = steps;
  }

  write(step) {
    if (!this.rows.has(step.id)) this.rows.set(step.id, this.add(step.id));
    const row = this.rows.get(step.id), badge = row.cells[1].firstChild;
    const [name] = row.cells[0].children;
    row.cells[0].replaceChildren(name, ...(step.child ? [" ", element("a", "its run", { href: runPage(step.child) })] : []));
    row.className = `depth-${Math.min(step.depth, 3)}`;
    badge.className = `badge ${step.state}`;
    badge.textContent = step.state;
    const started = step.started ? new Date(step.started).toISOString().slice(11, 19) : "";
    [step.agent, step.attempts || "", started, step.took, step.why].forEach((text, at) => {
      row.cells[at + 2].textContent = text;
    });
  }

  add(id) {
    const row = element("tr", "", { role: "row" });
    row.append(...["Step", "State", "Agent", "Attempt", "Started", "Took", "Why"].map((label) => cell(label)));
    row.cells[0].append(element("a", id, { href: `#step=${encodeURIComponent(id)}` }));
    row.cells[1].append(element("span"));
    return row;
  }
}

// Put the events that came after the one of this id on top.
export function addEvents(body, events, after) {
  const fresh = events.filter((event) => compare(event.id, after) > 0).reverse();
  body.prepend(...fresh.map((event) => {
    const row = element("tr", "", { role: "row" });
    row.append(cell("Time", event.at.slice(11, 23)), cell("Event", event.name), cell("Step", event.step ?? ""),
      cell("Attempt", event.attempt ?? ""), cell("Says", event.says));
    return row;
  }));
  while (body.rows.length > MOST_EVENTS) body.lastElementChild.remove();
}

// Ids of events are `MILLISECONDS-NUMBER`.
function compare(one, other) {
  const [a, b] = [one, other].map((id) => id.split("-").map(Number));
  return a[0] - b[0] || (a[1] ?? 0) - (b[1] ?? 0);
}
