"""What the store keeps and gives back, as frozen values. Unknown fields (of a newer version) are ignored.

Times are milliseconds since the epoch, UTC, by the server's clock; `rfc3339` is the form people and programs see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.ids import visible_id
from orchestrator.messages import AgentMessage
from orchestrator.states import HandoffState, MessageState, RunState, StepState

Json = Any
#: The form of what the store keeps. A process leaves alone what a newer form is needed for; one that knows it does it.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step, or a run, failed. `traceback` is for logs and `--json` only."""

    type: str
    message: str
    step: str | None = None
    attempt: int | None = None
    traceback: str | None = None

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}

    @classmethod
    def from_json(cls, data: dict[str, Json] | None) -> StepError | None:
        return cls(**{k: v for k, v in data.items() if k in cls.__slots__}) if data else None


@dataclass(frozen=True, slots=True)
class Late:
    """The answer of an attempt that did not count any more. `key` is where the outputs of the run hold its output."""

    attempt: int
    at: int
    key: str
    error: StepError | None = None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of one run (or one item of a `foreach`) as the store knows it."""

    id: str
    state: StepState
    agent: str | None = None
    attempts: int = 0
    ready_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    retry_at: int | None = None
    worker: str | None = None
    error: StepError | None = None
    reason: str | None = None
    progress: float | None = None
    note: str | None = None
    items: int | None = None
    items_done: int | None = None
    hands: tuple[str, ...] = ()
    rounds: int | None = None
    signal: str | None = None
    child: str | None = None
    reused: bool = False
    late: tuple[Late, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, without its steps.

    `parent` and `parent_step` are the run and the step that wait for it, `rerun_of` the run that it repeats.
    `waits_for` is the concurrency key whose other runs it waits for; `signals` are the names of those that nobody has
    waited for yet; `verdict` is how it will end, where that is known while compensations or `finally` run. `steps_open`
    counts the steps of its phase that are not done.
    """

    id: str
    workflow: str
    version: str
    plan_hash: str
    state: RunState
    priority: str
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    outputs: dict[str, Json] | None = None
    error: StepError | None = None
    parent: str | None = None
    parent_step: str | None = None
    rerun_of: str | None = None
    waits_for: str | None = None
    signals: tuple[str, ...] = ()
    verdict: str | None = None
    phase: str | None = None
    steps_open: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A run to create.

    `inputs` maps names to JSON texts; `dispatch` gives the segments of a plan. With a `slot` (the concurrency key,
    evaluated) at most `max_runs` runs go on at a time; `on_limit` is what becomes of one more, as in the file.
    `parent` is the run and the step that wait for this one. `kept` is what is taken over from an earlier run: (id,
    record as JSON, output as stored), '' for none; `again` are child runs of which the steps' new ones take over what
    is done. `trace` is the context of the run's span as text, '' without traces.
    """

    run_id: str
    plan: Any
    inputs: dict[str, str]
    dispatch: Callable[[Any], dict[str, Json]]
    priority: str
    retention_ms: int
    idempotency_key: str | None = None
    idempotency_ttl_ms: int = 0
    slot: str | None = None
    max_runs: int = 1
    on_limit: str = "queue"
    parent: tuple[str, str] | None = None
    rerun_of: str | None = None
    kept: tuple[tuple[str, str, str], ...] = ()
    again: dict[str, str] = field(default_factory=dict)
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt of one step, held by one worker under a lease. `attempt` fences the answer; `number` counts from 1,
    in a loop from 1 in each round.

    `step` is the plan's entry; `scope` holds what its expressions may read. `context` is what an agent passed on that
    handed the step over. `root` is the step whose message was the first of the run, `parent` the one before this.
    """

    run_id: str
    step_id: str
    attempt: int
    failures: int
    step: Any
    scope: dict[str, Json]
    context: dict[str, Json] | None = None
    before: int = 0
    root: str | None = None
    parent: str | None = None

    @property
    def number(self) -> int:
        return self.attempt - self.before

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of the step, in a loop for those of one round."""
        return f"{self.run_id}/{self.shown_id}" + (f"~{self.before}" if self.before else "")

    @property
    def shown_id(self) -> str:
        """The id as people see it: the only step of an item goes by the item's id."""
        return visible_id(self.step_id)


@dataclass(frozen=True, slots=True)
class Ready:
    """A step whose message is to be sent. `segment` is the piece of canvas that starts with it."""

    step_id: str
    segment: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Taker:
    """A process of a worker that goes on with one step after another; `agents` are those that the worker serves."""

    worker: str
    pid: int
    lease_ms: int
    agents: tuple[str, ...]


OUTPUTS, START, CANCEL, STOP = "$outputs", "$start", "$cancel", "$stop"  # what is decided besides steps


@dataclass(frozen=True, slots=True)
class Question:
    """A step to decide, with its record and what its expressions may read. Of `$outputs` it is their template."""

    step_id: str
    step: Any  # a PlanStep
    record: dict[str, Json]
    scope: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Advance:
    """What one transition made possible, for whoever caused it to carry on with.

    `ready` steps go to their agents, `decide` steps are evaluated where the run advances (`when`, `set`, `foreach`,
    gates, and `$outputs` for the end of the run); of the first one `question` holds what it needs. Where the broker is
    the store's server, the script that makes a step ready sends its message, and `ready` is empty. `posted` is what
    became of the messages that a handler sent, as `Inbox.posted` reads it. `claim` is the step that the process goes on
    with. `elsewhere` are decisions of other runs: of the parent of a run that ended, of its children, of a run that
    waited for a place. `holders` are, where the run waits for one, the oldest run that has it and those that wait, too.
    """

    run_id: str
    ready: tuple[Ready, ...] = ()
    decide: tuple[str, ...] = ()
    priority: str = "medium"
    elsewhere: tuple[tuple[str, str], ...] = ()
    posted: tuple[Json, ...] = ()
    holders: tuple[str, ...] = ()
    claim: Claim | None = None
    question: Question | None = None

    @property
    def leads_on(self) -> bool:
        """Whether something is left to decide or to send."""
        return bool(self.decide or self.ready or self.elsewhere)


@dataclass(frozen=True, slots=True)
class Doorbell:
    """The Celery message that calls a worker for a message, for the script that stores it.

    `queue` and `wake` are the broker's lists; `ring` is empty where the broker is not the store's server.
    """

    queue: str
    wake: str
    ring: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is checked and encoded, ready to be stored. Times are milliseconds.

    `box` is the inbox it goes to: the recipient's, or `RECIPIENT/tasks` for a handoff. `open` lets it go to a name that
    nobody has registered; `routed` says that the agent's route was followed already. `awaited_ms`: the sender waits so
    long for a reply, which then does not go to its inbox. `conversation`: the message that it goes back to by way of
    others; it has to keep the pace of its conversation.
    """

    message: AgentMessage
    body: str
    box: str
    delay_ms: int | None = None
    at_ms: int | None = None
    idempotency_key: str | None = None
    awaited_ms: int | None = None
    task: str | None = None
    open: bool = False
    routed: bool = False
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """Drafts in the form in which a script stores them, for one that belongs to a step."""

    keys: list[str]
    args: list[Json]


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a draft. `known`: its idempotency key was used before, and `message_id` is the message of then.

    `route`: where the agent's messages go besides its inbox, while it is moved over from tmux (JSON).
    `ring_to_send`: the ring that whoever sent it must publish, because the broker is another server; or nothing.
    """

    message_id: str
    state: str
    online: bool
    ring_to_send: str
    known: bool
    box: str
    priority: str
    route: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt at one message, held by one receiver under a lease. `attempt` counts from 1."""

    message: AgentMessage
    attempt: int
    failures: int
    receiver: str
    box: str
    late: bool = False
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a message. `superseded` is the outcome that came too late to count."""

    started_at: int
    worker: str
    ended_at: int | None = None
    error: StepError | None = None
    superseded: str | None = None


@dataclass(frozen=True, slots=True)
class Custody:
    """One link of a handoff's chain: who had it from when, and why."""

    at: int
    state: str
    owner: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as the store knows it. The fields from `handoff` on are set for handoffs only.

    `duplicates` counts the copies under its id that were dropped.
    """

    message: AgentMessage
    state: MessageState
    box: str
    attempts: tuple[Attempt, ...] = ()
    delivered_at: int | None = None
    finished_at: int | None = None
    due_at: int | None = None
    expires_at: int | None = None
    worker: str | None = None
    error: StepError | None = None
    reason: str | None = None
    reply: str | None = None
    late: bool = False
    replayed_as: str | None = None
    duplicates: int = 0
    handoff: HandoffState | None = None
    task: str | None = None
    owner: str | None = None
    previous_owner: str | None = None
    custody: tuple[Custody, ...] = ()
    result: Json = None

    @property
    def status(self) -> MessageState:
        return self.state


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a run's history. `id` is its place in the stream; `at` milliseconds."""

    id: str
    at: int
    name: str
    step: str | None = None
    attempt: int | None = None
    data: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of the journal: what happened to a message, a handoff, an agent, a run or a step.

    `id` is its place in the stream; `at` milliseconds. `data` holds ids and words as text: message, handoff, run, step,
    attempt, from, to, type, priority, agent, task, reply, reason, each where it is known.
    """

    id: str
    at: int
    name: str
    data: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """`{id, at, name}` and the data beside them; `at` as RFC 3339."""
        return {"id": self.id, "at": rfc3339(self.at), "name": self.name, **self.data}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a handler has logged. `at` is ms by its worker's clock; `id` is its place in the run's log."""

    at: int
    step: str
    attempt: int
    agent: str
    level: str
    logger: str
    text: str
    id: str = ""

    def to_json(self) -> dict[str, Json]:
        """`{id, at, step, attempt, agent, level, logger, text}`; `at` as RFC 3339."""
        return {"id": self.id, "at": rfc3339(self.at)} | {
            name: getattr(self, name) for name in ("step", "attempt", "agent", "level", "logger", "text")
        }


def rfc3339(at_ms: int | None) -> str | None:
    """`2026-05-01T12:00:00.123Z`."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
