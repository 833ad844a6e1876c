"""The agent of `benchmarks.scale`: a step that does nothing, and one that makes a list."""

from orchestrator import Agent

scale = Agent("scale", concurrency=1)


@scale.task
def go(value: int = 0) -> str:
    return "x" * 200


@scale.task
def numbers(count: int) -> list[int]:
    return list(range(count))
