"""Celery's consumer, which puts aside what it cannot run instead of dropping it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as Stock

from orchestrator.runtime.unacked import UNREADABLE

log = logging.getLogger(__name__)


class Consumer(Stock):  # type: ignore[misc]
    """Celery acknowledges or rejects what it cannot run, and it is gone; here its bytes and the reason are kept."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """As in Celery, where a header of an unexpected form is an error that ends the worker."""
        handle = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except UNREADABLE as error:
                self._put_aside(message, f"cannot be run: {type(error).__name__}: {error}")

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._put_aside(message, f"cannot be decoded: {exc}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._put_aside(message, "names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._put_aside(message, f"unknown task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._put_aside(message, f"cannot be run: {exc}")

    def _put_aside(self, message: Any, reason: str) -> None:
        queue = message.delivery_info.get("routing_key", "")
        try:
            self.app.engine.quarantine.put(_raw(message), queue, reason)
        except Exception as error:  # it is not acknowledged, so it comes again
            log.error("a message of queue %s %s, and cannot be put aside: %s", queue, reason, error)
            return
        message.reject_log_error(log, self.connection_errors)


def _raw(message: Any) -> bytes:
    """The message as it lay on the queue, as far as that can still be told."""
    told = {"body": message.body, "content-type": message.content_type, "content-encoding": message.content_encoding}
    told |= {"headers": message.headers, "properties": message.properties}
    return json.dumps(told, default=_readable).encode()


def _readable(value: Any) -> str:
    return bytes(value).decode("utf-8", "backslashreplace") if isinstance(value, (bytes, memoryview)) else repr(value)
