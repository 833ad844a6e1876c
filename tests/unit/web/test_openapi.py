"""The OpenAPI document: valid, complete, and the same table that the handlers come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from orchestrator.web.api.handler import _mistakes
from orchestrator.web.api.openapi import ALL_ROUTES, document
from orchestrator.web.api.schemas import SCHEMAS

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


def test_it_is_an_openapi_document() -> None:
    found = json.loads(json.dumps(document()))
    assert found["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(found).validate()


def test_it_has_every_route_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ALL_ROUTES}
    assert len({route.name for route in ALL_ROUTES}) == len(ALL_ROUTES)


def test_every_change_is_a_post_with_a_body_that_is_closed() -> None:
    for route in ALL_ROUTES:
        assert route.method in ("GET", "POST")
        assert (route.method == "POST") == (route.body is not None), route.path
        assert route.body is None or route.body["additionalProperties"] is False
        assert route.answer in SCHEMAS


@pytest.mark.parametrize("route", ALL_ROUTES, ids=lambda route: route.name)
def test_schemas_are_schemas_and_defaults_fit_them(route: object) -> None:
    for schema in (getattr(route, "body", None), *getattr(route, "query", {}).values()):
        if schema is not None:
            Draft202012Validator.check_schema(schema)
    for name, schema in getattr(route, "query", {}).items():
        assert _mistakes(name, schema, schema["default"]) == []


def test_every_operation_says_what_it_does_and_shows_what_goes_in_and_out() -> None:
    schemas = {"components": {"schemas": SCHEMAS}}
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            place = f"{method} {path}"
            assert operation["summary"].endswith("."), place
            assert all(parameter["description"] for parameter in operation["parameters"]), place
            assert {"401", "403", "503"} <= set(operation["responses"]), place
            for answer in operation["responses"].values():
                for kind, content in answer.get("content", {}).items():
                    if kind == "application/json":
                        Draft202012Validator(content["schema"] | schemas).validate(content["example"])
            if method == "post":
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                assert _mistakes("", schema, schema["examples"][0]) == [], place


def test_a_mistake_never_repeats_the_value() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}, "w": {"enum": ["a"]}}}
    found = _mistakes("", schema, {"n": "hunter2", "w": "hunter2"})
    assert [(problem.path, problem.message) for problem in found] == [("n", "is no integer"), ("w", "is none of a")]


def test_the_page_of_the_documentation_lists_every_operation() -> None:
    rows = re.findall(r"^\| `(GET|POST)` \| `(/[^`]*)` \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted((route.method, route.path) for route in ALL_ROUTES)
