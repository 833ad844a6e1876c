// The page of one run. Its data comes with it; after that each event of the run calls for news, and only what is new is
// drawn. What people and agents wrote reaches the page as text, never as HTML.

import { showQuestions } from "./asks.js";
import { element } from "./dom.js";
import { Follower } from "./follow.js";
import { Graph } from "./graph.js";
import { api, post, readOnly, runPage } from "./server.js";
import { StepPanel } from "./step.js";
import { addEvents, StepTable } from "./tables.js";
import { Timeline } from "./timeline.js";
import { duration } from "./times.js";

const SOONEST_MS = 150, LATEST_MS = 5000;       // between two looks at the run
const started = performance.now();
const at = (id) => document.getElementById(id);
const data = at("view");
let view = JSON.parse(data.textContent);
const run = api(`runs/${view.run_id}`);

// --- what is drawn -----------------------------------------------------------------------------------------------

// The rows of the items of each foreach.
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
const graph = new Graph(at("graph"), view.graph, view.units, (id) => byParent.get(id) ?? []);
const timeline = new Timeline(at("timeline"), view);
const panel = new StepPanel(at("step"), { run, task: data.dataset.task, graph, act });
const table = new StepTable(at("rows"), view.rows);

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
    if (other) line.append(" ", element("a", other, { href: runPage(other) }));
    return line;
  }));
  showError(view.error);
  showActions();
  showQuestions(at("asks"), readOnly ? [] : view.asks, act);
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

function tick() {
  const now = view.over ? view.finished : Date.now() - skew;
  at("age").textContent = duration(now - view.created);
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
      location.href = runPage(answer.run_id);
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

function revealUrgent() {
  const urgent = ["failed", "running", "waiting"].map((state) => view.rows.find((row) => row.state === state));
  const row = urgent.find(Boolean) ?? view.rows[0];
  if (row) graph.reveal(row.unit);
}

function showTools() {
  const button = (label, name, call) => {
    const made = element("button", label, { type: "button", class: "tool", ...(name ? { "aria-label": name } : {}) });
    made.addEventListener("click", call);
    return made;
  };
  at("graph-tools").append(
    button("Show what is going on", "", revealUrgent),
    button("Fit", "Fit the width", () => graph.fit()),
    button("−", "Smaller", () => graph.zoom(graph.scale / 1.25)),
    button("+", "Larger", () => graph.zoom(graph.scale * 1.25)),
  );
}

// --- what is new ---------------------------------------------------------------------------------------------------

let skew = Date.now() - view.now;
let looking = null, again = false, pause = SOONEST_MS, timer = null;

// Look at the run, unless it is being looked at: then once more afterwards. Gives the status of the answer; 0: none.
async function look() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = (async () => {
    const asked = performance.now();
    const answer = await fetch(`${run}/view`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return answer.status;
    const text = await answer.text();
    const begun = performance.now();
    apply(JSON.parse(text));
    performance.measure("run-update", { start: begun, end: performance.now() });
    pause = Math.min(LATEST_MS, Math.max(SOONEST_MS, 4 * (performance.now() - asked)));
    return answer.status;
  })().catch(() => 0);                          // the server is away; the next event, or its return, calls again
  const status = await looking;
  looking = null;
  if (again) {
    again = false;
    soon();
  }
  return status;
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
  table.update(view.rows);
  addEvents(at("events"), view.events, before.last_event);
  panel.update(view.rows);
  if (!view.over || before.over) return;
  tick();
  follow();
}

const follower = new Follower({
  address: () => `${run}/events?after=${encodeURIComponent(view.last_event)}`,
  names: view.event_names, news: soon, look, say: (text) => { at("live").textContent = text; },
});

// A browser has few connections to one server, so a window that nobody sees gives its own back.
function follow() {
  if (view.over) at("live").textContent = "the run is over";
  if (view.over || document.hidden) follower.stop();
  else follower.start();
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
revealUrgent();
tick();
setInterval(tick, 1000);
addEventListener("hashchange", openFromAddress);
openFromAddress();
document.addEventListener("visibilitychange", follow);
follow();
requestAnimationFrame(() => requestAnimationFrame(() => {
  performance.measure("run-draw", { start: started, end: performance.now() });
}));
