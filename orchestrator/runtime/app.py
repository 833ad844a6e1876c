"""The Celery app: working defaults, the user's `celeryconfig.py` over them, and the engine that its tasks use."""

from __future__ import annotations

from typing import Any

from celery import Celery

from orchestrator.runtime.broker_url import broker_settings
from orchestrator.runtime.celery_defaults import DEFAULTS, REQUIRED, TRANSPORT_OPTIONS
from orchestrator.runtime.engine import Engine
from orchestrator.runtime.event_batches import EventBatches
from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.reconnecting import QuickAMQP
from orchestrator.settings import Settings
from orchestrator.store.connection import server_url
from orchestrator.store.envelopes import GRACE_S
from orchestrator.store.routing import RING, is_rabbitmq


class App(Celery):  # type: ignore[misc]
    """A Celery app that knows its engine."""

    amqp_cls = QuickAMQP
    engine: Engine


def make_app(settings: Settings | None = None) -> App:
    """The app for these settings (default: those of the environment). Starts the embedded server if none is set.

    Raises:
        ServerNotStarted: the embedded server does not come up.
    """
    settings = settings or Settings.load()
    store_url = server_url(settings)
    app = App("orchestrator", set_as_current=False, strict_typing=False)
    app.conf.update(configuration(settings, store_url))
    app.engine = Engine(app, settings, store_url)
    app.steps["worker"].add(Lifecycle)
    app.steps["consumer"].add(EventBatches)
    return app


def _time_limits(message_timeout_s: float | None) -> dict[str, Any]:
    """A step's time limits are in its message; what handles messages has those of the worker."""
    if message_timeout_s is None:
        return {}
    return {RING: {"soft_time_limit": message_timeout_s, "time_limit": message_timeout_s + GRACE_S}}


def configuration(settings: Settings, store_url: str) -> dict[str, Any]:
    """The Celery settings for a server: defaults, then the user's, then what cannot be changed."""
    user = {name: value for name, value in settings.celery.items() if name != "broker_url"}
    url = settings.broker_url or store_url
    broker = broker_settings(url)
    options = {
        **({} if is_rabbitmq(url) else TRANSPORT_OPTIONS),
        **user.pop("broker_transport_options", {}),
        **broker.pop("broker_transport_options", {}),
    }
    return {
        **DEFAULTS,
        **user,
        **REQUIRED,
        **broker,
        "broker_transport_options": options,
        "task_annotations": _time_limits(settings.message_timeout_s),
        "imports": ("orchestrator.runtime.tasks", *user.get("imports", ())),
    }
