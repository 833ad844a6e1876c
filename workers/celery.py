"""What `celery -A workers ...` finds, for those who start workers and Flower as in any Celery project."""

from orchestrator.runtime.app import make_app

app = make_app()
