"""The kind of agents `http`: each task is an address that gets the step's values as JSON and answers with its output.

The module is not called `http`: `--agents FILE.py` puts the file's folder on the path, and there it would hide Python's
own module.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator import Agent, Context, Fatal, RetryLater
from orchestrator.agents.declared import AgentDeclaration, Declaration, TaskName, Timeout, VariableName, mistaken
from workers.answers import decoded, encoded

Json = Any
_TOLD_CHARS = 300  # of an answer that is an error
_LONGEST_WAIT_S = 86_400.0
# So strict that no two programs could disagree on which part is the host.
_URL = re.compile(r"https?://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?P<rest>(:[0-9]{1,5})?(/[!-\"$-\[\]-~]*)?)")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = ("accept-encoding", "connection", "content-length", "content-type", "host", "idempotency-key", "te",
                "transfer-encoding", "upgrade")  # fmt: skip


class ServerFailed(Exception):
    """The server could not answer now; the step's retry policy decides whether it is asked again."""


def _address(url: str) -> str:
    if not _URL.fullmatch(url):
        raise ValueError("must be http(s)://HOST[:PORT]/PATH in ASCII, without a user name or a fragment")
    return url


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise ValueError(f"{name!r} is no header that can be set here")
    return name


class HttpTask(Declaration):
    """One address. `header_from_env` names, by header, the worker's variable that holds its value."""

    url: Annotated[str, AfterValidator(_address)]
    timeout: Timeout = 30_000
    max_answer_bytes: int = Field(8 * 2**20, ge=1)
    header_from_env: dict[Annotated[str, AfterValidator(_header)], VariableName] = Field(default_factory=dict)

    @property
    def host(self) -> str:
        found = _URL.fullmatch(self.url)
        assert found, self.url
        return found["host"].lower()

    @property
    def place(self) -> str:
        """The address for messages, without its query, which may hold what is nobody's business."""
        return self.url.partition("?")[0]


class HttpAgent(AgentDeclaration):
    """`hosts` are all the hosts that its tasks may ask."""

    hosts: list[str] = Field(min_length=1)
    tasks: dict[TaskName, HttpTask] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_hosts(self) -> Self:
        known = {host.lower() for host in self.hosts}
        strange = {name: task.host for name, task in self.tasks.items() if task.host not in known}
        if strange:
            raise mistaken("HttpAgent", [
                (("tasks", name, "url"), f"the host {host} is not among `hosts`") for name, host in strange.items()
            ])  # fmt: skip
        return self


def http_agent(name: str, declaration: Mapping[str, Json]) -> Agent:
    """An agent whose tasks are addresses.

    Raises:
        pydantic.ValidationError: the declaration has mistakes. AgentsNotLoadable: the name cannot be used.
    """
    declared = HttpAgent.model_validate(declaration)
    agent = Agent(name, capabilities=declared.capabilities, concurrency=declared.concurrency)
    for task_name, task in declared.tasks.items():
        _add(agent, task_name, task)
    return agent


def _add(agent: Agent, name: str, task: HttpTask) -> None:
    # The underscore: a value called `ctx` is the step's own.
    @agent.task(name=name)
    async def call(_ctx: Context, **values: Json) -> Json:
        secret = _from_environment(task.header_from_env)
        own = {
            "Content-Type": "application/json",
            "Idempotency-Key": _ctx.idempotency_key,
            # A compressed answer could be a thousand times as large as what its limit lets through.
            "Accept-Encoding": "identity",
        }
        return _judged(await _post(task, encoded(values), {**secret, **own}), task, secret.values())


def _from_environment(wanted: Mapping[str, str]) -> dict[str, str]:
    headers = {}
    for header, variable in wanted.items():
        value = os.environ.get(variable, "").strip()
        if not value:
            raise Fatal(f"the header {header} needs the variable {variable}, which the worker does not have")
        if not value.isascii() or not value.isprintable():  # the library would quote it in its error
            raise Fatal(f"the value of the variable {variable} cannot be a header")
        headers[header] = value
    return headers


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


async def _post(task: HttpTask, body: bytes, headers: Mapping[str, str]) -> _Answer:
    try:
        # Here, because the library is an extra: the agents that need it not must load without it.
        import httpx
    except ModuleNotFoundError:
        raise Fatal("httpx is not installed: pip install 'agent-orchestrator[http]'") from None
    try:
        # One limit for all of it. The library's own start again with every byte that comes.
        async with asyncio.timeout(task.timeout / 1000), httpx.AsyncClient(timeout=None) as client:
            request = client.build_request("POST", task.url, content=body, headers=headers)
            answer = await client.send(request, stream=True, follow_redirects=False)
            try:
                content = bytearray()
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > task.max_answer_bytes:
                        break
                return _Answer(answer.status_code, answer.headers, bytes(content))
            finally:
                await answer.aclose()
    except TimeoutError:
        raise TimeoutError(f"{task.place} took longer than {task.timeout / 1000:g} s") from None
    except httpx.RequestError as error:
        raise ConnectionError(f"{task.place}: {type(error).__name__}: {error}") from None


def _judged(answer: _Answer, task: HttpTask, secrets: Iterable[str]) -> Json:
    status, place = answer.status, task.place
    said = _said(answer.content, secrets)
    if 200 <= status < 300:
        if len(answer.content) > task.max_answer_bytes:
            raise Fatal(f"{place} answered with more than {task.max_answer_bytes:,} bytes")
        return None if status == 204 else decoded(answer.content, place)
    if 300 <= status < 400:
        there = answer.headers.get("Location", "nowhere")[:_TOLD_CHARS]
        raise Fatal(f"{place} refers to {there} (status {status}): redirects are not followed")
    wait_s = _retry_after_s(answer.headers.get("Retry-After", "")) if status in (429, 503) else None
    if wait_s is not None:
        raise RetryLater(f"{place} is busy (status {status}){said}", after_s=wait_s)
    if status == 429 or status >= 500:
        raise ServerFailed(f"{place} failed with status {status}{said}")
    raise Fatal(f"{place} refused with status {status}{said}")


def _said(content: bytes, secrets: Iterable[str]) -> str:
    text = " ".join(content[: 100 * _TOLD_CHARS].decode("utf-8", "replace").split())
    for secret in secrets:  # a server may repeat what it was sent
        text = text.replace(secret, "***")
    return f": {text[:_TOLD_CHARS]}" if text else ""


def _retry_after_s(text: str) -> float | None:
    """Seconds, from seconds or from a date; None if it says neither. A day at most."""
    if re.fullmatch(r"[0-9]{1,12}", text.strip()):
        return min(float(text), _LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT_S)
