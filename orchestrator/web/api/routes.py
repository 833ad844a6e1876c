"""The table of routes: every operation of the API, once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from orchestrator.states import HandoffState, MessageState, RunState
from orchestrator.web.api import messages, runs
from orchestrator.web.api.route import MOST, Route
from orchestrator.web.api.schemas import (
    APPROVAL,
    CANCELLATION,
    MESSAGE,
    NOTHING,
    REJECTION,
    RERUN,
    SIGNAL,
    SUBMISSION,
    TEXT,
    words,
)

Json = Any

_BAD, _GONE, _CLASH = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
_STEERED = (_BAD, _GONE, _CLASH)


def _filter(states: Any) -> Json:
    return words(("", *states)) | {"default": "", "description": "only those that are in this state; empty: any"}


def _limit(default: int) -> Json:
    return {"type": "integer", "minimum": 1, "maximum": MOST, "default": default, "description": "how many at most"}


_TEXT: Json = TEXT | {"default": ""}
_AFTER: Json = _TEXT | {"description": "`next` of the page before"}

ROUTES: tuple[Route, ...] = (
    Route("GET", "/runs", "listRuns", "List runs, the newest first.", "Runs", runs.list_runs, query={
        "status": _filter(RunState),
        "workflow": _TEXT | {"description": "the name of the workflow"},
        "search": _TEXT | {"description": "what the id begins with, or the name of the workflow contains"},
        "after": _AFTER,
        "limit": _limit(50),
    }, refusals=(_BAD,)),
    Route("POST", "/runs", "submitRun", "Check a workflow and start a run of it.", "RunSummary", runs.submit,
          HTTPStatus.CREATED, body=SUBMISSION, refusals=(_BAD, _CLASH), compiles=True),
    Route("GET", "/runs/{run}", "showRun", "Show one run with its steps.", "Run", runs.show, refusals=(_GONE,)),
    Route("GET", "/runs/{run}/view", "viewRun", "Show one run as its page does: states, sentences, bars; no outputs.",
          "RunView", runs.view, refusals=(_GONE,)),
    Route("GET", "/runs/{run}/steps/{step}", "viewStep", "Show one step as the page of its run does: input, output.",
          "StepView", runs.view_step, refusals=(_GONE,)),
    Route("GET", "/runs/{run}/events", "followRun",
          "Server-sent events: what has happened in the run, from `Last-Event-ID` on, and what happens until it ends.",
          "Event", None, query={"after": _TEXT | {"description": "for a client that cannot send `Last-Event-ID`"}},
          refusals=(HTTPStatus.NO_CONTENT, _BAD, _GONE)),
    Route("POST", "/runs/{run}/cancel", "cancelRun", "Stop a run: nothing more of it starts.", "ChangedRun",
          runs.cancel, body=CANCELLATION, refusals=_STEERED),
    Route("POST", "/runs/{run}/pause", "pauseRun", "Hold a run: nothing more of it starts until it is resumed.",
          "ChangedRun", runs.pause, body=NOTHING, refusals=_STEERED),
    Route("POST", "/runs/{run}/resume", "resumeRun", "Let a paused run go on.", "ChangedRun", runs.resume,
          body=NOTHING, refusals=_STEERED),
    Route("POST", "/runs/{run}/rerun", "rerunRun", "Run a run again that is over: what it has finished is reused.",
          "Rerun", runs.rerun, HTTPStatus.CREATED, body=RERUN, refusals=_STEERED),
    Route("POST", "/runs/{run}/approve", "approveStep", "Let a step go on that waits for a signal.", "RunSummary",
          runs.approve, body=APPROVAL, refusals=_STEERED),
    Route("POST", "/runs/{run}/reject", "rejectStep", "Fail a step that waits for a signal.", "RunSummary",
          runs.reject, body=REJECTION, refusals=_STEERED),
    Route("POST", "/runs/{run}/signal", "signalRun", "Give a signal to a run.", "Signalled", runs.signal,
          body=SIGNAL, refusals=_STEERED),
    Route("GET", "/agents", "listAgents", "List the agents: presence, capabilities, queues.", "Agents",
          messages.list_agents, query={"capability": _TEXT | {"description": "only those that have it"}},
          refusals=(_BAD,)),
    Route("GET", "/messages", "listMessages", "List messages that were sent lately, the newest first.", "MessagePage",
          messages.list_messages, query={
              "agent": _TEXT | {"description": "what it has sent or is to receive"},
              "status": _filter(MessageState), "after": _AFTER, "limit": _limit(50),
          }, refusals=(_BAD,)),
    Route("POST", "/messages", "sendMessage", "Send a message to an agent, or to `capability:NAME`.", "Message",
          messages.send, HTTPStatus.CREATED, body=MESSAGE, refusals=_STEERED),
    Route("GET", "/messages/{message}", "showMessage", "Show one message: its state, its attempts, its body.",
          "Message", messages.show_message, refusals=(_GONE,)),
    Route("GET", "/threads/{thread}", "showThread", "Show a thread, the newest 1,000 of it, oldest first.", "Messages",
          messages.show_thread),
    Route("GET", "/dead-letters", "listDeadLetters", "List messages that failed or died, the newest first.", "Messages",
          messages.list_dead, query={"limit": _limit(100)}, refusals=(_BAD,)),
    Route("POST", "/dead-letters/{message}/replay", "replayDeadLetter",
          "Send a dead letter again, as a new message that names the old one.", "Message", messages.replay,
          HTTPStatus.CREATED, body=NOTHING, refusals=_STEERED),
    Route("GET", "/handoffs", "listHandoffs", "List handoffs, the newest first.", "Handoffs", messages.list_handoffs,
          query={"status": _filter(HandoffState), "limit": _limit(100)}, refusals=(_BAD,)),
    Route("GET", "/handoffs/{task}", "showHandoff", "Show one handoff: who has it, who had it, what came of it.",
          "Handoff", messages.show_handoff, refusals=(_GONE,)),
)  # fmt: skip
