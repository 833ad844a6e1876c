"""The agent of the benchmarks: it does nothing and answers 200 bytes."""

from orchestrator import Agent

noop = Agent("noop", concurrency=2)


@noop.task
def go() -> str:
    return "x" * 200
