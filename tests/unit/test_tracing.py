"""Whether spans are made, and the way of a context through text."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from orchestrator import Settings
from orchestrator.errors import SettingsInvalid
from orchestrator.tracing import begin, carrier_of, context_in, context_of, text_of, tracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    made = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made)
    return made


def test_spans_are_made_where_an_sdk_is_set_up_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    assert tracer(None) is None
    assert tracer("on") is not None
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    assert tracer(None) is None
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    assert tracer(None) is not None
    assert tracer("off") is None


def test_what_is_not_imported_is_not_set_up(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert tracer(None) is None


def test_an_sdk_that_is_set_up_later_is_seen(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tracer(None)
    assert tracer(None) is first
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    assert tracer(None) is not first


def test_asking_for_what_is_not_installed_is_a_mistake_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    monkeypatch.setenv("ORCHESTRATOR_TRACES", "on")
    with pytest.raises(SettingsInvalid, match=r"ORCHESTRATOR_TRACES: .* pip install 'agent-orchestrator\[otel\]'"):
        Settings.load()


@pytest.mark.parametrize("state", ["", "vendor=1,other=2"])
def test_a_context_survives_as_text(provider: TracerProvider, state: str) -> None:
    makes = provider.get_tracer("test")
    outer = context_in({"traceparent": PARENT, "tracestate": state})
    span = begin(makes, "inside", {}, context=outer)
    again = trace.get_current_span(context_of(text_of(span))).get_span_context()
    assert (again.trace_id, again.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)
    assert again.trace_state.to_header() == state
    assert f"{again.trace_id:032x}" == PARENT.split("-")[1]


def test_a_carrier_is_what_others_read(provider: TracerProvider) -> None:
    span = begin(provider.get_tracer("test"), "one", {"gone": None, "there": 1})
    found = TraceContextTextMapPropagator().extract(carrier_of(span))
    assert trace.get_current_span(found).get_span_context().span_id == span.get_span_context().span_id
    assert dict(span.attributes) == {"there": 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["", "nonsense", "00-0-0-00", f"{PARENT}x"])
def test_what_is_no_context_is_an_empty_one(text: str) -> None:
    assert not trace.get_current_span(context_of(text)).get_span_context().is_valid
