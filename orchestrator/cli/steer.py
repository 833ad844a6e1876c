"""Commands that steer a run: hold it, let it go on, stop it, give it what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from orchestrator.cli import options
from orchestrator.cli.output import print_json, say
from orchestrator.cli.remarks import about_step, phase_of
from orchestrator.cli.runs import find_run
from orchestrator.client import Client
from orchestrator.errors import StepNotWaiting
from orchestrator.ids import base_of
from orchestrator.run_handle import RunHandle
from orchestrator.store.connection import guard
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.spec import SIGNAL_NAME

Step = Annotated[str, typer.Argument(metavar="STEP", help="The step's id; of an item ID[n], as `show` prints it.")]
Data = Annotated[str | None, typer.Option(metavar="JSON", help="What becomes the output of the step that waits.")]

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Example:
  orchestrator pause 06bz3k
"""
)
def pause(run_id: options.RunId, as_json: options.AsJson = False) -> None:
    """Hold a run: nothing more of it starts until it is resumed.

    Steps that run at this moment may end. Child runs are held, too; the run's time-out stands still.
    """
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        what = "is paused" if handle.pause() else "was paused already"
        _tell(handle, f"run {handle.id} {what}; `orchestrator resume {handle.id}` lets it go on", as_json)


@commands.command(
    epilog="""\b
Example:
  orchestrator resume 06bz3k
"""
)
def resume(run_id: options.RunId, as_json: options.AsJson = False) -> None:
    """Let a paused run go on."""
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        _tell(handle, f"run {handle.id} {'goes on' if handle.resume() else 'was not paused'}", as_json)


@commands.command(
    epilog="""\b
Examples:
  orchestrator cancel 06bz3k
  orchestrator cancel 06bz3k --now
"""
)
def cancel(
    run_id: options.RunId,
    now: Annotated[bool, typer.Option("--now", help="Leave out compensations and `finally`.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Stop a run: nothing more of it starts.

    Steps that run at this moment are told to stop. Then what is done is undone (`compensate`), and `finally` runs.
    A run that is over stays as it is, which is no error.
    """
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        changed = handle.cancel(at_once=now)
        record = handle.record()
        if record.state.terminal:
            what = record.state if changed else f"was {record.state} already"
        else:
            begun = "is being stopped" if changed else "was being stopped already"
            what = f"{begun} ({phase_of(record)}); `orchestrator cancel {handle.id} --now` ends it at once"
        _tell(handle, f"run {handle.id} {what}", as_json)


@commands.command(
    epilog="""\b
Examples:
  orchestrator signal 06bz3k payment-received
  orchestrator signal 06bz3k payment-received --data '{"amount": 12}'
"""
)
def signal(
    run_id: options.RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal that a step waits for.")],
    data: Data = None,
    as_json: options.AsJson = False,
) -> None:
    """Give a signal to a run.

    Every step that waits for it goes on. If none does yet, the signal is kept for the first that will.
    """
    if not SIGNAL_NAME.fullmatch(name):
        raise typer.BadParameter("use letters, digits and '_.:-', 100 at most", param_hint="NAME")
    value = _read(data)
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        reached = handle.signal(name, value)
        if as_json:
            print_json({"signal": name, "reached": reached, "kept": not reached})
        elif reached:
            say(f"the signal {name} has reached {listed(reached)}")
        else:
            say(f"no step waits for the signal {name} yet: it is kept until one does{_unknown(client, handle, name)}")


@commands.command(
    epilog="""\b
Examples:
  orchestrator approve 06bz3k sign
  orchestrator approve 06bz3k sign --data '{"by": "Ada"}'

\b
Without --data the output of the step is {"approved": true}.
"""
)
def approve(run_id: options.RunId, step: Step, data: Data = None, as_json: options.AsJson = False) -> None:
    """Let a step go on that waits for a signal."""
    value = _read(data)
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        with _in_words(client, handle, step):
            handle.approve(step, value)
        _tell(handle, f"step {step} of run {handle.id} is approved", as_json)


@commands.command(
    epilog="""\b
Example:
  orchestrator reject 06bz3k sign --reason "numbers are of last year"
"""
)
def reject(
    run_id: options.RunId,
    step: Step,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it becomes the step's error.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Fail a step that waits for a signal."""
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        with _in_words(client, handle, step):
            handle.reject(step, reason)
        _tell(handle, f"step {step} of run {handle.id} is rejected", as_json)


def _tell(handle: RunHandle, sentence: str, as_json: bool) -> None:
    """Say what became of the run, or print it."""
    print_json(handle.document()) if as_json else say(sentence)


def _read(data: str | None) -> Any:
    return None if data is None else options.read_json("--data", data)


@contextmanager
def _in_words(client: Client, handle: RunHandle, step_id: str) -> Iterator[None]:
    """Tells of a StepNotWaiting what the step does instead, and which steps do wait for a signal."""
    try:
        yield
    except StepNotWaiting:
        steps = {step.id: step for step in handle.steps()}
        with guard(client.url):
            known = {step.id for step in client.store.read_plan(handle.id).steps if not step.internal} | steps.keys()
        if base_of(step_id) not in known:
            near = did_you_mean(step_id, known) or f"; there is {listed(sorted(known))}"
            raise StepNotWaiting(f"no step {step_id!r} in run {handle.id}{near}") from None
        step = steps.get(step_id)
        about = f", {about_step(step)}" if step and about_step(step) else ""
        waiting = listed(other.id for other in steps.values() if other.signal)
        raise StepNotWaiting(
            f"step {step_id!r} of run {handle.id} waits for no signal: "
            f"it is {step.state if step else 'not reached'}{about}; what waits for one: {waiting}"
        ) from None


def _unknown(client: Client, handle: RunHandle, name: str) -> str:
    """What to add where no step of the workflow can ever wait for the signal."""
    with guard(client.url):
        known = _signals(client.store.read_plan(handle.id))
    if name in known:
        return ""
    near = did_you_mean(name, known) or (f"; its steps wait for {listed(known)}" if known else "; it waits for none")
    return f". The workflow names no such signal{near}"


def _signals(plan: Plan) -> list[str]:
    """The signals that steps of a workflow wait for; child runs get their own."""
    return sorted({step.wait.signal for step in plan.steps if step.wait and step.wait.signal})
