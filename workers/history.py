"""The agent `history`: who committed when, and which files change most often."""

from __future__ import annotations

import re
from collections import Counter

from orchestrator import Agent
from workers.facts import Counted, History
from workers.git import changes, git, shown
from workers.tree import Tree

history = Agent("history", capabilities=["git"], concurrency=2)

_MONTH = re.compile(r"\d{4}-\d{2}")


@history.task
def summary(root: str, head: str | None, first: int = 20) -> History:
    """Count the commits that `head` reaches by author and by month.

    Names are git's `%aN`: the name as committed, unless the checkout's `.mailmap` says that two names are one person.
    Months and dates are the author's, in the author's time zone.

    Args:
        root: as `repository.open` returned it.
        head: a commit; None stands for a repository without commits.
        first: how many of the most active authors to name.
    """
    authors: Counter[str] = Counter()
    months: Counter[str] = Counter()
    dates: list[tuple[int, str]] = []
    for seconds, date, author in _commits(root, head):
        authors[author] += 1
        # Broken clocks leave dates that no calendar has; such a commit belongs to no month.
        if _MONTH.match(date):
            months[date[:7]] += 1
            dates.append((seconds, date))
    return History(
        commits=authors.total(),
        authors=sorted(authors),
        top_authors=_top(authors, first),
        months=dict(sorted(months.items())),
        first=min(dates)[1] if dates else None,
        last=max(dates)[1] if dates else None,
    )


@history.task
def hot_spots(root: str, head: str | None, first: int = 10) -> list[Counted]:
    """The files that are tracked now and that the most commits changed, most first.

    Merges and, in a very long history, its oldest commits are left out (see `git.changes`). Arguments as in `summary`.
    """
    if head is None:
        return []
    changed = changes(root, head, whole_paths=True)
    tracked = {file.path for file in Tree(root).files}
    return _top(Counter({path: commits for path, commits in changed.items() if path in tracked}), first)


def _commits(root: str, head: str | None) -> list[tuple[int, str, str]]:
    if head is None:
        return []
    log = git(root, "log", "-z", "--encoding=UTF-8", "--format=%at %aI %aN", "--end-of-options", head, "--")
    # An empty record would be the end of the output, never a commit.
    fields = (record.split(" ", 2) for record in shown(log).split("\0") if record)
    return [(int(seconds or 0), date, author) for seconds, date, author in fields]


def _top(counts: Counter[str], first: int) -> list[Counted]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Counted(name=name, commits=commits) for name, commits in ranked[:first]]
