"""What the API answers, by the name of its schema, as the OpenAPI document shows it. A test checks that they fit."""

from __future__ import annotations

from typing import Any

Json = Any

RUN, MESSAGE, TASK = "01m8bzfpnke8tf0qh9", "01m8bzfsa6w3wwrk7e", "01m8bzfsb8e0j51ht5"
_AT, _LATER = "2026-05-01T12:00:00.123Z", "2026-05-01T12:00:01.456Z"

_SUMMARY: Json = {
    "run_id": RUN, "workflow": "hello", "version": "1", "status": "running", "priority": "medium", "created_at": _AT,
    "started_at": _AT, "finished_at": None, "error": None,
}  # fmt: skip
_ATTEMPT: Json = {"started_at": _AT, "ended_at": _LATER, "worker": "writer.4711@host", "error": None}
_MESSAGE: Json = {
    "message_id": MESSAGE, "status": "acknowledged", "from_agent": "operator", "to_agent": "writer",
    "message_type": "question", "priority": "high", "body": {"content": "Is chapter 4 done?"}, "correlation_id": None,
    "thread_id": "chapter-4", "created_at": _AT, "delivered_at": _AT, "finished_at": _LATER, "attempts": [_ATTEMPT],
    "error": None, "reply": "01m8bzfsaavy74bqv7", "metadata": {}, "delivery_options": {"max_retries": 3},
}  # fmt: skip
_DEAD: Json = _MESSAGE | {
    "status": "dead", "reply": None, "error": {"type": "ConnectionError", "message": "no answer", "attempt": 3},
}  # fmt: skip
_HANDOFF: Json = {
    "task_id": TASK, "task": "review", "status": "completed", "from_agent": "writer", "to_agent": "editor",
    "owner": "editor", "previous_owner": "writer", "priority": "medium", "with": {"text": "..."},
    "context": {"git_branch": "main"}, "created_at": _AT, "finished_at": _LATER,
    "custody": [{"at": _AT, "status": "offered", "owner": "writer", "reason": None},
                {"at": _LATER, "status": "completed", "owner": "editor", "reason": None}],
    "attempts": [_ATTEMPT], "output": "fine", "result": "fine", "error": None,
}  # fmt: skip
_EVENT: Json = {"id": "1777636800123-0", "at": _AT, "name": "step.started", "step": "greet", "attempt": 1,
                "data": {"worker": "greeter.4711@host"}}  # fmt: skip

EXAMPLES: dict[str, Json] = {
    "Runs": {"runs": [_SUMMARY | {"progress": 0.5}], "next": None},
    "RunSummary": _SUMMARY,
    "ChangedRun": _SUMMARY | {"status": "paused", "changed": True},
    "Rerun": _SUMMARY | {"rerun_of": "01m8bzfpp0t1kqkyb6", "reused": ["outline"], "runs": ["write", "publish"]},
    "Run": _SUMMARY | {
        "status": "succeeded", "finished_at": _LATER, "outputs": {"text": "Hello, Ada!"},
        "steps": {"greet": {"status": "succeeded", "agent": "greeter", "attempts": 1, "started_at": _AT,
                            "finished_at": _LATER, "output": {"text": "Hello, Ada!"}, "error": None}},
    },
    "RunView": {
        "run_id": RUN, "status": "running", "over": False, "units": {"greet": {"state": "running", "note": ""}},
        "rows": [{"id": "greet", "unit": "greet", "state": "running", "why": ""}],
        "bars": {"greet": [["queue", 0, 20, None], ["run", 20, None, None]]}, "asks": [], "events": [_EVENT],
        "last_event": _EVENT["id"],
    },
    "StepView": {
        "id": "greet", "state": "succeeded", "why": "", "facts": [["does", "greeter.greet"], ["attempt", "1"]],
        "input": '{\n  "name": "Ada"\n}', "output": '"Hello, Ada!"', "error": None, "items": [], "may_rerun": True,
    },
    "Event": _EVENT,
    "Signalled": {"signal": "approval", "reached": ["sign"], "kept": False},
    "Agents": {"agents": [{
        "name": "writer", "capabilities": ["writing"], "presence": "online", "activity": "busy",
        "queue": {"emergency": 0, "urgent": 0, "high": 1, "medium": 4, "low": 0}, "running": 2,
        "workers": ["writer.4711@host"],
    }]},
    "Message": _MESSAGE,
    "Messages": {"messages": [_DEAD]},
    "MessagePage": {"messages": [_MESSAGE], "next": "1777636800123-0"},
    "Handoff": _HANDOFF,
    "Handoffs": {"handoffs": [_HANDOFF]},
    "Document": {"openapi": "3.1.0"},
    "Problems": {"errors": [{"file": "", "line": 3, "path": "steps.0.agent", "message": "no agent 'writr' is known"}]},
    "Refusal": {"error": {"type": "RunOver", "message": f"run {RUN} is over: succeeded"}},
}  # fmt: skip
