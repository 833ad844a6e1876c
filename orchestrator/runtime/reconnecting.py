"""How often a worker looks for a server that is away: Celery has no setting for it."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection

#: Seconds between two looks. kombu's own 2, 4, 6 ... 30 would leave a server that is back idle for half a minute.
PAUSES_S = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 3}


class QuickConnection(Connection):
    """A connection to the broker that is soon back."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        return super().ensure_connection(*args, **{**PAUSES_S, **options})  # type: ignore[no-untyped-call]


class QuickAMQP(AMQP):  # type: ignore[misc]
    """Makes the connections of an app."""

    Connection = QuickConnection
    BrokerConnection = QuickConnection
