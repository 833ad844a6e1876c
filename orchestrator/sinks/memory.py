"""`MemorySink`: the journal in the memory of a model, an MCP server with a graph of entities and observations.

Agents, handoffs, ends of runs and dead messages are what a model may want to remember; the rest is left out. The server
is a process of its own, spoken to over its standard input and output.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from orchestrator.events import RUN_ENDS
from orchestrator.records import JournalEntry, rfc3339
from orchestrator.sinks.sink import SinkFailed

Json = Any
DEFAULT_COMMAND = ("npx", "-y", "@modelcontextprotocol/server-memory")
_START_S = 120.0  # npx may have to download the server first
_CALL_S = 60.0
_CLOSE_S = 10.0
_NEEDED = ("create_entities", "add_observations")
_RELATIONS = "create_relations"
_REASON = 200  # characters of a reason that are kept


@dataclass
class Graph:
    """What a batch adds to the memory. `about`: entity -> observations; all three keep the order of the journal."""

    kinds: dict[str, str] = field(default_factory=dict)
    about: dict[str, list[str]] = field(default_factory=dict)
    relations: dict[tuple[str, str, str], None] = field(default_factory=dict)

    def add(self, entry: JournalEntry) -> None:
        """What one entry tells of. The time makes each observation unique, so that the server knows a repeated one."""
        subject, _, word = entry.name.partition(".")
        data, at = entry.data, rfc3339(entry.at)
        reason = f": {' '.join(data['reason'].split())[:_REASON]}" if data.get("reason") else ""
        if subject == "agent" and "agent" in data:
            self._observe("agent", data["agent"], f"{word} at {at}{reason}")
        elif subject == "handoff" and "handoff" in data:
            task = f"task {data['task']}, " if data.get("task") else ""
            names = f"from {data.get('from', '?')} to {data.get('to', '?')}, held by {data.get('agent', '?')}"
            handoff = self._observe("handoff", data["handoff"], f"{word} at {at}: {task}{names}{reason}")
            self._relate(data.get("from"), "offers", handoff)
            self._relate(data.get("to"), "is offered", handoff)
        elif entry.name in RUN_ENDS and "run" in data:
            self._observe("run", data["run"], f"{word} at {at}{reason}")
        elif entry.name in ("message.dead", "message.failed") and "message" in data:
            names = f"from {data.get('from', '?')} to {data.get('to', '?')}"
            tries = f" after attempt {data['attempt']}" if data.get("attempt") else ""
            message = self._observe("message", data["message"], f"{word} at {at}: {names}{tries}{reason}")
            self._relate(data.get("to"), "did not handle", message)

    def _observe(self, kind: str, name: str, text: str | None = None) -> str:
        entity = f"{kind}:{name}"  # the memory may know a person or a project of the same name
        self.kinds[entity] = kind
        if text is not None:
            self.about.setdefault(entity, []).append(text)
        return entity

    def _relate(self, agent: str | None, verb: str, entity: str) -> None:
        if agent:
            self.relations[self._observe("agent", agent), verb, entity] = None


class MemorySink:
    """Writes to one MCP server, which it starts and ends.

    Args:
        command: the server and its arguments. It gets the environment without what begins with ORCHESTRATOR_.
    Raises:
        SinkFailed: no such command, it is no MCP server, or it lacks a tool.
    """

    def __init__(self, command: Sequence[str] = DEFAULT_COMMAND) -> None:
        self._command = tuple(command)
        self.name = _name(self._command)
        if shutil.which(self._command[0]) is None:
            hint = ": install Node.js, or name another server after --" if self._command == DEFAULT_COMMAND else ""
            raise SinkFailed(f"no command {self._command[0]!r} for the memory{hint}")
        self._loop = asyncio.new_event_loop()
        self._jobs: asyncio.Queue[tuple[str, dict[str, Json], Future[None]] | None] = asyncio.Queue()
        self._tools: Future[frozenset[str]] = Future()
        self._last: Future[Any] = self._tools  # what the server is asked for; done: it waits for more
        self._task = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._thread.start()
        try:
            self._check(self._tools.result(_START_S))
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise self._failed(f"does not answer within {_START_S:g} s") from None
            raise

    def write(self, entries: Sequence[JournalEntry]) -> None:
        """Add what these entries tell of: at most three calls. Entities and observations that are there stay single."""
        graph = Graph()
        for entry in entries:
            graph.add(entry)
        if not graph.kinds:
            return
        entities = [{"name": name, "entityType": kind, "observations": []} for name, kind in graph.kinds.items()]
        self._call("create_entities", {"entities": entities})
        about = [{"entityName": name, "contents": texts} for name, texts in graph.about.items()]
        self._call("add_observations", {"observations": about})
        if graph.relations and _RELATIONS in self._tools.result():
            links = [{"from": one, "to": other, "relationType": verb} for one, verb, other in graph.relations]
            self._call(_RELATIONS, {"relations": links})

    def close(self) -> None:
        """End the server."""
        if self._thread.is_alive():
            try:
                if self._last.done():
                    self._loop.call_soon_threadsafe(self._jobs.put_nowait, None)
                else:
                    self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:
                pass  # the loop ended in between
            self._thread.join(_CLOSE_S)

    def _check(self, tools: frozenset[str]) -> None:
        missing = [tool for tool in _NEEDED if tool not in tools]
        if missing:
            has = ", ".join(sorted(tools)) or "none"
            raise self._failed(f"has no tool {' and no tool '.join(missing)}; it has: {has}")

    def _call(self, tool: str, arguments: dict[str, Json]) -> None:
        self._last = done = Future[None]()
        try:
            self._loop.call_soon_threadsafe(self._jobs.put_nowait, (tool, arguments, done))
        except RuntimeError:
            raise self._failed("has ended") from None
        try:
            done.result(_CALL_S)
        except TimeoutError:
            raise self._failed(f"does not answer within {_CALL_S:g} s") from None

    def _failed(self, what: str) -> SinkFailed:
        return SinkFailed(f"the memory `{shlex.join(self._command)}` {' '.join(what.split())}")

    # --- in the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        """One task opens the connection, uses it and closes it, because its scopes belong to the task."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._task)
        except BaseException as error:
            reason = self._failed(f"failed: {_cause(error)}")
            if not self._tools.done():
                self._tools.set_exception(reason)
        finally:
            self._loop.close()
            while not self._jobs.empty():
                job = self._jobs.get_nowait()
                if job is not None:
                    job[2].set_exception(self._failed("has ended"))

    async def _serve(self) -> None:
        program, *arguments = self._command
        # Nothing of ours goes to the server: the URL has a password, and workers have secrets.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        server = StdioServerParameters(command=program, args=arguments, env=environment)
        async with stdio_client(server, errlog=sys.__stderr__ or sys.stderr) as (reading, writing):  # noqa: SIM117
            async with ClientSession(reading, writing) as session:
                await session.initialize()
                self._tools.set_result(frozenset(tool.name for tool in (await session.list_tools()).tools))
                while (job := await self._jobs.get()) is not None:
                    await self._do(session, *job)

    async def _do(self, session: ClientSession, tool: str, arguments: dict[str, Json], done: Future[None]) -> None:
        try:
            # By alias: version 1 of the SDK says `isError`, version 2 `is_error`.
            reply = (await session.call_tool(tool, arguments)).model_dump(by_alias=True)
            if reply.get("isError"):
                said = " ".join(str(part.get("text", "")) for part in reply.get("content", ()))
                done.set_exception(self._failed(f"refused {tool}: {said}"))
            else:
                done.set_result(None)
        except Exception as error:
            done.set_exception(self._failed(f"failed at {tool}: {_cause(error)}"))


def _name(command: tuple[str, ...]) -> str:
    """Another command, or another file of the default server, is another memory. Hashed: arguments may be secret."""
    file = os.environ.get("MEMORY_FILE_PATH", "")
    if command == DEFAULT_COMMAND and not file:
        return "memory"
    return f"memory {hashlib.sha256(chr(0).join([*command, file]).encode()).hexdigest()[:12]}"


def _cause(error: BaseException) -> str:
    """The first error inside groups of errors, which is what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
