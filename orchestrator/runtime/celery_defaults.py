"""The Celery settings of every app of this project, each with its unit and the reason for it.

`celeryconfig.py` in the working directory is laid over them; `REQUIRED` cannot be changed, because with other values
work would be lost or never found.
"""

from __future__ import annotations

from typing import Any

from orchestrator.store.routing import MAX_PRIORITY, PRIORITY_STEPS, priority_number

DEFAULTS: dict[str, Any] = {
    # Attempts without end: a worker outlives any outage of its broker (default: 100, then the worker exits).
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # Producers at the same time; canvases that publish while they publish need several.
    "broker_pool_limit": 64,
    # Seconds; a worker that must publish waits out a short restart of the broker.
    "task_publish_retry_policy": {"max_retries": 20, "interval_start": 0, "interval_step": 0.2, "interval_max": 2},
    # Events feed Flower: one PUBLISH per event.
    "worker_send_task_events": True,
    # The publisher's own event would say what `task-received` says a moment later, for 600 bytes a step.
    "task_send_sent_event": False,
    # Seconds that a running attempt gets after SIGQUIT before it goes back to the queue.
    "worker_soft_shutdown_timeout": 10,
    # The application of the user decides how logs look.
    "worker_hijack_root_logger": False,
    # What agents print goes where they print it.
    "worker_redirect_stdouts": False,
}

REQUIRED: dict[str, Any] = {
    # Acknowledge after the step, give it back when the child died, reserve no more than what runs.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": False,
    # The store holds the results; Celery's states are for eyes only.
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "task_track_started": False,
    "result_backend": "orchestrator.runtime.chords:StoreCounted",
    # With True (the default of Celery 6) the running step is lost when the connection breaks.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_deduplicate_successful_tasks": False,
    # No priority would mean the most urgent one.
    "task_default_priority": priority_number("medium"),
    "task_inherit_parent_priority": True,
    "accept_content": ["json"],
    "task_serializer": "json",
    # What cannot be run is put aside, not dropped.
    "worker_consumer": "orchestrator.runtime.consumer:Consumer",
    "task_default_queue": "orchestrator",
}

#: For a client. It stands before a person: what it cannot publish soon, the keeper publishes later.
IMPATIENT: dict[str, Any] = {
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
}

#: Where the broker is RabbitMQ; laid over `REQUIRED`.
RABBITMQ: dict[str, Any] = {
    "task_default_priority": priority_number("medium", "amqp://"),
    # What every queue is declared with: it then keeps the priorities 0 to 9 apart.
    "task_queue_max_priority": MAX_PRIORITY,
    # Seconds: a half-open connection is noticed within two of them.
    "broker_heartbeat": 10,
}

#: Where the broker is Redis.
TRANSPORT_OPTIONS: dict[str, Any] = {
    # Seconds. Recovery comes from leases in seconds; this is only the last belt, so it is longer than any step.
    "visibility_timeout": 86400,
    # Seconds between looks for such messages, and how long a look may hold the lock.
    "unacked_restore_interval": 300,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 30,
    # Five levels for the five words.
    "priority_steps": list(PRIORITY_STEPS),
    # Seconds between checks of the connections that wait; one that is half open is given up within three of them.
    "health_check_interval": 5,
    "socket_keepalive": True,
    # Seconds for an answer. The event loop stands still for each connection that a router has forgotten, one by one.
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
}
