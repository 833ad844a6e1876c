"""Celery settings of this project, laid over those of orchestrator/runtime/celery_defaults.py.

Only what a project may want to change stands here; each with its unit and the reason for its value. Settings without
which work would be lost (late acks, the transport, prefetch 1) cannot be changed and are ignored here.
"""

# URL of the server. Not set: the embedded one. ORCHESTRATOR_URL goes before this.
# broker_url = "redis://:password@redis.internal:6379/0"

# Seconds that a running attempt gets after SIGQUIT before its step goes back to the queue: longer than most steps of
# the agents in workers/, shorter than the 30 s that container managers wait.
worker_soft_shutdown_timeout = 10

# KiB of resident memory after which a child process is replaced when its attempt is over: agents that read whole
# repositories may grow, and a fresh child is cheap.
worker_max_memory_per_child = 1_000_000

# Attempts, then seconds: how long a worker that must publish waits out a restart of the server.
task_publish_retry_policy = {"max_retries": 20, "interval_start": 0, "interval_step": 0.2, "interval_max": 2}
