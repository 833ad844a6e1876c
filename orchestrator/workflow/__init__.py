"""From YAML to a plan, its segments and its pictures. Nothing here knows Redis or Celery.

`loader` reads, `compiler` checks and flattens, `segments` cuts, `expressions` evaluates.
"""
