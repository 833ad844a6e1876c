"""Placeholder until the real one lands."""
from __future__ import annotations
import json
from typing import Any, Mapping
from orchestrator.errors import ExpressionError
from orchestrator.workflow.cel_source import CelSource
from orchestrator.workflow.evaluation import run
from orchestrator.workflow.template import Expr, split

def _eval(source: str, scope: Mapping[str, Any]) -> Any:
    try:
        return run(source, {k: (dict(v) if isinstance(v, Mapping) else v) for k, v in scope.items()}, CelSource(source).functions)
    except Exception as e:
        raise ExpressionError(f"{source}: {e}") from None

def render(template: Any, scope: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        parts = split(template)
        if len(parts) == 1 and isinstance(parts[0], Expr):
            return _eval(parts[0].source, scope)
        return "".join(p if isinstance(p, str) else (v if isinstance(v := _eval(p.source, scope), str) else json.dumps(v)) for p in parts)
    if isinstance(template, list):
        return [render(x, scope) for x in template]
    if isinstance(template, dict):
        return {k: render(v, scope) for k, v in template.items()}
    return template

def evaluate_bool(template: str, scope: Mapping[str, Any]) -> bool:
    v = render(template, scope)
    if not isinstance(v, bool):
        raise ExpressionError(f"not a boolean: {v!r}")
    return v
