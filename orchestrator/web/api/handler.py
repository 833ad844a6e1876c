"""One handler for every path of the table: reads and checks the request, runs the route, writes JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator
from tornado.web import HTTPError

from orchestrator.client import Client
from orchestrator.errors import MessageInvalid, OrchestratorError, Problem, WorkflowInvalid
from orchestrator.strict import loads
from orchestrator.web.api.route import Call, Route
from orchestrator.web.handlers import Handler, reason_of, status_of
from orchestrator.web.site import Site

Json = Any

MOST_BYTES = 4 << 20  # of a body: a definition and its inputs have a limit of 1 MiB each


class ApiHandler(Handler):
    """The operations of one path, by method."""

    routes: Mapping[str, Route]

    def initialize(self, site: Site, routes: Mapping[str, Route] = MappingProxyType({}), **more: Any) -> None:
        super().initialize(site)
        self.routes = routes

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Type", "application/json; charset=utf-8")

    @property
    def threads(self) -> Executor:
        return self.site.compilers if self._route().compiles else super().threads

    async def get(self, **path: str) -> None:
        route = self._route()
        assert route.run is not None
        text = await self.ask(_document, route.run, path, *self._read(route))
        self.set_status(route.status)
        self.finish(text + "\n")

    async def post(self, **path: str) -> None:
        await self.get(**path)

    def _route(self) -> Route:
        route = self.routes.get(str(self.request.method))
        if not self.routes:
            raise HTTPError(HTTPStatus.NOT_FOUND, "no such path; openapi.json names them all")
        if route is None:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        return route

    def _read(self, route: Route) -> tuple[Json, Json]:
        """The query and the body. Raises MessageInvalid or WorkflowInvalid: every mistake in them."""
        problems: list[Problem] = []
        query = self._query(route, problems)
        body: Json = {}
        if route.body is not None:
            body = _body(self.request.body)
            problems += _mistakes("", route.body, body)
        if problems:
            raise WorkflowInvalid(problems)
        return query, body

    def _query(self, route: Route, problems: list[Problem]) -> dict[str, Json]:
        query = {name: schema["default"] for name, schema in route.query.items()}
        for name in self.request.query_arguments:
            if name not in route.query:
                known = ", ".join(route.query) or "none"
                problems.append(Problem("", 0, name, f"no such parameter; there is {known}"))
                continue
            text = self.request.query_arguments[name][-1].decode("utf-8", "backslashreplace")
            whole = route.query[name].get("type") == "integer" and re.fullmatch("-?[0-9]{1,9}", text)
            query[name] = int(text) if whole else text
            problems += _mistakes(name, route.query[name], query[name])
        return query

    def write_error(self, status_code: int, **options: Any) -> None:
        error = options.get("exc_info", (None, None))[1]
        self.set_status(status_of(error) if error else HTTPStatus(status_code))
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.routes))
        self.finish(json.dumps(told(error, status_code), ensure_ascii=False) + "\n")


def _document(client: Client, run: Callable[[Call], Json], path: Mapping[str, str], query: Json, body: Json) -> str:
    return json.dumps(run(Call(client, path, query, body)), ensure_ascii=False)


def told(error: BaseException | None, status: int) -> Json:
    """`{"errors": [...]}` for what the caller can mend, `{"error": {...}}` for the rest."""
    if isinstance(error, WorkflowInvalid):
        return {"errors": [problem.as_dict() for problem in error.problems]}
    if isinstance(error, MessageInvalid):
        return {"errors": [Problem("", 0, error.details.get("field", ""), error.message).as_dict()]}
    if status_of(error) is HTTPStatus.BAD_REQUEST:
        return {"errors": [Problem("", 0, "", reason_of(error)).as_dict()]}
    kind = type(error).__name__ if isinstance(error, OrchestratorError) else HTTPStatus(status).phrase.replace(" ", "")
    return {"error": {"type": kind, "message": reason_of(error)}}


def _body(raw: bytes) -> Json:
    if len(raw) > MOST_BYTES:
        raise HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MOST_BYTES:,} bytes")
    if not raw.strip():
        return {}
    try:
        value = loads(raw)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise MessageInvalid("the body has half of a surrogate pair, which is no text", field="") from None
    except (ValueError, RecursionError) as error:
        raise MessageInvalid(f"the body is no JSON: {error}", field="") from None


def _mistakes(place: str, schema: Json, value: Json) -> list[Problem]:
    found = Draft202012Validator(schema).iter_errors(value)
    return [
        Problem("", 0, ".".join([*([place] if place else []), *map(str, one.absolute_path)]), _reason(one))
        for one in sorted(found, key=lambda one: list(map(str, one.absolute_path)))
    ]


def _reason(mistake: Any) -> str:
    """What is wrong, without the value, which may be long or secret."""
    rule, wanted = mistake.validator, mistake.validator_value
    if rule == "enum":
        return f"is none of {', '.join(word for word in wanted if word)}"
    if rule == "type":
        return f"is no {wanted}" if isinstance(wanted, str) else f"is none of {', '.join(wanted)}"
    if rule == "required":
        return f"lacks {', '.join(repr(name) for name in wanted if name not in mistake.instance)}"
    if rule == "additionalProperties":
        known = mistake.schema["properties"]
        return f"has unknown fields: {', '.join(sorted(set(mistake.instance) - set(known)))}"
    if rule == "oneOf":
        return f"needs one of {', '.join(repr(one['required'][0]) for one in wanted)}, and only one"
    return f"breaks the rule {rule}: {wanted}"
