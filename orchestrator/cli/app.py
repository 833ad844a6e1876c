"""The command `orchestrator`: which commands there are, and what becomes of an error.

Only this file turns an error into a line and an exit code. It imports a group of commands when one of them is asked
for, because Celery and pydantic cost half a second that `--help` must not.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from orchestrator import __version__
from orchestrator.cli.text import visible
from orchestrator.errors import (
    AgentsNotLoadable,
    ApprovalNotAllowed,
    BadSignature,
    HandoffRefused,
    LimitExceeded,
    MessageInvalid,
    MessageNotFound,
    MessageNotHeld,
    NotYourMessage,
    OrchestratorError,
    Problem,
    QueueFull,
    RunNotFound,
    RunNotOver,
    RunOver,
    SettingsInvalid,
    StepNotWaiting,
    StoreUnavailable,
    UnknownAgent,
    UnknownStep,
    UnknownTask,
    WaitTimeout,
    WorkflowInvalid,
)

DONE, FAILED, INVALID, TIMED_OUT, NO_SERVER, INTERRUPTED = 0, 1, 2, 3, 4, 130
READER_GONE = 141  # as for any program that SIGPIPE ends: `orchestrator runs | head -1`

# command -> (module, what it does). The first sentence of the command's own help says the same.
COMMANDS = {
    "run": ("run", "Submit a workflow and follow it to its end."),
    "up": ("up", "Start the server, a worker for every agent, and Flower."),
    "worker": ("worker", "Serve agents until told to stop."),
    "validate": ("files", "Check workflow files without running them."),
    "graph": ("files", "Draw a workflow."),
    "plan": ("files", "Show the chains and chords a workflow will run as."),
    "test": ("testing", "Run the tests that workflow files contain."),
    "schema": ("testing", "Print the JSON Schema of workflow files, for editors."),
    "runs": ("runs", "List runs, the newest first."),
    "show": ("runs", "Show one run: its steps, its error, its outputs."),
    "events": ("runs", "Print what happened in a run, in order; without a run, the journal of everything."),
    "logs": ("logs", "Print what the handlers of a run have logged."),
    "sink": ("journal", "Carry the journal to a file, or to the memory of a model."),
    "cancel": ("steer", "Stop a run: nothing more of it starts."),
    "pause": ("steer", "Hold a run: nothing more of it starts until it is resumed."),
    "resume": ("steer", "Let a paused run go on."),
    "signal": ("steer", "Give a signal to a run."),
    "approve": ("steer", "Let a step go on that waits for a signal."),
    "reject": ("steer", "Fail a step that waits for a signal."),
    "rerun": ("rerun", "Run a run again that is over: what it has finished is reused."),
    "schedule": ("schedules", "Let a workflow start by itself."),
    "schedules": ("schedules", "List what starts by itself, and when."),
    "unschedule": ("schedules", "Forget a schedule; runs it has started go on."),
    "send": ("messages", "Send a message to an agent."),
    "ask": ("messages", "Send a question, wait for the answer, and print it."),
    "reply": ("messages", "Answer a message."),
    "broadcast": ("messages", "Send a message to many agents: one delivery each, all stored or none."),
    "message": ("messages", "Show one message: its state, its attempts, its body."),
    "thread": ("messages", "Show the messages of a thread, oldest first."),
    "dead": ("dead", "Dead letters: messages whose handler failed for good, with their history."),
    "inbox": ("inbox", "Receive an agent's messages, the most urgent first."),
    "ack": ("inbox", "Acknowledge a message that `inbox` has printed."),
    "nack": ("inbox", "Give back a message that `inbox` has printed."),
    "register": ("inbox", "Make an agent known that has no Python code, so that others can send to it."),
    "unregister": ("inbox", "Forget an agent."),
    "handoff": ("handoffs", "Hand a task to another agent."),
    "handoffs": ("handoffs", "List handoffs, the newest first."),
    "task": ("handoffs", "Show one handoff: who has it, who had it, what came of it."),
    "accept": ("handoffs", "Accept a handoff for the agent it is offered to; `complete` ends it."),
    "decline": ("handoffs", "Decline a handoff: it goes back to its sender."),
    "complete": ("handoffs", "End a handoff that was accepted at a terminal: with a result, or as failed."),
    "migrate": ("migrate", "Move agents from tmux windows to inboxes: both ways at first, then cut over."),
    "keys": ("keys", "Make the keys that messages are signed with."),
    "agents": ("agents", "List the agents: what they can do, who is online, what waits for them."),
    "top": ("top", "Watch agents, queues, runs and rates, on the whole screen."),
    "flower": ("flower", "Watch workflows, agents and workers in a browser, with Flower."),
    "metrics": ("metrics", "Print what waits, what runs and what happened, for Prometheus; or serve it."),
    "audit": ("audit", "Prove from the records that nothing is lost, stuck or left over."),
    "doctor": ("doctor", "Check the installation, the server and the workers, and say what to do."),
}

INVALID_INPUT = (
    WorkflowInvalid, SettingsInvalid, AgentsNotLoadable, UnknownAgent, UnknownTask, RunNotFound, LimitExceeded,
    MessageInvalid, MessageNotFound, MessageNotHeld, NotYourMessage, HandoffRefused, RunOver,
    RunNotOver, StepNotWaiting, ApprovalNotAllowed, UnknownStep, BadSignature,
)  # fmt: skip


class _Commands(TyperGroup):
    """The commands, each imported when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"no command {cmd_name!r}" + (f" (did you mean {near[0]}?)" if near else ""))
        module = import_module(f"orchestrator.cli.{COMMANDS[cmd_name][0]}")
        return typer.main.get_group(module.commands).commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


root = typer.Typer(cls=_Commands, add_completion=False, rich_markup_mode=None)


@root.callback(
    invoke_without_command=True,
    epilog="Exit codes: 0 done, 1 the run failed, 2 bad usage or invalid input, 3 a time-out, 4 server unavailable.",
)
def _orchestrator(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Run workflows of agents on Celery.

    With no server configured, a private one is started in the folder .orchestrator.
    Start here: orchestrator run workflows/hello.yaml
    """
    if version:
        print(f"orchestrator {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 to 4 as documented, 130 after Ctrl-C, 141 when whoever read the output has gone.
    """
    words = list(sys.argv[1:] if args is None else args)
    # What a command imports stays until its end: looking through it again and again, and once more at the end, would
    # take a third of the time of a short one.
    gc.set_threshold(20_000, 20, 20)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files may be no text
    for number, word in enumerate(words, 1):
        if not (_is_utf8(word) or os.path.lexists(word)):
            print(visible(f"argument {number} is no UTF-8 text: {word}"), file=sys.stderr)
            return INVALID
    try:
        code = _call(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes at exit
        return READER_GONE


def _is_utf8(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _call(words: list[str]) -> int:
    command = typer.main.get_command(root)
    try:
        with command.make_context("orchestrator", words) as ctx:
            command.invoke(ctx)
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        return _report(error, as_json="--json" in words)
    return DONE


def _report(error: Exception, *, as_json: bool) -> int:
    """Tell what went wrong, on standard error and, for invalid input under `--json`, on standard output."""
    code, problems = _judge(error)
    if as_json and code == INVALID:
        print(json.dumps({"errors": [problem.as_dict() for problem in problems]}, indent=2, ensure_ascii=False))
    for problem in problems:
        print(visible(str(problem) if problem.file else problem.message), file=sys.stderr)
    if any(problem.message.startswith("no agent ") for problem in problems):
        print("Agents of your own are found with --agents FILE, or ORCHESTRATOR_AGENTS=FILE.", file=sys.stderr)
    if code == FAILED and not isinstance(error, OrchestratorError):
        if os.environ.get("ORCHESTRATOR_TRACEBACK"):
            traceback.print_exception(error)
        else:
            print("This is a mistake in orchestrator itself; ORCHESTRATOR_TRACEBACK=1 shows where.", file=sys.stderr)
    return code


def _judge(error: Exception) -> tuple[int, list[Problem]]:
    """The exit code of an error, and what to say about it."""
    if isinstance(error, WorkflowInvalid):
        return INVALID, error.problems
    if isinstance(error, MessageInvalid):
        return INVALID, [Problem("", 0, error.details.get("field", ""), error.message)]
    if isinstance(error, INVALID_INPUT):
        return INVALID, [_problem(error.message)]
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "orchestrator"
        message = error.format_message().rstrip(".")
        return INVALID, [_problem(f"{message[:1].lower()}{message[1:]} (see {command} --help)")]
    if isinstance(error, WaitTimeout):
        return TIMED_OUT, [_problem(error.message)]
    if isinstance(error, (StoreUnavailable, QueueFull)):
        return NO_SERVER, [_problem(error.message)]
    if isinstance(error, OrchestratorError):
        return FAILED, [_problem(error.message)]
    return FAILED, [_problem(f"{type(error).__name__}: {error}")]


def _problem(message: str) -> Problem:
    return Problem(file="", line=0, path="", message=message)
