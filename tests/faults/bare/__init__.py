"""What Celery alone does under the faults: the last column of docs/reliability.md. `harness.py` says how."""
