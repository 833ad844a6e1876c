"""`Client`: submit workflows, list runs, talk to agents, from any process that reaches the server. One run is a
`RunHandle`, see run_handle.py.

Every call has a deadline (`Settings.deadline_s`) and fails with StoreUnavailable past it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.agents.decisions import carry_on
from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.agents.post import Broadcast, PostOffice, Receipt
from orchestrator.agents.rerun import Rerun
from orchestrator.agents.run_spans import RunSpan
from orchestrator.agents.submission import launch, launch_all, order_run
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.errors import (
    OrchestratorError,
    OutcomeUnknown,
    Problem,
    StoreUnavailable,
    WorkflowInvalid,
)
from orchestrator.messages import content_of
from orchestrator.records import Advance, MessageRecord, Order, Posted, RunRecord
from orchestrator.run_handle import BLOCK_MS, RunHandle
from orchestrator.runtime.celery_defaults import IMPATIENT
from orchestrator.runtime.doorbells import doorbell, publish, silent
from orchestrator.settings import URL_SCHEMES, Settings
from orchestrator.states import RunState
from orchestrator.store.connection import blocking, connect, guard, server_url
from orchestrator.store.directory import Directory
from orchestrator.store.inbox import Inbox
from orchestrator.store.keys import Keys
from orchestrator.store.load import PRIORITIES, AgentLoad
from orchestrator.store.patience import insist, within
from orchestrator.store.quarantine import Quarantine
from orchestrator.store.run_log import RunLog
from orchestrator.store.runs import RunStore
from orchestrator.store.schedules import Schedule, Schedules
from orchestrator.workflow.catalog import AgentInfo, Catalog
from orchestrator.workflow.cron import check_schedule, due_times
from orchestrator.workflow.nearby import did_you_mean
from orchestrator.workflow.plan import Plan

# What only some calls need is imported by them: Celery, the compiler and the audit take 0.2 s of each command's start.
if TYPE_CHECKING:
    from orchestrator.runtime.app import App
    from orchestrator.store.audit.report import Progress, Report
    from orchestrator.workflow.files import FilePlans

Json = Any
OPERATOR = "operator"  # who sends where neither a key nor anybody says who
_PACKET_RUNS, _PACKET_BYTES = 100, 1 << 20  # of `submit_many`; the second, of inputs, bounds what one round trip takes


class Client:
    """The way in for Python programs.

    Args:
        settings: default: the environment, `celeryconfig.py`, or the embedded server.
        agents: modules, files or folders whose agents count as known; default: `settings.agents`.
    Raises:
        StoreUnavailable: the server does not answer.
    """

    def __init__(self, settings: Settings | None = None, *, agents: Sequence[str] | None = None) -> None:
        self.settings = settings or Settings.load()
        self._sources = tuple(agents) if agents is not None else self.settings.agents
        self.url = server_url(self.settings)
        server = connect(self.url, deadline_s=self.settings.deadline_s)
        self.store = RunStore(server, Keys(self.settings.prefix), one_server=self.settings.broker_url is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections to the broker."""
        if "app" in self.__dict__:
            self.app.close()

    @cached_property
    def app(self) -> App:
        """The Celery app that publishes what the store's scripts cannot send; built when there is something."""
        from orchestrator.runtime.app import make_app

        app = make_app(self.settings)
        app.conf.update(IMPATIENT)
        return app

    @cached_property
    def _plans(self) -> FilePlans:
        from orchestrator.workflow.files import FilePlans

        return FilePlans(self.settings)

    @cached_property
    def registry(self) -> AgentRegistry:
        """The agents that this process has loaded."""
        return load_agents(self._sources)

    def submit(
        self,
        source: str | Path | Plan,
        inputs: Mapping[str, Json] | None = None,
        *,
        idempotency_key: str | None = None,
        priority: str | None = None,
    ) -> RunHandle:
        """Check a workflow and its inputs, record a run of it, and start its first steps. Returns at once.

        With a key that was used before (in the last day), the handle is of the run of then.

        Raises:
            WorkflowInvalid: every mistake in the file and the inputs, or an unknown priority; nothing was stored.
            StoreUnavailable: nothing was stored. OutcomeUnknown: no answer came in time; the same idempotency key gives
            the same run. QueueFull: the server has used up most of its memory.
        """
        plan = self._plan_to_run(source, priority)
        order = order_run(plan, inputs or {}, self.settings, priority=priority, idempotency_key=idempotency_key)
        return self._launch(order)

    def submit_many(
        self,
        source: str | Path | Plan,
        inputs: Iterable[Mapping[str, Json]],
        *,
        idempotency_key: str | None = None,
        priority: str | None = None,
    ) -> list[RunHandle]:
        """Start a run for each of the inputs, as `submit` does; a hundred of them in one round trip.

        Args:
            idempotency_key: KEY gives run N, from 0, the key `KEY:N`, so that the same call gives the same runs.
        Raises:
            WorkflowInvalid: nothing was stored. `[N].NAME` is the input NAME of run N.
            What `submit` raises: the runs whose ids are in `accepted` were started all the same.
        """
        plan, orders = self._plan_to_run(source, priority), []
        for n, values in enumerate(inputs):
            key = None if idempotency_key is None else f"{idempotency_key}:{n}"
            try:
                orders.append(order_run(plan, values, self.settings, priority=priority, idempotency_key=key))
            except WorkflowInvalid as error:
                found = [replace(problem, path=f"[{n}].{problem.path}") for problem in error.problems]
                raise WorkflowInvalid(found) from None
        runs: list[RunHandle] = []
        for packet in _packets(orders):
            try:
                self._launch_all(packet, runs)
            except OrchestratorError as error:
                message = f"{error.message}; {len(runs):,} of {len(orders):,} runs were started"
                raise type(error)(message, **error.details, accepted=[run.id for run in runs]) from None
        return runs

    def _plan_to_run(self, source: str | Path | Plan, priority: str | None) -> Plan:
        plan = source if isinstance(source, Plan) else self.compile(source)
        if priority is not None and priority not in PRIORITIES:
            message = f"no priority {priority!r}{did_you_mean(priority, PRIORITIES)}"
            raise WorkflowInvalid([Problem(plan.name, 0, "priority", message)])
        return plan

    def _launch(self, order: Order) -> RunHandle:
        try:
            with RunSpan(self.settings, order) as span, self.asking():
                # A run is created once under its id, so that telling it again is safe.
                run_id, advance = insist(
                    lambda _: launch(self.store, span.order), for_s=self.settings.deadline_s, unsent=False
                )
                span.accepted(run_id)
        except OutcomeUnknown as error:
            message = f"{error.message}; if the run exists, it is {order.run_id}"
            raise OutcomeUnknown(message, url=error.url, run_id=order.run_id) from None
        return self._accepted(run_id, advance)

    def _launch_all(self, orders: Sequence[Order], runs: list[RunHandle]) -> None:
        """Create the runs of one packet, and append those that were accepted. Raises the first refusal."""
        with ExitStack() as stack, self.asking():
            spans = [stack.enter_context(RunSpan(self.settings, order)) for order in orders]
            traced = [span.order for span in spans]
            found = insist(lambda _: launch_all(self.store, traced), for_s=self.settings.deadline_s, unsent=False)
            for span, one in zip(spans, found, strict=True):
                span.refused(one) if isinstance(one, OrchestratorError) else span.accepted(one[0])
        runs += [self._accepted(*one) for one in found if not isinstance(one, OrchestratorError)]
        for one in found:
            if isinstance(one, OrchestratorError):
                raise one

    def _accepted(self, run_id: str, advance: Advance | None) -> RunHandle:
        reach(CrashPoint.ACCEPTED)
        if advance is not None and advance.leads_on:
            with suppress(StoreUnavailable), self.asking():
                self.carry_on(advance)  # what cannot be sent now, the keeper sends: the run is accepted
        return RunHandle(self, run_id)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """One call: it ends within the deadline, and its errors are told apart."""
        with guard(self.url), within(self.settings.deadline_s):
            yield

    def carry_on(self, advance: Advance | None) -> None:
        """Decide and publish what a transition made possible."""
        if advance is not None:
            for found in carry_on(self.store, advance, self.settings):
                if found.ready:
                    self._dispatch(found)

    def _dispatch(self, found: Advance) -> None:
        from orchestrator.runtime.canvas import dispatch

        dispatch(self.app, found.run_id, found.ready, priority=found.priority)

    def compile(self, source: str | Path) -> Plan:
        """The plan of a workflow file, checked against the agents that are loaded here, and, where these are not all
        that it needs, against those online.

        Raises:
            WorkflowInvalid: every mistake, with file and line. StoreUnavailable.
        """
        return self._plans.plan(source, Catalog(self.registry.catalog().agents, more=self._online))

    def catalog(self) -> Catalog:
        """The agents that count as known: loaded here, or online."""
        return Catalog((*self.registry.catalog().agents, *self._online()))

    def _online(self) -> tuple[AgentInfo, ...]:
        with self.asking():
            online = self._directory.online()
            return tuple(info for info in self._directory.registered() if info.name in online)

    def rerun(self, rerun: Rerun) -> RunHandle:
        """Start what `RunHandle.plan_rerun` has found. Raises RunRefused."""
        return self._launch(rerun.order)

    # --- schedules -------------------------------------------------------------------------------------------

    def schedule(
        self,
        source: str | Path | Plan,
        inputs: Mapping[str, Json] | None = None,
        *,
        name: str | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        overlap: str | None = None,
        catchup: str | None = None,
    ) -> Schedule:
        """Let a workflow start by itself. A schedule of the same name is replaced.

        Args:
            name: default: the workflow's.
            cron, timezone, overlap, catchup, inputs: what is not given is as the file's `schedule` says.
        Raises:
            WorkflowInvalid: every mistake; nothing was changed.
        """
        plan = source if isinstance(source, Plan) else self.compile(source)
        told = {"cron": cron, "timezone": timezone, "overlap": overlap, "catchup": catchup}
        given = {**(plan.schedule or {}), **{key: value for key, value in told.items() if value is not None}}
        values = {**given.pop("inputs", {}), **(inputs or {})}
        order = order_run(plan, values, self.settings)  # checks the inputs
        made = check_schedule(plan.name, given)
        with self.asking():
            schedules = self._schedules
            next_ms = next(due_times(made["cron"], made["timezone"], schedules.now_ms()), None)
            schedule = Schedule(
                name=name or plan.name, plan=plan.hash, workflow=plan.name, inputs=values, next_ms=next_ms, **made
            )
            for part in (plan, *plan.children):
                self.store.save_plan(part, order.dispatch(part), order.retention_ms)
            schedules.put(schedule, [child.hash for child in plan.children])
        return schedule

    def schedules(self) -> list[Schedule]:
        """Every schedule, by name."""
        with self.asking():
            return self._schedules.all()

    def unschedule(self, name: str) -> bool:
        """Forget a schedule; its runs go on. False: there is none."""
        with self.asking():
            return self._schedules.remove(name)

    @property
    def _schedules(self) -> Schedules:
        return Schedules(self.store.client, self.store.keys)

    # --- runs ------------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> RunHandle:
        """A handle of an existing run; whether it exists shows at the first use."""
        return RunHandle(self, run_id)

    def runs(self, status: str | None = None, workflow: str | None = None, limit: int = 50) -> list[RunRecord]:
        """The newest runs first, without their outputs, which `run(ID).result()` has. At most `limit`."""
        with self.asking():
            state = RunState(status) if status else None
            return self.store.list_runs(state=state, workflow=workflow, limit=limit)

    @cached_property
    def run_log(self) -> RunLog:
        """What the handlers of runs have logged."""
        return RunLog(self.store.client, self.store.keys)

    def agents(self, capability: str | None = None) -> list[dict[str, Json]]:
        """`{name, capabilities, presence, activity, queue, running, workers}` of each registered agent."""
        with self.asking():
            return self._directory.overview(capability)

    def loads(self) -> list[AgentLoad]:
        """What waits, by priority, and what runs, of each agent that is registered or ever had a step."""
        with self.asking():
            return self._directory.loads()

    def audit(self, against: Sequence[str | Path] = (), progress: Progress = lambda what, done: None) -> Report:
        """Prove from the records that nothing is lost, stuck or left over. Changes nothing; works while things move.

        Args:
            against: files of accepted ids, one a line, or of the lines of `orchestrator sink file`.
            progress: is told what has been looked at, and how much more of it.
        Raises:
            WorkflowInvalid: a file cannot be read, with its line. StoreUnavailable.
        """
        from orchestrator.store.audit.auditor import Auditor
        from orchestrator.store.audit.ledger import read_file

        ledgers = [read_file(str(path)) for path in against]
        kept = {"retention_ms": self.settings.retention_s * 1000}
        kept |= {"message_retention_ms": self.settings.message_retention_s * 1000}
        with guard(self.url):
            report = Auditor(self.store.client, self.store.keys, **kept, progress=progress).audit(ledgers)
            report.quarantine = sum(quarantine.count() for quarantine in self.quarantines())
        return report

    # --- messages --------------------------------------------------------------------------------------------

    @cached_property
    def office(self) -> PostOffice:
        """Everything about messages and handoffs; the methods below are its short forms."""
        own = partial(doorbell, prefix=self.settings.prefix)
        bells = own if self.settings.broker_url is None else silent
        inbox = Inbox(self.store.client, self.store.keys, self.settings, bells)
        return PostOffice(
            inbox, self._directory, self.settings, blocking=lambda: self.blocking, publish=self._publish_rings
        )

    @property
    def speaker(self) -> str:
        """Who sends where nobody is named: the agent whose key this is, or the operator."""
        return self.key_of or OPERATOR

    @property
    def key_of(self) -> str | None:
        """The agent whose key this process has; None: it has none, or the installation's."""
        key = self.office.inbox.signatures.key
        return key.agent if key else None

    def send(self, to: str, content: Json, *, sender: str | None = None, **options: Any) -> Receipt:
        """Send a message to an agent, or to `capability:NAME`. Returns at once; the receipt can be waited on.

        Args:
            content: a text, which becomes the body `{"content": text}`, or any JSON value.
            options: `message_type`, `priority`, `delivery_options`, `thread_id`, `metadata`, `delay_s`,
                `at_ms`, `idempotency_key`, `on_offline` (wait or fail).
        Raises:
            MessageInvalid: names the field. SenderMismatch: the key is of another agent than the sender.
            UnknownAgent: with near names. AgentOffline. StoreUnavailable.
        """
        with self.asking():
            return self.office.send(to, content, sender=sender or self.speaker, **options)

    def ask(
        self, to: str, content: Json, *, timeout_s: float = 30.0, sender: str | None = None, **options: Any
    ) -> Json:
        """Send a question and return what is answered: a text, or the body of the reply. Raises WaitTimeout."""
        with guard(self.url):
            speaker = sender or self.speaker
            return content_of(self.office.ask(to, content, sender=speaker, timeout_s=timeout_s, **options).body)

    def broadcast(self, content: Json, *, sender: str | None = None, **options: Any) -> Broadcast:
        """Send one message each to agents (`to=[...]`, `capability=...`, default: all). Returns agent -> receipt."""
        with self.asking():
            return self.office.broadcast(content, sender=sender or self.speaker, **options)

    def message(self, message_id: str) -> MessageRecord:
        """A message, its state and its attempts. Raises MessageNotFound, NotYourMessage."""
        with self.asking():
            return self.office.inbox.read(message_id)

    def handoff(
        self, to: str, task: str | None = None, values: Mapping[str, Json] | None = None, *,
        sender: str | None = None, **options: Any,
    ) -> Receipt:  # fmt: skip
        """Offer a task to an agent; see `PostOffice.handoff`."""
        with self.asking():
            return self.office.handoff(to, task, values, sender=sender or self.speaker, **options)

    def quarantines(self) -> list[Quarantine]:
        """Messages that nobody could read or run: on the server that keeps the state, and on another broker."""
        broker = self.settings.broker_url
        urls = [self.url, *([broker] if broker and broker.startswith(URL_SCHEMES) else [])]
        return [Quarantine(connect(url, deadline_s=self.settings.deadline_s)) for url in urls]

    def _publish_rings(self, posted: Sequence[Posted]) -> None:
        if any(one.ring_to_send for one in posted):
            publish(self.app, posted)

    # --- inside ----------------------------------------------------------------------------------------------

    @property
    def blocking(self) -> Any:
        """A client for commands that wait on the server for something to happen."""
        return blocking(self.url, block_s=BLOCK_MS / 1000, deadline_s=self.settings.deadline_s)

    @property
    def _directory(self) -> Directory:
        return Directory(self.store.client, self.store.keys, lease_ms=round(self.settings.lease_s * 1000))


def _packets(orders: Sequence[Order]) -> Iterator[list[Order]]:
    """Cut into what goes to the server at once."""
    packet: list[Order] = []
    size = 0
    for order in orders:
        new = sum(map(len, order.inputs.values()))
        if packet and (len(packet) == _PACKET_RUNS or size + new > _PACKET_BYTES):
            yield packet
            packet, size = [], 0
        packet.append(order)
        size += new
    if packet:
        yield packet
