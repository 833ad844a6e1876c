// How the pages talk to the server: addresses, and changes with the token that proves they come from here.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

export const AWAY = "the server does not answer";
const ENDED = "the session has ended: open Flower's link again, in another window";
// What a status tells where the answer says nothing of its own.
export const REASONS = { 401: ENDED, 403: ENDED, 404: "this is gone", 503: "the store does not answer" };

export const readOnly = meta("read-only") === "true";

export function api(path) {
  return `${meta("base")}/api/${path}`;
}

export function runPage(runId) {
  return `${meta("base")}/${runId}`;
}

// Returns the answer. Throws an Error that says in a sentence what the server refused.
export async function post(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": meta("csrf") },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(reason(told) ?? REASONS[answer.status] ?? `the server answered ${answer.status} ${answer.statusText}`);
  return told;
}

function reason(told) {
  if (Array.isArray(told.errors)) return told.errors.map((error) => error.message).join("; ");
  return typeof told.error === "string" ? told.error : told.error?.message;
}
