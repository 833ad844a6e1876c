"""What the project promises, in the words that README.md and docs/reliability.md use."""

from __future__ import annotations

FAULT_MODEL = (
    "The fault model: any number of workers, commands and web views killed, frozen or cut off at any moment; Redis or "
    "Valkey killed, or the machine losing its power; a disk that is honest about fsync; one primary with "
    "`appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction`."
)

#: name -> words. The counts stand beside them.
PROMISES = {
    "P1": "**No loss.** A message or run for which `send()` or `submit()` returned an id survives the crash of any "
    "worker, of Redis, and a power cut.",
    "P2": "**Outcome.** Every accepted message ends in exactly one of: acknowledged, failed, dead, expired. Every run "
    "ends in: succeeded, failed, cancelled.",
    "P3": "**Execution.** Handlers run at least once. Their result is recorded once. You get an idempotency key per "
    "step.",
    "P4": "**Unknown outcome.** If `send()` raises `OutcomeUnknown`, call it again with the same key: you get the same "
    "message, never a second one.",
    "P5": "**Recovery.** Work of a dead worker is taken over within 15 s.",
    "P6": "**Poison.** After 3 attempts (the default) a message is in the dead letters with its reason and all errors; "
    "the rest goes on.",
    "P7": "**Latency.** On one machine, idle, durable: p99 under 100 ms from `send()` to the start of the handler.",
    "P8": "**Reliability.** 99.9 %: of 3,000 runs of 3 steps under a storm of kills, at most the stated number ended "
    "wrongly.",
    "P9": "**Delivery rate.** Of messages to a live agent, more than 99 % are done within 60 s under faults; the "
    "others are retrying or dead with a reason, none is missing.",
}

NOT_PROMISED = (
    "**Not promised**: order between retries; no loss after a failover by Sentinel or of a managed server, which "
    "replicate asynchronously; survival of `FLUSHALL`, of a lost disk, of `everysec` or of eviction; outside effects "
    "that happen exactly once."
)
