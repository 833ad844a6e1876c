"""The OpenAPI document, made of the table of routes: what is not in the table is neither served nor described."""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any

from orchestrator import __version__
from orchestrator.web.api.examples import EXAMPLES, MESSAGE, RUN, TASK
from orchestrator.web.api.route import Route
from orchestrator.web.api.routes import ROUTES
from orchestrator.web.api.schemas import SCHEMAS, ref
from orchestrator.web.handlers import CSRF_HEADER

Json = Any

_NAMES = re.compile(r"\{(\w+)\}")
_DOES = """Workflows, messages and handoffs, beside the pages inside Flower.

A program logs in as Flower asks it to: with a user and a password (`--basic-auth`), or with the cookie that the link in
`flower.url` leaves. Every change is a POST with the header `X-CSRF-Token`: with a cookie, the value of the cookie
`_xsrf`; without one, any text. A call waits for the store at most `ORCHESTRATOR_DEADLINE_S` seconds."""
_ANSWERS = {
    HTTPStatus.NO_CONTENT: "Nothing more will come: the run is over.",
    HTTPStatus.BAD_REQUEST: "The request has mistakes; all of them are named.",
    HTTPStatus.UNAUTHORIZED: "A user and a password are asked for.",
    HTTPStatus.FORBIDDEN: "Not logged in, from another site, without the header, or read-only.",
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.CONFLICT: "Its state does not allow this.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than 4 MiB.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The store does not answer, or has no room.",
}
_PROBLEMS = frozenset({HTTPStatus.BAD_REQUEST})
_ALWAYS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)
#: what varies in a path -> what it is, and one of them
_PARTS = {
    "run": ("the id of a run", RUN),
    "step": ("the id of a step; `each[2]`: of an item", "write"),
    "message": ("the id of a message", MESSAGE),
    "thread": ("the id of a thread", "chapter-4"),
    "task": ("the id of a handoff", TASK),
}


def _described(_: Any) -> Json:
    return document()


DESCRIPTION = Route("GET", "/openapi.json", "describe", "This document.", "Document", _described)
ALL_ROUTES = (*ROUTES, DESCRIPTION)


@cache
def document() -> Json:
    """OpenAPI 3.1. Its server is where the document lies."""
    paths: dict[str, Json] = {}
    for route in ALL_ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "agent-orchestrator", "version": __version__, "description": _DOES},
        "servers": [{"url": "."}],
        "security": [{"password": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic"},
                "session": {"type": "apiKey", "in": "cookie", "name": "orchestrator_5555",
                            "description": "named after the port"},
            },
        },
    }  # fmt: skip


def _operation(route: Route) -> Json:
    operation: dict[str, Json] = {
        "operationId": route.name,
        "summary": route.does,
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.body is not None:
        required = bool(route.body.get("required") or route.body.get("oneOf"))
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": route.body}}}
    return operation


def _parameters(route: Route) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": _PARTS[name][0],
         "example": _PARTS[name][1]}
        for name in _NAMES.findall(route.path)
    ]  # fmt: skip
    found += [
        {"name": name, "in": "query", "schema": schema, "description": schema["description"]}
        for name, schema in route.query.items()
    ]
    if route.run is None:
        about = "the event behind which to begin; a browser sends it by itself when it comes back"
        found.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}, "description": about})
    if route.method != "GET":
        about = "the value of the cookie `_xsrf`; any text where no cookie is sent"
        found.append({"name": CSRF_HEADER, "in": "header", "required": True, "schema": {"type": "string"},
                      "description": about})  # fmt: skip
    return found


def _responses(route: Route) -> Json:
    example = EXAMPLES[route.answer]
    content = {"application/json": {"schema": ref(route.answer), "example": example}}
    if route.run is None:
        told = f"event: {example['name']}\nid: {example['id']}\ndata: {json.dumps(example)}\n\n"
        about = "the data of each event is an `Event`"
        content = {"text/event-stream": {"schema": {"type": "string", "description": about}, "example": told}}
    good = {"description": route.does, "content": content}
    refusals = {*route.refusals, *_ALWAYS, *([HTTPStatus.REQUEST_ENTITY_TOO_LARGE] if route.body is not None else ())}
    return {str(route.status.value): good} | {
        str(status.value): {"description": _ANSWERS[status]} | _refusal(status) for status in sorted(refusals)
    }


def _refusal(status: HTTPStatus) -> Json:
    if status is HTTPStatus.NO_CONTENT:
        return {}
    if status is HTTPStatus.UNAUTHORIZED:
        return {"content": {"text/plain": {"schema": {"type": "string"}}}}
    name = "Problems" if status in _PROBLEMS else "Refusal"
    return {"content": {"application/json": {"schema": ref(name), "example": EXAMPLES[name]}}}
