"""The pages of runs: the list, and one of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from orchestrator.client import Client
from orchestrator.durations import duration
from orchestrator.errors import MessageInvalid
from orchestrator.records import RunRecord, rfc3339
from orchestrator.states import RunState
from orchestrator.store.listing import RunPage
from orchestrator.web import words
from orchestrator.web.handlers import Page
from orchestrator.web.run_page import run_view

LIMIT = 50
MOST_WORDS = 200  # characters of a filter


class RunsPage(Page):
    """The runs, the newest first. What is asked for stands in the address, so that it can be kept and passed on."""

    async def get(self) -> None:
        asked = {name: self.get_query_argument(name, "")[:MOST_WORDS] for name in ("status", "workflow", "search")}
        after = self.get_query_argument("after", "")
        page = await self.ask(list_runs, asked, after or None, LIMIT)
        now = words.now_ms()
        filters = {name: text for name, text in asked.items() if text}
        self.show(
            "runs.html", rows=[_row(run, page.progress, now) for run in page.runs], asked=asked, states=list(RunState),
            filtered=bool(filters), first=not after, newest=f"{self.base}?{urlencode(filters)}",
            older=f"{self.base}?{urlencode({**filters, 'after': page.next})}" if page.next else None,
        )  # fmt: skip


class RunDetails(Page):
    """One run. The template gets `view`, see `run_page.run_view`."""

    async def get(self, run_id: str) -> None:
        view = await self.ask(run_view, run_id)
        self.show("run.html", view=view)


def list_runs(client: Client, asked: dict[str, str], after: str | None, limit: int) -> RunPage:
    """The runs of a page.

    Args:
        asked: `status`, `workflow`, `search`; empty: any.
    Raises:
        MessageInvalid: no such status.
    """
    if asked["status"] and asked["status"] not in list(RunState):
        raise MessageInvalid(f"no status {asked['status']!r}; there is {', '.join(RunState)}", field="status")
    with client.asking():
        return client.store.page_of_runs(
            state=RunState(asked["status"]) if asked["status"] else None, workflow=asked["workflow"] or None,
            text=asked["search"].strip(), after=after, limit=limit,
        )  # fmt: skip


def _row(run: RunRecord, progress: Any, now: int) -> dict[str, Any]:
    took_ms = (run.finished_at or now) - (run.started_at or run.created_at)
    done = progress.get(run.id)
    return {
        "id": run.id,
        "workflow": run.workflow,
        "state": run.state.value,
        "priority": run.priority,
        "percent": None if done is None else round(100 * done),
        "age": words.age(run.created_at, now),
        "created": words.moment(run.created_at),
        "created_at": rfc3339(run.created_at),
        "created_ms": run.created_at,
        "took": duration(took_ms) if run.started_at or run.finished_at else "",
        "started_ms": "" if run.finished_at else run.started_at or "",
        "note": words.brief(f"{run.error.type}: {run.error.message}") if run.error else _waits(run),
    }


def _waits(run: RunRecord) -> str:
    return f"waits for its turn: {run.waits_for}" if run.waits_for else ""
