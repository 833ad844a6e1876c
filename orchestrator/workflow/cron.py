"""When a schedule is due: cron lines in a time zone, by `cronsim`, which knows daylight-saving changes as Debian's cron
does: a job at a time that is left out runs right after the gap, one at a time that comes twice runs once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


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


def problem_of_zone(zone: str) -> str | None:
    """What is wrong with the name of a time zone, or None."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"no time zone {zone!r}; names are like UTC, Europe/Berlin, America/New_York"
    return None


def problem_of_cron(cron: str, zone: str = "UTC") -> str | None:
    """What is wrong with a cron line, or None."""
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))))
    except CronSimError as error:
        return f"{cron!r} is no cron line: {str(error).lower()}; write five fields, as in '0 9 * * MON-FRI'"
    except StopIteration:
        return f"{cron!r} is never due"
    return None
