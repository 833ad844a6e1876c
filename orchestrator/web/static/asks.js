// A form for each step that somebody has to approve or to reject.

import { element } from "./dom.js";

// Those that are there stay as they are: somebody may be typing. `act` is as in run.js.
export function showQuestions(host, asks, act) {
  const open = new Map(asks.map((ask) => [`${ask.step} ${ask.since}`, ask]));
  for (const form of host.querySelectorAll("form")) {
    if (!open.delete(`${form.dataset.step} ${form.dataset.since}`)) form.remove();
  }
  for (const ask of open.values()) host.append(question(ask, act));
  host.classList.toggle("hidden", !host.querySelector("form"));
}

function question({ step, signal, until, since }, act) {
  const form = element("form", "", { class: "ask", "data-step": step, "data-since": since });
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
    const body = { step, since };
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
  reject.addEventListener("click", () => act("reject", { step, since, reason: reason.value || null }, `${step} is rejected.`));
  return form;
}
