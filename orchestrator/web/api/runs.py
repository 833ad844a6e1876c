"""What the API does with runs. Each function gets a checked call and returns the document of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.client import Client
from orchestrator.documents import error_document, run_summary
from orchestrator.errors import Problem, RunNotOver, WorkflowInvalid
from orchestrator.run_handle import RunHandle
from orchestrator.states import RunState
from orchestrator.web.api.route import Call
from orchestrator.web.run_page import run_news
from orchestrator.web.step_page import step_view
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import LoadedWorkflow, load_workflow
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.spec import Step
from orchestrator.workflow.times import parse_time

Json = Any
DEFINITION = "definition"  # what a definition without a file is called in messages


def list_runs(call: Call) -> Json:
    asked = call.query
    with call.client.asking():
        page = call.client.store.page_of_runs(
            state=RunState(asked["status"]) if asked["status"] else None, workflow=asked["workflow"] or None,
            text=asked["search"].strip(), after=asked["after"] or None, limit=asked["limit"],
        )  # fmt: skip
    found = [
        run_summary(run) | {"error": error_document(run.error), "progress": page.progress.get(run.id)}
        for run in page.runs
    ]
    return {"runs": found, "next": page.next}


def submit(call: Call) -> Json:
    plan = _plan(call.client, call.body)
    handle = call.client.submit(
        plan, call.body.get("inputs", {}), idempotency_key=call.body.get("idempotency_key"),
        priority=call.body.get("priority"),
    )  # fmt: skip
    return _summary(handle)


def show(call: Call) -> Json:
    return call.client.run(call.path["run"]).document()


def view(call: Call) -> Json:
    return run_news(call.client, call.path["run"])


def view_step(call: Call) -> Json:
    return step_view(call.client, call.path["run"], call.path["step"])


def cancel(call: Call) -> Json:
    handle = _run(call)
    return _changed(handle, handle.cancel(at_once=call.body.get("now", False)))


def pause(call: Call) -> Json:
    handle = _run(call)
    return _changed(handle, handle.pause())


def resume(call: Call) -> Json:
    handle = _run(call)
    return _changed(handle, handle.resume())


def rerun(call: Call) -> Json:
    handle = _run(call)
    chosen = handle.plan_rerun(from_step=call.body.get("from"), patch=call.body.get("patch"))
    if not chosen.runs:
        message = f"nothing of run {handle.id} is left to run again; name a step in `from`"
        raise RunNotOver(message, run_id=handle.id)
    document = _summary(call.client.rerun(chosen))
    return document | {"reused": list(chosen.reused), "runs": list(chosen.runs)}


def approve(call: Call) -> Json:
    handle = _run(call)
    handle.approve(call.body["step"], call.body.get("data"), since=_since(call))
    return _summary(handle)


def reject(call: Call) -> Json:
    handle = _run(call)
    handle.reject(call.body["step"], call.body.get("reason"), since=_since(call))
    return _summary(handle)


def _since(call: Call) -> int | None:
    since = call.body.get("since")
    if since is None:
        return None
    try:
        return parse_time(since)
    except ValueError as error:
        raise WorkflowInvalid([Problem("", 0, "since", str(error))]) from None


def signal(call: Call) -> Json:
    name = call.body["name"]
    reached = _run(call).signal(name, call.body.get("data"))
    return {"signal": name, "reached": reached, "kept": not reached}


def _run(call: Call) -> RunHandle:
    return call.client.run(call.path["run"])


def _summary(handle: RunHandle) -> dict[str, Json]:
    record = handle.record()
    return run_summary(record) | {"error": error_document(record.error)}


def _changed(handle: RunHandle, changed: bool) -> Json:
    return _summary(handle) | {"changed": changed}


def _plan(client: Client, body: Json) -> Plan:
    """The plan of the definition that was sent, or of a file of the folder in which Flower runs."""
    if "file" in body:
        return client.compile(_inside(body["file"]))
    limits = client.settings
    loaded = load_workflow(DEFINITION, text=body[DEFINITION], limits=limits)
    if found := _files_named(loaded):
        raise WorkflowInvalid(found)
    return compile_workflow(loaded, agents=client.catalog(), limits=limits)


def _inside(name: str) -> Path:
    """A file of this folder. What lies outside is none of the caller's business, whether it is there or not."""
    here = Path.cwd().resolve()
    path = here if "\0" in name else (here / name).resolve()
    if not path.is_relative_to(here) or path.suffix not in (".yaml", ".yml"):
        message = f"{name!r} is no .yaml file inside the folder that Flower runs in"
        raise WorkflowInvalid([Problem("", 0, "file", message)])
    return path.relative_to(here)


def _files_named(loaded: LoadedWorkflow) -> list[Problem]:
    """The places where a definition names a file: it has no folder, and shall not read others' files by their names."""
    message = "a definition that is sent cannot run a file; submit a `file`, or submit that workflow by itself"
    return [loaded.problem(place, message) for place in _places(loaded.spec, ())]


def _places(value: Json, place: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    if isinstance(value, list):
        return [found for at, item in enumerate(value) for found in _places(item, (*place, at))]
    if not isinstance(value, BaseModel):
        return []
    if isinstance(value, Step) and value.workflow is not None:
        return [(*place, "workflow")]
    fields = type(value).model_fields
    inner = {fields[name].alias or name: getattr(value, name) for name in value.model_fields_set}
    return [found for name, item in inner.items() for found in _places(item, (*place, name))]
