// The page of one run. Its data comes with it; after that each event of the run calls for news, and only what is new is
// drawn. What people and agents wrote reaches the page as text, never as HTML.

import { element } from "./dom.js";
import { Graph } from "./graph.js";
import { span, Timeline } from "./timeline.js";
import { StepPanel } from "./step.js";
import { api, post, readOnly } from "./server.js";

const SOONEST_MS = 150, LATEST_MS = 5000;       // between two looks at the run
const MOST_EVENTS = 200;
const started = performance.now();
const at = (id) => document.getElementById(id);
const data = at("view");
let view = JSON.parse(data.textContent);
const run = api(`runs/${view.run_id}`);

// --- what is drawn -----------------------------------------------------------------------------------------------

function items(id) {
  return (byParent.get(id) ?? []);
}

function groupItems(rows) {
  const found = new Map();
  for (const row of rows) {
    const cut = row.id.indexOf("[");
    if (cut < 0 || row.id.indexOf("[", cut + 1) >= 0) continue;
    const name = row.id.slice(0, cut);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(row);
  }
  return found;
}

let byParent = groupItems(view.rows);
const graph = new Graph(at("graph"), view.graph, view.units, items);
const timeline = new Timeline(at("timeline"), view);
const panel = new StepPanel(at("step"), { run, task: data.dataset.task, graph, act });
const rows = new Map([...at("rows").rows].map((tr, place) => [view.rows[place].id, tr]));

function showHead() {
  document.title = `${view.workflow} ${view.status} · Workflows`;
  at("status").textContent = view.status;
  at("status").className = `badge ${view.status}`;
  at("age-name").textContent = view.over ? "Took" : "Age";
  at("outputs").textContent = view.outputs;
  at("hidden-rows").textContent = `${view.hidden} more have no row here.`;
  at("hidden-rows").classList.toggle("hidden", !view.hidden);
  at("remarks").replaceChildren(...view.remarks.map(({ text, run: other }) => {
    const line = element("li", text);
    if (other) line.append(" ", element("a", other, { href: `${location.pathname.replace(/[^/]+$/, other)}` }));
    return line;
  }));
  showError(view.error);
  showActions();
  showQuestions();
}

function showError(error) {
  at("error").classList.toggle("hidden", !error);
  if (!error) return;
  at("error-text").textContent = `${error.type}: ${error.message}`;
  at("error-step").replaceChildren();
  if (error.step) {
    at("error-step").append("in step ", element("a", error.step, { href: `#step=${encodeURIComponent(error.step)}` }));
  }
  at("error-trace").classList.toggle("hidden", !error.traceback);
  at("error-trace").querySelector("pre").textContent = error.traceback ?? "";
}

function showRow(row) {
  let tr = rows.get(row.id);
  if (!tr) {
    tr = element("tr", "", { role: "row" });
    for (const label of ["Step", "State", "Agent", "Attempt", "Started", "Took", "Why"]) {
      const number = label === "Attempt" || label === "Took";
      tr.append(element("td", "", { role: "cell", "data-label": label, class: number ? "number" : "" }));
    }
    tr.cells[0].append(element("a", row.id, { href: `#step=${encodeURIComponent(row.id)}` }));
    tr.cells[1].append(element("span"));
    rows.set(row.id, tr);
  }
  tr.className = `depth-${Math.min(row.depth, 3)}`;
  const badge = tr.cells[1].firstChild;
  badge.className = `badge ${row.state}`;
  const started = row.started ? new Date(row.started).toISOString().slice(11, 19) : "";
  const texts = [, , row.agent, row.attempts || "", started, row.took, row.why];
  badge.textContent = row.state;
  for (let cell = 2; cell < texts.length; cell++) tr.cells[cell].textContent = texts[cell];
  return tr;
}

function showRows(before) {
  const known = new Map(before.map((row) => [row.id, JSON.stringify(row)]));
  const changed = new Set(view.rows.filter((row) => known.get(row.id) !== JSON.stringify(row)));
  changed.forEach(showRow);
  const order = view.rows.map((row) => row.id);
  if (order.join() === before.map((row) => row.id).join()) return;
  at("rows").replaceChildren(...order.map((id) => rows.get(id)));
  for (const id of rows.keys()) if (!known.has(id) && !order.includes(id)) rows.delete(id);
}

function showEvents(after) {
  const fresh = view.events.filter((event) => compare(event.id, after) > 0);
  const table = at("events");
  table.prepend(...fresh.reverse().map((event) => {
    const tr = element("tr", "", { role: "row" });
    const cells = { Time: event.at.slice(11, 23), Event: event.name, Step: event.step ?? "",
      Attempt: event.attempt ?? "", Says: event.says };
    for (const [label, text] of Object.entries(cells)) {
      const kind = { Attempt: "number", Time: "nowrap" }[label] ?? "";
      tr.append(element("td", text, { role: "cell", "data-label": label, class: kind }));
    }
    return tr;
  }));
  while (table.rows.length > MOST_EVENTS) table.lastElementChild.remove();
}

// Ids of events are `MILLISECONDS-NUMBER`.
function compare(one, other) {
  const [a, b] = [one, other].map((id) => id.split("-").map(Number));
  return a[0] - b[0] || (a[1] ?? 0) - (b[1] ?? 0);
}

function tick() {
  const now = view.over ? view.finished : Date.now() - skew;
  at("age").textContent = span(now - view.created);
  if (!view.over) timeline.later();
}

// --- what can be done --------------------------------------------------------------------------------------------

function say(text, failed = false) {
  at("told").textContent = text;
  at("told").className = failed ? "error" : "";
}

async function act(what, body, done) {
  say("");
  try {
    const answer = await post(`${run}/${what}`, body);
    if (answer.run_id && answer.run_id !== view.run_id) {
      location.href = location.pathname.replace(/[^/]+$/, answer.run_id);
      return;
    }
    say(done);
    await look();
  } catch (error) {
    say(error.message, true);
  }
}

const ACTIONS = {
  pause: ["Pause", "", () => act("pause", {}, "The run is paused.")],
  resume: ["Resume", "", () => act("resume", {}, "The run goes on.")],
  cancel: ["Cancel", "danger", () => {
    if (confirm("Cancel this run? Nothing more of it starts; what is done is undone where the workflow says how.")) {
      act("cancel", {}, "The run is being cancelled.");
    }
  }],
  rerun: ["Run again", "", () => act("rerun", {}, "Another run has started.")],
};

function showActions() {
  const may = readOnly ? [] : view.may;
  if (at("actions").dataset.may === may.join()) return;
  at("actions").dataset.may = may.join();
  at("actions").replaceChildren(...may.map((name) => {
    const [label, kind, call] = ACTIONS[name];
    const button = element("button", label, { type: "button", class: kind });
    button.addEventListener("click", call);
    return button;
  }));
}

// A form for each step that somebody has to approve. Those that are there stay as they are: somebody may be typing.
function showQuestions() {
  const open = new Map(view.asks.map((ask) => [ask.step, ask]));
  for (const form of at("asks").querySelectorAll("form")) {
    if (!open.delete(form.dataset.step)) form.remove();
  }
  if (!readOnly) for (const ask of open.values()) at("asks").append(question(ask));
  at("asks").classList.toggle("hidden", !at("asks").querySelector("form"));
}

function question({ step, signal, until }) {
  const form = element("form", "", { class: "ask", "data-step": step });
  const id = `ask-${step}`;
  const head = element("p");
  head.append(element("strong", step), ` waits for the signal ${signal}${until ? `, until ${until}` : ""}.`);
  const input = element("textarea", "", { id: `${id}-data`, rows: 2, spellcheck: "false", "aria-describedby": `${id}-help` });
  const reason = element("input", "", { id: `${id}-reason`, type: "text" });
  const approve = element("button", "Approve", { type: "submit", class: "primary" });
  const reject = element("button", "Reject", { type: "button", class: "danger" });
  const problem = element("p", "", { class: "error", role: "alert" });
  const yes = element("div"), no = element("div");
  yes.append(element("label", "Answer, as JSON", { for: input.id }), input,
    element("p", 'Becomes the output of the step; left empty: {"approved": true}', { id: `${id}-help`, class: "muted" }),
    approve);
  no.append(element("label", "Reason", { for: reason.id }), reason,
    element("p", "Becomes the error of the step.", { class: "muted" }), reject);
  form.append(head, yes, no, problem);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = { step };
    try {
      if (input.value.trim()) body.data = JSON.parse(input.value);
    } catch (error) {
      problem.textContent = `The answer is no JSON: ${error.message}`;
      input.setAttribute("aria-invalid", "true");
      input.focus();
      return;
    }
    act("approve", body, `${step} is approved.`);
  });
  reject.addEventListener("click", () => act("reject", { step, reason: reason.value || null }, `${step} is rejected.`));
  return form;
}

function showTools() {
  const button = (label, name, call) => {
    const made = element("button", label, { type: "button", class: "tool", ...(name ? { "aria-label": name } : {}) });
    made.addEventListener("click", call);
    return made;
  };
  at("graph-tools").append(
    button("Show what is going on", "", () => {
      const urgent = ["failed", "running", "waiting"].map((state) => view.rows.find((row) => row.state === state));
      const row = urgent.find(Boolean) ?? view.rows[0];
      if (row) graph.reveal(row.unit);
    }),
    button("Fit", "Fit the width", () => graph.fit()),
    button("−", "Smaller", () => graph.zoom(graph.scale / 1.25)),
    button("+", "Larger", () => graph.zoom(graph.scale * 1.25)),
  );
}

// --- what is new ---------------------------------------------------------------------------------------------------

let skew = Date.now() - view.now;
let looking = null, again = false, pause = SOONEST_MS, timer = null;

// Look at the run, unless it is being looked at: then once more afterwards.
async function look() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = (async () => {
    const asked = performance.now();
    const answer = await fetch(`${run}/view`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const text = await answer.text();
    const begun = performance.now();
    apply(JSON.parse(text));
    performance.measure("run-update", { start: begun, end: performance.now() });
    pause = Math.min(LATEST_MS, Math.max(SOONEST_MS, 4 * (performance.now() - asked)));
  })().catch(() => {});                         // the server is away; the next event, or its return, calls again
  await looking;
  looking = null;
  if (again) {
    again = false;
    soon();
  }
}

function soon() {
  timer ??= setTimeout(() => {
    timer = null;
    look();
  }, pause);
}

function apply(news) {
  const before = view;
  view = { ...before, ...news };
  skew = Date.now() - view.now;
  byParent = groupItems(view.rows);
  showHead();
  graph.update(view.units);
  timeline.update(view);
  showRows(before.rows);
  showEvents(before.last_event);
  panel.update(view.rows);
  if (!view.over || before.over) return;
  tick();
  follow();
}

// A browser has few connections to one server, so a window that nobody sees gives its own back.
let source = null;

function follow() {
  source?.close();
  source = null;
  if (view.over) at("live").textContent = "the run is over";
  if (view.over || document.hidden) return;
  source = new EventSource(`${run}/events?after=${encodeURIComponent(view.last_event)}`);
  source.addEventListener("open", () => {
    at("live").textContent = "yes";
    soon();                                     // what happened while nobody listened
  });
  source.addEventListener("error", () => {
    at("live").textContent = "no: the server does not answer; trying again";
  });
  for (const name of view.event_names) source.addEventListener(name, soon);
}

// --- which step is open --------------------------------------------------------------------------------------------

function openFromAddress() {
  const found = /^#step=(.+)$/.exec(location.hash);
  const id = found && decodeURIComponent(found[1]);
  if (!id) {
    panel.close();
    return;
  }
  const row = view.rows.find((one) => one.id === id);
  graph.select(row?.unit ?? id);
  panel.open(id);
}

showHead();
showTools();
tick();
setInterval(tick, 1000);
addEventListener("hashchange", openFromAddress);
openFromAddress();
document.addEventListener("visibilitychange", follow);
follow();
requestAnimationFrame(() => requestAnimationFrame(() => {
  performance.measure("run-draw", { start: started, end: performance.now() });
}));
