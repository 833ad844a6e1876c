"""The JSON Schemas of what the API takes and answers. Requests are checked against them; a test checks the answers."""

from __future__ import annotations

from typing import Any

from orchestrator.messages import MessagePriority, MessageType
from orchestrator.states import HandoffState, MessageState, RunState, StepState

Json = Any

TEXT: Json = {"type": "string", "maxLength": 1000}
NAME: Json = {"type": "string", "minLength": 1, "maxLength": 200}
TIME: Json = {"type": ["string", "null"], "format": "date-time", "description": "RFC 3339 with milliseconds, UTC"}
SINCE: Json = {
    "type": ["string", "null"],
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
    "description": "the `started_at` of the step when it was looked at; a waiting that began later is not answered",
}
ANY: Json = {"description": "any JSON value"}
PRIORITY: Json = {"enum": [str(word) for word in MessagePriority]}


def words(states: Any) -> Json:
    """One of these words."""
    return {"type": "string", "enum": [str(word) for word in states]}


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def body(required: dict[str, Json], more: dict[str, Json], example: Json) -> Json:
    """What a request brings. It is closed: a field that nobody knows is a mistake."""
    return record(required, more) | {"additionalProperties": False, "examples": [example]}


def record(required: dict[str, Json], more: dict[str, Json] | None = None) -> Json:
    """An object with these fields. Answers are open: a newer version may add some."""
    made: dict[str, Json] = {"type": "object", "properties": {**required, **(more or {})}}
    if required:
        made["required"] = list(required)
    return made


def listing(name: str, of: str, *, pages: bool = False) -> Json:
    """`{name: [...]}`, with the place of the page that follows."""
    behind = {"type": ["string", "null"], "description": "`after` of the page that follows; null: nothing is left"}
    return record({name: {"type": "array", "items": ref(of)}, **({"next": behind} if pages else {})})


_SUMMARY: dict[str, Json] = {
    "run_id": {"type": "string"},
    "workflow": {"type": "string"},
    "version": {"type": "string"},
    "status": words(RunState),
    "priority": PRIORITY,
    "created_at": TIME,
    "started_at": TIME,
    "finished_at": TIME,
    "error": maybe(ref("Failure")),
}
_SUMMARY_MORE: dict[str, Json] = {
    "parent_run_id": {"type": "string", "description": "the run that waits for it"},
    "parent_step": {"type": "string", "description": "the step that waits for it"},
    "rerun_of": {"type": "string", "description": "the run that it repeats"},
    "waits_for": {"type": "string", "description": "the concurrency key under which it has no place yet"},
    "unused_signals": {"type": "array", "items": {"type": "string"}},
    "verdict": {"type": "string", "description": "how it will end, while compensations or `finally` run"},
    "phase": {"type": "string"},
}
_CHANGED = {"changed": {"type": "boolean", "description": "false: it was so already"}}

SCHEMAS: dict[str, Json] = {
    "Failure": record(
        {"type": {"type": "string"}, "message": {"type": "string"}},
        {"step": {"type": "string"}, "attempt": {"type": "integer"}, "traceback": {"type": "string"}},
    ),
    "Problem": record(
        {"file": {"type": "string"}, "line": {"type": "integer"}, "path": {"type": "string"},
         "message": {"type": "string"}},
    ),
    "Problems": record({"errors": {"type": "array", "items": ref("Problem"), "minItems": 1}}),
    "Refusal": record({"error": record({"type": {"type": "string"}, "message": {"type": "string"}})}),
    "RunSummary": record(_SUMMARY, _SUMMARY_MORE),
    "ListedRun": record(
        {**_SUMMARY, "progress": {"type": ["number", "null"], "description": "share of steps done, 0 to 1"}},
        _SUMMARY_MORE,
    ),
    "ChangedRun": record({**_SUMMARY, **_CHANGED}, _SUMMARY_MORE),
    "Rerun": record(
        {**_SUMMARY, "reused": {"type": "array", "items": {"type": "string"}},
         "runs": {"type": "array", "items": {"type": "string"}}},
        _SUMMARY_MORE,
    ),
    "Run": record(
        {**_SUMMARY, "outputs": {"type": "object"},
         "steps": {"type": "object", "additionalProperties": ref("Step")}},
        _SUMMARY_MORE,
    ),
    "Step": record(
        {"status": words(StepState), "agent": {"type": ["string", "null"]}, "attempts": {"type": "integer"},
         "started_at": TIME, "finished_at": TIME, "output": ANY, "error": maybe(ref("Failure"))},
        {"items": {"type": "array", "items": ref("Step"), "description": "of a foreach"},
         "steps": {"type": "object", "additionalProperties": ref("Step"), "description": "inside an item"},
         "reason": {"type": "string", "description": "why it was skipped or waits"},
         "progress": {"type": "number"}, "note": {"type": "string"}, "rounds": {"type": "integer"},
         "child_run_id": {"type": "string"}, "waits_for_signal": {"type": "string"}, "due_at": TIME,
         "reused": {"type": "boolean"}, "hands": {"type": "array", "items": {"type": "string"}},
         "superseded": {"type": "array", "items": {"type": "object"}}},
    ),
    "RunView": record(
        {"run_id": {"type": "string"}, "status": words(RunState), "over": {"type": "boolean"},
         "units": {"type": "object", "description": "how each box of the graph stands"},
         "rows": {"type": "array", "items": {"type": "object"}}, "bars": {"type": "object"},
         "asks": {"type": "array", "items": {"type": "object"}},
         "events": {"type": "array", "items": {"type": "object"}},
         "last_event": {"type": "string"}},
    ),
    "StepView": record(
        {"id": {"type": "string"}, "state": words(StepState), "why": {"type": "string"},
         "facts": {"type": "array", "items": {"type": "array"}}, "input": {"type": ["string", "null"]},
         "output": {"type": ["string", "null"]}, "error": maybe(ref("Failure")),
         "items": {"type": "array", "items": {"type": "object"}}, "may_rerun": {"type": "boolean"}},
    ),
    "Event": record(
        {"id": {"type": "string"}, "at": TIME, "name": {"type": "string"}, "step": {"type": ["string", "null"]},
         "attempt": {"type": ["integer", "null"]}, "data": {"type": "object"}},
    ),
    "Signalled": record(
        {"signal": {"type": "string"}, "reached": {"type": "array", "items": {"type": "string"}},
         "kept": {"type": "boolean", "description": "no step waited for it; it is kept for the first that does"}},
    ),
    "Runs": listing("runs", "ListedRun", pages=True),
    "Agent": record(
        {"name": {"type": "string"}, "capabilities": {"type": "array", "items": {"type": "string"}},
         "presence": words(("online", "offline")), "activity": words(("idle", "busy")),
         "queue": record({str(word): {"type": "integer"} for word in reversed(MessagePriority)}),
         "running": {"type": "integer"}, "workers": {"type": "array", "items": {"type": "string"}}},
    ),
    "Agents": listing("agents", "Agent"),
    "Attempt": record(
        {"started_at": TIME, "ended_at": TIME, "worker": {"type": "string"}, "error": maybe(ref("Failure"))},
        {"superseded": {"type": "string"}},
    ),
    "Message": record(
        {"message_id": {"type": "string"}, "status": words(MessageState), "from_agent": {"type": "string"},
         "to_agent": {"type": "string"}, "message_type": {"type": "string"}, "priority": PRIORITY, "body": ANY,
         "correlation_id": {"type": ["string", "null"]}, "thread_id": {"type": ["string", "null"]},
         "created_at": TIME, "delivered_at": TIME, "finished_at": TIME,
         "attempts": {"type": "array", "items": ref("Attempt")}, "error": maybe(ref("Failure")),
         "reply": {"type": ["string", "null"]}, "metadata": {"type": "object"},
         "delivery_options": {"type": "object"}},
        {"due_at": TIME, "expires_at": TIME, "reason": {"type": "string"}, "late": {"type": "boolean"},
         "replayed_as": {"type": "string"}, "duplicates_dropped": {"type": "integer"},
         "recipient_state": words(("online", "offline"))},
    ),
    "Messages": listing("messages", "Message"),
    "MessagePage": listing("messages", "Message", pages=True),
    "Handoff": record(
        {"task_id": {"type": "string"}, "task": {"type": ["string", "null"]}, "status": words(HandoffState),
         "from_agent": {"type": "string"}, "to_agent": {"type": "string"}, "owner": {"type": ["string", "null"]},
         "previous_owner": {"type": ["string", "null"]}, "priority": PRIORITY, "with": {"type": "object"},
         "context": {"type": "object"}, "created_at": TIME, "finished_at": TIME,
         "custody": {"type": "array", "items": record(
             {"at": TIME, "status": {"type": "string"}, "owner": {"type": "string"},
              "reason": {"type": ["string", "null"]}})},
         "attempts": {"type": "array", "items": ref("Attempt")}, "output": ANY, "result": ANY,
         "error": maybe(ref("Failure"))},
    ),
    "Handoffs": listing("handoffs", "Handoff"),
    "Document": {"type": "object", "description": "an OpenAPI document"},
}  # fmt: skip

SUBMISSION: Json = body(
    {},
    {
        "definition": {"type": "string", "description": "a workflow, as YAML"},
        "file": {**NAME, "description": "a workflow file inside the folder that Flower runs in"},
        "inputs": {"type": "object", "description": "values of the inputs that the workflow declares"},
        "priority": PRIORITY,
        "idempotency_key": {**NAME, "description": "the same key gives the same run, for a day"},
    },
    {"file": "workflows/hello.yaml", "inputs": {"name": "Ada"}, "priority": "high"},
) | {"oneOf": [{"required": ["definition"]}, {"required": ["file"]}]}
NOTHING: Json = body({}, {}, {})
CANCELLATION: Json = body(
    {}, {"now": {"type": "boolean", "description": "leave out compensations and `finally`"}}, {"now": True}
)
RERUN: Json = body(
    {},
    {
        "from": {**NAME, "description": "this step runs again, and all that come after it"},
        "patch": {"type": "object", "description": "step -> output that counts instead of its own"},
    },
    {"from": "write", "patch": {"outline": {"chapters": 3}}},
)
APPROVAL: Json = body(
    {"step": NAME},
    {"data": {"description": "the output of the step"}, "since": SINCE},
    {"step": "sign", "data": {"by": "Ada"}},
)
REJECTION: Json = body(
    {"step": NAME},
    {
        "reason": {"type": ["string", "null"], "maxLength": 10_000, "description": "becomes the error of the step"},
        "since": SINCE,
    },
    {"step": "sign", "reason": "the numbers are of last year"},
)
SIGNAL: Json = body({"name": NAME}, {"data": ANY}, {"name": "approval", "data": {"approved": True}})
MESSAGE: Json = body(
    {"to": {**NAME, "description": "an agent, or `capability:NAME`"},
     "content": {"description": "a text, or any JSON value"}},
    {
        "from": {**NAME, "description": "the sender; left out: operator"},
        "type": {"type": "string", "enum": [str(word) for word in MessageType]},
        "priority": PRIORITY,
        "ttl_s": {"type": "number", "exclusiveMinimum": 0, "description": "seconds until it expires"},
        "thread_id": {**NAME, "description": "the thread that it belongs to"},
        "idempotency_key": {**NAME, "description": "the same key gives the same message"},
    },
    {"to": "writer", "content": "Sprint planning needed", "priority": "high"},
)  # fmt: skip
