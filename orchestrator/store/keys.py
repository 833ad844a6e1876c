"""Every key of the store: its name, its type, and how long it lives. No other file builds a key.

A run owns four keys, so the memory of a step is one entry in each of three hashes and two in a stream; and a fifth
where its handlers log.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names under one prefix."""

    prefix: str = "o:"

    # --- one run: no TTL while it lives, `retention_ms` from its end ------------------------------------------

    def run(self, run_id: str) -> str:
        """hash: state, times, counters, `i:NAME` for each input; `signals` nobody waits for yet, steps `awaited`."""
        return f"{self.prefix}run:{run_id}"

    def steps(self, run_id: str) -> str:
        """hash: step id -> record (JSON); `#ID` -> needs that are done, `#ID!f` failed and `#ID!s` skipped ones; `#aID`
        -> attempts and decisions of earlier rounds, `#pID` -> record of the round before, `#uN` -> Nth step to undo,
        `#x...` -> void attempt that its process has to interrupt."""
        return f"{self.prefix}run:{run_id}:steps"

    def outputs(self, run_id: str) -> str:
        """hash: step id -> output (JSON, over 64 KiB compressed); `i:ID[n]` -> item n of a foreach;
        `p:ID` -> output of the round before."""
        return f"{self.prefix}run:{run_id}:outputs"

    def events(self, run_id: str) -> str:
        """stream: what happened, in order."""
        return f"{self.prefix}run:{run_id}:events"

    def log(self, run_id: str) -> str:
        """stream where handlers log, at most `log_lines` entries: step, attempt, agent, level, logger, ms, text."""
        return f"{self.prefix}run:{run_id}:log"

    # --- definitions: no TTL while a live run pins them, `retention_ms` afterwards ----------------------------

    def plan(self, plan_hash: str) -> str:
        """hash: `g:ID` graph part, `b:ID` body, `s:ID` message or segment, `f:ID` the same at the fallback, `$meta`,
        `$entry`, `$count`, `$outputs`, `$children`, `$undo`, `$stem` of the lists that the messages are for; `live`:
        how many runs and schedules pin it."""
        return f"{self.prefix}plan:{plan_hash}"

    # --- permanent, bounded by what is alive ------------------------------------------------------------------

    @property
    def timers(self) -> str:
        """zset: `KIND RUN STEP ATTEMPT` -> ms when it is due. Kinds: lease retry timeout decide run schedule."""
        return f"{self.prefix}timers"

    @property
    def ready(self) -> str:
        """zset, all scores 0, ordered by name: `AGENT PRIORITY SEQ RUN STEP`, dispatched and not yet claimed."""
        return f"{self.prefix}ready"

    @property
    def queues(self) -> str:
        """hash: `mark AGENT PRIORITY` -> newest SEQ claimed; `running AGENT` -> attempts running now."""
        return f"{self.prefix}queues"

    def holds(self, worker: str) -> str:
        """hash, TTL some leases: process of a worker -> `RUN STEP` that it runs or has to stop, or `m MESSAGE`."""
        return f"{self.prefix}holds:{worker}"

    @property
    def wake(self) -> str:
        """list: at most one entry, which wakes the keeper for a timer that is due soon."""
        return f"{self.prefix}wake"

    @property
    def runs(self) -> str:
        """zset: run id -> ms of creation; entries of runs that are gone are dropped when listed."""
        return f"{self.prefix}runs"

    @property
    def ended(self) -> str:
        """stream, the newest 1,000 or so: `run` -> id of a run that ended, for those who wait for it."""
        return f"{self.prefix}ended"

    @property
    def agents(self) -> str:
        """hash: agent -> what it can do (JSON)."""
        return f"{self.prefix}agents"

    @property
    def presence(self) -> str:
        """zset: `AGENT WORKER`, and `AGENT` for any worker -> ms of the last heartbeat; the keeper drops old ones."""
        return f"{self.prefix}presence"

    # --- messages: a message has no TTL until it is done, then `message_retention_s`; dead letters stay ---------

    @property
    def message_prefix(self) -> str:
        """What the key of a message starts with. claim_message.lua needs it: which message it takes, it finds out."""
        return f"{self.prefix}msg:"

    def message(self, message_id: str) -> str:
        """hash: envelope, body, state, times, `a:N` for each attempt."""
        return f"{self.message_prefix}{message_id}"

    def bell(self, message_id: str) -> str:
        """stream of one entry, TTL a minute: rings at every change of a message that somebody watches."""
        return f"{self.prefix}bell:{message_id}"

    def inbox(self, box: str) -> str:
        """zset: message id -> its place, priority first; those that may be claimed now."""
        return f"{self.prefix}inbox:{box}"

    def knock(self, box: str) -> str:
        """list, TTL a minute, at most one entry: wakes a receiver that is no worker."""
        return f"{self.prefix}knock:{box}"

    def thread(self, thread_id: str) -> str:
        """zset with TTL: message id -> ms, the messages of a thread."""
        return f"{self.prefix}thread:{thread_id}"

    @property
    def handoffs(self) -> str:
        """zset with TTL: message id -> ms, the handoffs of the last `message_retention_s`."""
        return f"{self.prefix}handoffs"

    def message_idempotency(self, sender: str, recipient: str, key: str) -> str:
        """string with TTL: idempotency key of a message -> message id. Nobody can use up the keys of others."""
        return f"{self.prefix}idem:m:{sender} {recipient} {key}"

    # --- permanent, for messages ------------------------------------------------------------------------------

    @property
    def message_timers(self) -> str:
        """zset: `KIND MESSAGE BOX ATTEMPT` -> ms when it is due. Kinds: lease due ttl."""
        return f"{self.prefix}mtimers"

    @property
    def rings(self) -> str:
        """zset, all scores 0, ordered by name: `BOX PRIORITY SEQ MESSAGE`, sent to a worker and not yet received."""
        return f"{self.prefix}rings"

    @property
    def doors(self) -> str:
        """hash: box -> `worker`: Celery workers are rung for its messages, or `poll`: receivers ask for them;
        `rung BOX`: what was there before is rung for, too."""
        return f"{self.prefix}doors"

    @property
    def held(self) -> str:
        """hash: ring -> message that the worker which received the ring has claimed."""
        return f"{self.prefix}held"

    @property
    def dead(self) -> str:
        """zset: message id -> ms when it failed or died; until it is replayed or purged."""
        return f"{self.prefix}dead"

    @property
    def parked(self) -> str:
        """set: boxes `capability:NAME` with messages that wait for an agent with that capability."""
        return f"{self.prefix}parked"

    @property
    def journal(self) -> str:
        """stream, the newest `journal_events` or so: what happened to messages, handoffs, agents, runs and steps."""
        return f"{self.prefix}journal"

    @property
    def sinks(self) -> str:
        """hash: sink -> id of the journal's entry up to which it has everything."""
        return f"{self.prefix}sinks"

    @property
    def sums(self) -> str:
        """hash: what was counted of the journal, for metrics, and up to where; see count_journal.lua."""
        return f"{self.prefix}sums"

    @property
    def open_runs(self) -> str:
        """hash: run that goes on -> what its metrics need of the entries so far (JSON)."""
        return f"{self.prefix}sums:runs"

    @property
    def founding(self) -> str:
        """hash: `id` and `since`, the mark of this database; `lost_id`, `lost_at`: the mark that it had before."""
        return f"{self.prefix}founding"

    # --- limits over all machines: the scripts build these names, see _lib.lua --------------------------------

    def slots(self, slot: str) -> str:
        """zset: run id -> when it got its place under the concurrency key; and with `:wait`, runs that wait for one."""
        return f"{self.prefix}slots:{slot}"

    def limit(self, key: str) -> str:
        """`max`: set of the attempts that have a place, and with `:wait` a zset of those that wait; `rate`: zset with
        TTL of the newest starts -> ms."""
        return f"{self.prefix}limit:{key}"

    @property
    def schedules(self) -> str:
        """hash: schedule -> what is due when (JSON)."""
        return f"{self.prefix}schedules"

    # --- short-lived ------------------------------------------------------------------------------------------

    @property
    def keeper(self) -> str:
        """string with TTL: the worker that keeps, while it does."""
        return f"{self.prefix}keeper"

    @property
    def standby(self) -> str:
        """string with TTL: there, while another worker would keep."""
        return f"{self.prefix}standby"

    @property
    def sums_asked(self) -> str:
        """string with TTL: somebody has asked for metrics, so that the keeper goes on to count."""
        return f"{self.prefix}sums:asked"

    def cache(self, digest: str) -> str:
        """string with TTL: output of a step with a cache (JSON, over 64 KiB compressed)."""
        return f"{self.prefix}cache:{digest}"

    def pace(self, conversation: str) -> str:
        """string with TTL: ms when a conversation, named by its first message, is back at its pace."""
        return f"{self.prefix}pace:{conversation}"

    def idempotency(self, key: str) -> str:
        """string with TTL: idempotency key of a run -> run id."""
        return f"{self.prefix}idem:{key}"

    @property
    def permanent(self) -> frozenset[str]:
        """The keys that never expire."""
        return frozenset(
            {
                self.timers,
                self.ready,
                self.queues,
                self.wake,
                self.runs,
                self.ended,
                self.agents,
                self.presence,
                self.message_timers,
                self.rings,
                self.doors,
                self.held,
                self.dead,
                self.journal,
                self.parked,
                self.sinks,
                self.sums,
                self.open_runs,
                self.schedules,
                self.founding,
            }
        )
