"""OpenTelemetry by its API: whether spans are made, how they are made, and how the context of one travels as text.

The library is an extra, and nothing here imports it before it is known to be wanted. Which spans there are, is for
`agents/`; what becomes of them, for the SDK that the user sets up.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opentelemetry.context import Context as Context
    from opentelemetry.trace import Span as Span
    from opentelemetry.trace import Tracer as Tracer

Kind = Literal["INTERNAL", "PRODUCER", "CONSUMER"]
NS = 1_000_000  # nanoseconds in a millisecond
_MAX_STACK = 8000  # characters
_known: tuple[Any, Tracer] | None = None  # the provider that was asked last, and its tracer


def tracer(wanted: str | None) -> Tracer | None:
    """What makes spans; None: nobody wants any.

    Args:
        wanted: `on`, `off`, or None: where an SDK is set up. Whoever has set one up has imported the API.
    """
    global _known
    if wanted == "off" or (wanted is None and "opentelemetry.trace" not in sys.modules):
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if wanted is None and isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    if _known is None or _known[0] is not provider:
        _known = provider, provider.get_tracer("orchestrator")
    return _known[1]


def installed() -> bool:
    """Whether the API is there."""
    try:
        import opentelemetry.trace  # noqa: F401
    except ImportError:
        return False
    return True


def begin(
    makes: Tracer,
    name: str,
    about: Mapping[str, Any],
    *,
    kind: Kind = "INTERNAL",
    context: Context | None = None,
    links: Sequence[Context] = (),
    start_ns: int | None = None,
) -> Span:
    """A span, which whoever asks for it must end.

    Args:
        about: its attributes; those that are None are left out.
        context: what it is in; default: what is active in this thread.
        links: contexts of other spans; those without one are left out.
    """
    from opentelemetry import trace

    linked = [trace.get_current_span(other).get_span_context() for other in links]
    return makes.start_span(
        name, context, kind=trace.SpanKind[kind], start_time=start_ns,
        attributes={name: value for name, value in about.items() if value is not None},
        links=[trace.Link(other) for other in linked if other.is_valid],
    )  # fmt: skip


def fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed. Type and place of the error, not its message: that may quote what a handler was given."""
    event = {"exception.type": type(error).__name__}
    if error.__traceback__ is not None:
        event["exception.stacktrace"] = "".join(traceback.format_tb(error.__traceback__))[-_MAX_STACK:]
    span.add_event("exception", event)
    mark_failed(span, type(error).__name__)


def mark_failed(span: Span, error_type: str) -> None:
    """Give a span the status of a failure."""
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR, error_type))


@contextmanager
def active(span: Span) -> Iterator[None]:
    """Make a span the current one of this thread, and of the coroutines that it starts."""
    from opentelemetry import context

    token = context.attach(within(span))
    try:
        yield
    finally:
        context.detach(token)


def flush(timeout_s: float) -> None:
    """Have what was made told before the process ends, where the SDK can do so."""
    told = getattr(_known[0], "force_flush", None) if _known is not None else None
    if told is not None:
        told(round(timeout_s * 1000))


# --- a context, as an object and as text ------------------------------------------------------------------------------


def within(span: Span) -> Context:
    """The context for spans inside this one."""
    from opentelemetry import context, trace

    return trace.set_span_in_context(span, context.Context())


def carrier_of(span: Span) -> dict[str, str]:
    """`traceparent`, and `tracestate` if there is one; nothing for a span that is none."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, within(span))
    return carrier


def context_in(carrier: Mapping[str, str]) -> Context:
    """The inverse of `carrier_of`. Nothing, or what is no context, is an empty one: a span in it begins a trace."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({name: text for name, text in carrier.items() if text}, Context())


def text_of(span: Span) -> str:
    """The context of a span as one text: traceparent, and tracestate behind a space."""
    return " ".join(carrier_of(span).values())


def context_of(text: str) -> Context:
    """The inverse of `text_of`."""
    parent, _, state = text.partition(" ")
    return context_in({"traceparent": parent, "tracestate": state})
