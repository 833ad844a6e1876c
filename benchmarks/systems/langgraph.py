"""LangGraph: graphs that run in the program that calls them, each step recorded by the sqlite checkpointer."""

from __future__ import annotations

import operator
import sqlite3
import time
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.systems.protocol import ANSWER, FOLDER, PIECE, Answer, LeftOut, serve

NO_QUEUE = "it runs in the program that calls it: no queue, no worker"


class Last(TypedDict):
    """The state of a sequence: what the last step answered."""

    answer: str


class All(TypedDict):
    """The state where every step adds an answer."""

    answers: Annotated[list[str], operator.add]


class LangGraph:
    cannot = dict.fromkeys(("submit", "message", "backlog", "launch"), NO_QUEUE)

    def __init__(self) -> None:
        connection = sqlite3.connect(FOLDER / "checkpoints.sqlite", check_same_thread=False)
        self._saver = SqliteSaver(connection)
        self._sequence_of = cache(self._make_sequence)

    def start(self, agents: Sequence[str]) -> Answer:
        if len(agents) > 1:
            raise LeftOut("it knows no agents with queues of their own")
        self.sequence(100, agents)
        return {}

    def stop(self) -> None:
        """Nothing runs."""

    def sequence(self, steps: int, agents: Sequence[str]) -> Answer:
        return self._timed(self._sequence_of(steps, ANSWER), {"answer": ""}, steps)

    def payload(self, steps: int) -> Answer:
        return self._timed(self._sequence_of(steps, PIECE), {"answers": []}, steps)

    def fan(self, width: int, form: str) -> Answer:
        graph = StateGraph(All)
        graph.add_node("go", lambda state: {"answers": [ANSWER]})
        graph.add_node("last", lambda state: {"answers": [ANSWER]})
        graph.add_conditional_edges(START, lambda state: [Send("go", {"answers": []}) for _ in range(width)], ["go"])
        graph.add_edge("go", "last")
        graph.add_edge("last", END)
        return self._timed(graph.compile(checkpointer=self._saver), {"answers": []}, 2)

    def throughput(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        """One after the other: threads gain nothing under one interpreter lock and one connection."""
        graph = self._sequence_of(steps, ANSWER)
        return {"s": sum(self._timed(graph, {"answer": ""}, steps)["s"] for _ in range(workflows))}

    def _timed(self, graph: Any, state: dict[str, Any], steps: int) -> Answer:
        config = {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": steps + 5}
        began = time.monotonic()
        graph.invoke(state, config)
        return {"s": time.monotonic() - began}

    def _make_sequence(self, steps: int, answer: str) -> Any:
        """Steps that answer 200 bytes, each over the last, or that each add a piece, which one more step reads."""
        graph = StateGraph(All if answer is PIECE else Last)
        names = [f"s{at}" for at in range(steps)]
        for name in names:
            graph.add_node(name, lambda state: {"answers": [answer]} if answer is PIECE else {"answer": answer})
        if answer is PIECE:
            names.append("read")
            graph.add_node("read", lambda state: {"answers": [str(sum(map(len, state["answers"])))]})
        for here, there in zip([START, *names], [*names, END], strict=True):
            graph.add_edge(here, there)
        return graph.compile(checkpointer=self._saver)


if __name__ == "__main__":
    serve(LangGraph(), "langgraph", "langgraph-checkpoint-sqlite")
