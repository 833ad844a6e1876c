// One step, opened: its facts, input and output, errors, items. It is read when it is opened, and again when the step
// has changed.

import { element } from "./dom.js";
import { readOnly, runPage } from "./server.js";

const SMALL = 2000;                             // characters that are shown unfolded

function folded(label, text, open = text.length < SMALL) {
  const details = element("details");
  details.open = open;
  details.append(element("summary", label), element("pre", text, { tabindex: 0, "aria-label": label }));
  return details;
}

export class StepPanel {
  // run: address of the run in the API. task: what the address of a step's page in Flower begins with. act: as in run.js.
  constructor(host, { run, task, graph, act }) {
    Object.assign(this, { host, run, task, graph, act, id: null, shown: "" });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.id) this.leave();
    });
  }

  async open(id) {
    if (!this.id) this.from = document.activeElement;
    this.id = id;
    this.shown = "";
    await this.read(true);
  }

  async read(focus = false) {
    const id = this.id;
    const answer = await fetch(`${this.run}/steps/${encodeURIComponent(id)}`).catch(() => null);
    if (this.id !== id) return;
    if (!answer?.ok) {
      this.show({ id, missing: answer?.status === 404 ? "There is no such step in this run." : "It cannot be read now." });
    } else {
      const text = await answer.text();
      if (this.id !== id || text === this.shown) return;
      this.shown = text;
      this.show(JSON.parse(text));
    }
    if (focus) this.host.querySelector("h2").focus();
  }

  // Read again if the row of the step, or one of its items, says something else than before.
  update(rows) {
    if (!this.id) return;
    const own = JSON.stringify(rows.filter((row) => row.id === this.id || row.id.startsWith(`${this.id}[`)));
    if (this.rows !== undefined && own !== this.rows) this.read();
    this.rows = own;
  }

  leave() {
    history.pushState(null, "", location.pathname + location.search);
    this.close();
  }

  close() {
    if (!this.id) return;
    this.id = null;
    this.rows = undefined;
    this.graph.select(null);
    this.host.classList.add("hidden");
    this.host.replaceChildren();
    this.from?.focus?.();
  }

  show(step) {
    const head = element("div", "", { class: "row spread" });
    const title = element("h2", step.id, { id: "step-head", tabindex: -1 });
    if (step.state) title.append(" ", element("span", step.state, { class: `badge ${step.state}` }));
    const close = element("button", "Close", { type: "button" });
    close.addEventListener("click", () => this.leave());
    head.append(title, close);
    const parts = step.missing ? [element("p", step.missing)] : [...this.parts(step)];
    const open = new Map([...this.host.querySelectorAll("details")].map((one) => [one.firstChild.textContent, one.open]));
    this.host.replaceChildren(head, ...parts);
    for (const details of this.host.querySelectorAll("details")) {
      details.open = open.get(details.firstChild.textContent) ?? details.open;
    }
    this.host.classList.remove("hidden");
  }

  *parts(step) {
    if (step.why) yield element("p", step.why);
    const facts = element("dl", "", { class: "facts" });
    for (const [name, value] of step.facts) facts.append(element("dt", name), element("dd", value));
    yield facts;
    yield this.links(step);
    if (step.error) {
      yield element("h3", "Error");
      yield element("p", `${step.error.type}: ${step.error.message}`, { class: "error" });
      if (step.error.traceback) yield folded("Traceback", step.error.traceback, false);
    }
    if (step.input !== null) {
      yield folded("Input", step.input);
      if (step.input_note) yield element("p", `The input ${step.input_note}.`, { class: "muted" });
    }
    if (step.output !== null) yield folded("Output", step.output);
    for (const late of step.late) {
      yield folded(`Attempt ${late.attempt} answered too late`, late.output ?? `${late.error?.type}: ${late.error?.message}`, false);
    }
    if (step.items.length) yield this.items(step.items);
  }

  links(step) {
    const links = element("p", "", { class: "row" });
    if (step.task) links.append(element("a", "The task in Flower", { href: this.task + encodeURIComponent(step.task) }));
    if (step.child) {
      links.append(element("a", `The run ${step.child}`, { href: runPage(step.child) }));
    }
    if (step.may_rerun && !readOnly) {
      const again = element("button", "Run again from here", { type: "button" });
      again.addEventListener("click", () => this.act("rerun", { from: step.id }, "Another run has started."));
      links.append(again);
    }
    return links;
  }

  items(items) {
    const list = element("ul", "", { class: "items" });
    for (const item of items) {
      const line = element("li");
      line.append(element("a", item.id, { href: `#step=${encodeURIComponent(item.id)}` }), " ",
        element("span", item.state, { class: `badge ${item.state}` }));
      list.append(line);
    }
    return list;
  }
}
