"""The kind of agents `http`: each task is an address that gets the step's values as JSON and answers with its output.

The module is not called `http`: `--agents FILE.py` puts the file's folder on the path, and there it would hide Python's
own module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator import Agent, Context, Fatal, RetryLater
from orchestrator.agents.declared import AgentDeclaration, Declaration, TaskName, Timeout, VariableName, mistaken
from orchestrator.agents.masks import Mask, mask_of
from workers.addresses import Network, Url, as_address, host_or_network, listed
from workers.answers import decoded, encoded
from workers.http_calls import Answer, post

Json = Any
_TOLD_CHARS = 300  # of an answer that is an error
_LONGEST_WAIT_S = 86_400.0
_LEAST_SECRET = 8  # characters of a word in a header that is hidden by itself, as the one after `Bearer`
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = ("accept-encoding", "connection", "content-length", "content-type", "host", "idempotency-key", "te",
                "transfer-encoding", "upgrade")  # fmt: skip


class ServerFailed(Exception):
    """The server could not answer now; the step's retry policy decides whether it is asked again."""


def _address(text: str) -> str:
    Url.parse(text)
    return text


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise ValueError(f"{name!r} is no header that can be set here")
    return name


class HttpTask(Declaration):
    """One address. `header_from_env` names, by header, the worker's variable that holds its value."""

    url: Annotated[str, AfterValidator(_address)]
    timeout: Timeout = 30_000
    max_answer_bytes: int = Field(5 * 2**20, ge=1)
    header_from_env: dict[Annotated[str, AfterValidator(_header)], VariableName] = Field(default_factory=dict)


class HttpAgent(AgentDeclaration):
    """`hosts` are all that its tasks may ask: names, and addresses or networks that are not on the internet."""

    hosts: list[Annotated[str, AfterValidator(host_or_network)]] = Field(min_length=1)
    tasks: dict[TaskName, HttpTask] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_hosts(self) -> Self:
        hosts = {name: Url.parse(task.url).host for name, task in self.tasks.items()}
        strange = {name: host for name, host in hosts.items() if not self._knows(host)}
        if strange:
            raise mistaken("HttpAgent", [
                (("tasks", name, "url"), f"the host {host} is not among `hosts`") for name, host in strange.items()
            ])  # fmt: skip
        return self

    def _knows(self, host: str) -> bool:
        address = as_address(host)
        return host in self.hosts if address is None else any(address in network for network in listed(self.hosts))


def http_agent(name: str, declaration: Mapping[str, Json]) -> Agent:
    """An agent whose tasks are addresses.

    Raises:
        pydantic.ValidationError: the declaration has mistakes. AgentsNotLoadable: the name cannot be used.
    """
    declared = HttpAgent.model_validate(declaration)
    agent = Agent(name, capabilities=declared.capabilities, concurrency=declared.concurrency)
    networks = listed(declared.hosts)
    for task_name, task in declared.tasks.items():
        _add(agent, task_name, task, networks)
    return agent


def _add(agent: Agent, name: str, task: HttpTask, networks: tuple[Network, ...]) -> None:
    url = Url.parse(task.url)

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
        answer = await post(
            url, networks, encoded(values), {**secret, **own},
            timeout_s=task.timeout / 1000, max_bytes=task.max_answer_bytes,
        )  # fmt: skip
        return _judged(answer, url.place, task.max_answer_bytes, mask_of(_words(secret.values())))


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


def _words(values: Iterable[str]) -> frozenset[str]:
    """What a server may repeat of the headers that it was sent, and nobody shall see."""
    words = ((value, word) for value in values for word in (value, *value.split()))
    return frozenset(word for value, word in words if word == value or len(word) >= _LEAST_SECRET)


def _judged(answer: Answer, place: str, max_bytes: int, mask: Mask) -> Json:
    """The output, or the error. `mask` takes out what the server repeats of secret headers."""
    status = answer.status
    if 200 <= status < 300:
        return _output(answer, place, max_bytes, mask)
    said = _said(answer.content, mask)
    if 300 <= status < 400:
        there = mask.text(answer.headers.get("location", "nowhere"))[:_TOLD_CHARS]
        raise Fatal(f"{place} refers to {there} (status {status}): redirects are not followed")
    wait_s = _retry_after_s(answer.headers.get("retry-after", "")) if status in (429, 503) else None
    if wait_s is not None:
        raise RetryLater(f"{place} is busy (status {status}){said}", after_s=wait_s)
    if status == 429 or status >= 500:
        raise ServerFailed(f"{place} failed with status {status}{said}")
    raise Fatal(f"{place} refused with status {status}{said}")


def _output(answer: Answer, place: str, max_bytes: int, mask: Mask) -> Json:
    if answer.encoding:
        encoding = mask.text(answer.encoding)[:20]
        raise Fatal(f"{place} answered compressed ({encoding}), although it was asked not to")
    if not answer.whole:
        raise Fatal(f"{place} answered with more than {max_bytes:,} bytes")
    return None if answer.status == 204 else mask.value(decoded(answer.content, place, hide=mask.text))


def _said(content: bytes, mask: Mask) -> str:
    text = " ".join(mask.text(content.decode("utf-8", "replace"))[: 100 * _TOLD_CHARS].split())
    return f": {text[:_TOLD_CHARS]}" if text else ""


def _retry_after_s(text: str) -> float | None:
    """Seconds, from seconds or from a date; None if it says neither. A day at most."""
    if re.fullmatch(r"[0-9]{1,12}", text.strip()):
        return min(float(text), _LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT_S)
