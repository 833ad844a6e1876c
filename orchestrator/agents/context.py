"""`Context`: what a handler may know and do besides its arguments.

It holds no connection of its own: whoever runs the attempt (the executor, or the simulator) passes a `Link`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol

Json = Any


class Link(Protocol):
    """The way from a running handler back to its run."""

    def inputs(self) -> Mapping[str, Json]:
        """All inputs of the run."""

    def step(self, step_id: str) -> Mapping[str, Json]:
        """`{output, status, error, attempts}` of one step; KeyError if the workflow has none of that id."""

    def step_ids(self) -> tuple[str, ...]:
        """The ids of the workflow's steps."""

    def progress(self, fraction: float | None, note: str | None) -> None:
        """Record how far the attempt is."""

    def heartbeat(self) -> None:
        """Extend the lease; LeaseLost if the attempt does not count any more."""

    def cancelled(self) -> bool:
        """Whether the attempt should stop."""

    def send(self, to: str, content: Json, options: Mapping[str, Any]) -> str:
        """Have a message sent with the outcome of the attempt; its id."""

    def ask(self, to: str, content: Json, timeout_s: float, options: Mapping[str, Any]) -> Json:
        """Send a message now and wait for what is answered."""

    def handoff(self, to: str, task: str, values: Mapping[str, Json], options: Mapping[str, Any]) -> str:
        """Have a task offered to another agent with the outcome of the attempt; the task's id."""


class Context:
    """One attempt of one step, or at one message, seen from inside the handler.

    `run_id` and `step_id` are empty for a message or a handoff; `message_id` is empty for a step.
    """

    def __init__(
        self,
        *,
        run_id: str = "",
        step_id: str = "",
        message_id: str = "",
        agent: str,
        attempt: int,
        link: Link,
        idempotency_key: str = "",
    ) -> None:
        self.run_id = run_id
        self.step_id = step_id
        self.message_id = message_id
        self.attempt = attempt
        self._agent = agent
        self._idempotency_key = idempotency_key
        self._link = link

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step, or at this message: give it to services that dedupe."""
        return self._idempotency_key or self.message_id or f"{self.run_id}/{self.step_id}"

    @cached_property
    def inputs(self) -> Mapping[str, Json]:
        """The inputs of the run."""
        return self._link.inputs()

    @cached_property
    def steps(self) -> Mapping[str, Mapping[str, Json]]:
        """The steps so far: `ctx.steps["outline"]["output"]`. Each one is read from the store when asked for."""
        return _Steps(self._link)

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry run, step and attempt."""
        ids = {"run_id": self.run_id, "step_id": self.step_id, "message_id": self.message_id}
        extra = {**{name: value for name, value in ids.items() if value}, "attempt": self.attempt}
        return logging.LoggerAdapter(logging.getLogger(f"orchestrator.agent.{self._agent}"), extra)

    def send(self, to: str, content: Json, **options: Any) -> str:
        """Send a message to an agent when this attempt succeeds, in the same commit; its id.

        Args:
            content: a text, or any JSON value.
            options: as `Client.send` takes them: `message_type`, `priority`, `thread_id`, ...
        Raises:
            MessageInvalid: names the field. UnknownAgent: with near names.
        """
        return self._link.send(to, content, options)

    def ask(self, to: str, content: Json, *, timeout_s: float = 30.0, **options: Any) -> Json:
        """Send a question now, wait for the answer, and return it: a text, or the body of the reply.

        Raises:
            WaitTimeout: no answer within `timeout_s`.
        """
        return self._link.ask(to, content, timeout_s, options)

    def handoff(self, to: str, task: str, values: Mapping[str, Json] | None = None, **options: Any) -> str:
        """Offer a task to another agent when this attempt succeeds; the task's id. To move this very step, return
        `Handoff(...)` instead."""
        return self._link.handoff(to, task, values or {}, options)

    def progress(self, fraction: float | None = None, note: str | None = None) -> None:
        """Tell how far the work is: a share from 0 to 1, a few words, or both."""
        if fraction is not None:
            fraction = min(max(float(fraction), 0.0), 1.0)
        self._link.progress(fraction, note)

    def heartbeat(self) -> None:
        """Extend the lease now. The worker does so by itself; call it to learn early that the attempt is void.

        Raises:
            LeaseLost: the run was cancelled, or another worker has taken the step.
        """
        self._link.heartbeat()

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled or the attempt timed out: clean up and return."""
        return self._link.cancelled()


class _Steps(Mapping[str, Mapping[str, Json]]):
    def __init__(self, link: Link) -> None:
        self._link = link

    def __getitem__(self, step_id: str) -> Mapping[str, Json]:
        return self._link.step(step_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._link.step_ids())

    def __len__(self) -> int:
        return len(self._link.step_ids())
