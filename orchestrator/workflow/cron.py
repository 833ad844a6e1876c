"""When a schedule is due: cron lines in a time zone, by `cronsim`, which knows daylight-saving changes as Debian's cron
does: a job at a time that is left out runs right after the gap, one at a time that comes twice runs once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from orchestrator.errors import Problem, WorkflowInvalid

_LONGEST_LINE = 200
OVERLAPS = ("skip", "allow", "queue")
CATCHUPS = ("none", "latest", "all")


def due_times(cron: str, zone: str, after_ms: int) -> Iterator[int]:
    """The times (ms since the epoch, UTC) at which the line is due after a moment, in order. May end.

    Raises:
        ValueError: the line or the zone is wrong.
    """
    if wrong := problem_of_zone(zone) or problem_of_cron(cron, zone):
        raise ValueError(wrong)
    start = datetime.fromtimestamp(after_ms / 1000, tz=UTC).astimezone(ZoneInfo(zone))
    for due in CronSim(cron, start):
        yield round(due.timestamp() * 1000)


def last_due(cron: str, zone: str, before_ms: int) -> int:
    """The newest time at which the line was due, at a moment or before it. Raises StopIteration: it never was."""
    start = datetime.fromtimestamp(before_ms / 1000 + 1, tz=UTC).astimezone(ZoneInfo(zone))
    return round(next(CronSim(cron, start, reverse=True)).timestamp() * 1000)


def check_schedule(workflow: str, given: dict[str, str]) -> dict[str, Any]:
    """A schedule as it is given, with defaults. Raises WorkflowInvalid: every mistake."""
    made = {"timezone": "UTC", "overlap": "skip", "catchup": "latest", **given}
    found = {"timezone": problem_of_zone(made["timezone"])}
    if "cron" not in made:
        found["cron"] = "there is no cron line; give one, or a `schedule` in the file"
    elif found["timezone"] is None:
        found["cron"] = problem_of_cron(made["cron"], made["timezone"])
    for key, words in (("overlap", OVERLAPS), ("catchup", CATCHUPS)):
        if made[key] not in words:
            found[key] = f"{made[key]!r} is not one of {', '.join(words)}"
    problems = [Problem(workflow, 0, f"schedule.{key}", text) for key, text in found.items() if text]
    if problems:
        raise WorkflowInvalid(problems)
    return made


def problem_of_zone(zone: str) -> str | None:
    """What is wrong with the name of a time zone, or None."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"no time zone {zone[:60]!r}; names are like UTC, Europe/Berlin, America/New_York"
    return None


def problem_of_cron(cron: str, zone: str = "UTC") -> str | None:
    """What is wrong with a cron line, or None."""
    if len(cron) > _LONGEST_LINE:
        return f"a cron line of {len(cron):,} characters; the limit is {_LONGEST_LINE}"
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))))
    except (CronSimError, ValueError) as error:
        if _is_cron(" ".join([*cron.split()[:3], "*", *cron.split()[4:]])):
            return f"{cron!r} is never due: there is no such day in that month"
        return f"{cron!r} is no cron line: {str(error).lower()}; write five fields, as in '0 9 * * MON-FRI'"
    except StopIteration:
        return f"{cron!r} is never due"
    return None


def _is_cron(line: str) -> bool:
    try:
        CronSim(line, datetime(2026, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError):
        return False
    return True
