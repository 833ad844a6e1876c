// Keeps the list of runs fresh: states, progress and times of the rows that are there. New runs are only announced, so
// that nothing moves under the pointer.

import { api, AWAY, REASONS } from "./server.js";
import { age, duration } from "./times.js";

const EVERY_MS = 3000;
const table = document.getElementById("runs");
const rows = new Map([...table.querySelectorAll("tr[data-run]")].map((row) => [row.dataset.run, row]));
const news = document.getElementById("news"), stale = document.getElementById("stale");
const first = table.dataset.first === "true";

const cell = (row, name) => row.querySelector(`[data-cell=${name}]`);
const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const tick = () => {
  const now = Date.now();
  for (const row of rows.values()) {
    const time = row.querySelector("time");
    write(time, age(now - Number(time.dataset.age)));
    const took = cell(row, "took");
    if (took.dataset.since) write(took, duration(now - Number(took.dataset.since)));
  }
};

const showProgress = (holder, share) => {
  let bar = holder.querySelector("progress");
  if (share === null) {
    if (bar) bar.remove();
    return;
  }
  if (!bar) {
    bar = document.createElement("progress");
    bar.max = 100;
    bar.setAttribute("aria-label", "steps done");
    holder.append(bar);
  }
  bar.value = Math.round(100 * share);
  bar.title = `${bar.value} % of the steps`;
};

const show = (row, run) => {
  const badge = cell(row, "status");
  if (badge.textContent !== run.status) {
    badge.textContent = run.status;
    badge.className = `badge ${run.status}`;
  }
  showProgress(cell(row, "progress"), run.progress);
  const took = cell(row, "took");
  if (run.finished_at) {
    took.dataset.since = "";
    write(took, duration(Date.parse(run.finished_at) - Date.parse(run.started_at || run.created_at)));
  } else if (run.started_at) {
    took.dataset.since = String(Date.parse(run.started_at));
  }
  if (run.error) write(cell(row, "note"), `${run.error.type}: ${run.error.message}`.slice(0, 140));
};

const refresh = async () => {
  if (document.hidden) return;
  const asked = [...new URLSearchParams(location.search)];
  const known = ["status", "workflow", "search", "after"];
  const query = new URLSearchParams(asked.filter(([name, value]) => value && known.includes(name)));
  const answer = await fetch(api(`runs?${query}`), { headers: { Accept: "application/json" } }).catch(() => null);
  stale.classList.toggle("hidden", Boolean(answer?.ok));
  if (!answer?.ok) {
    write(stale, `These rows are not fresh: ${REASONS[answer?.status] ?? AWAY}.`);
    return;
  }
  for (const run of (await answer.json()).runs) {
    const row = rows.get(run.run_id);
    if (row) show(row, run);
    else if (first) news.classList.remove("hidden");
  }
};

setInterval(tick, 1000);
setInterval(() => refresh().catch(() => undefined), EVERY_MS);
