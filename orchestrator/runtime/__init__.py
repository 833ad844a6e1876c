"""The only code that imports Celery: the app, the canvas, the worker's tasks and its keeper."""
