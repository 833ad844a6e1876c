"""The report as Markdown: facts in, text out. The same facts always give the same text.

Writing the file is the writer's work, checking it the reviewer's; both know the sections from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.facts import Checkout, Counted, FolderSummary, History, Languages, Sized, Todos
from workers.markdown import bar, code, plain, table

SECTIONS = ("Summary", "Activity", "Authors", "Languages", "Folders", "Hot spots", "Large files", "Markers")

_MONTHS = 24


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything the other agents found out."""

    checkout: Checkout
    history: History
    languages: Languages
    todos: Todos
    hot_spots: list[Counted]
    large_files: list[Sized]
    folders: list[FolderSummary]


def render(found: Findings) -> str:
    """The whole report; it ends with a newline."""
    bodies = (
        _summary(found),
        _activity(found.history),
        _authors(found.history),
        _languages(found.languages),
        _folders(found.folders),
        table(("File", "Commits"), [(code(file.name), file.commits) for file in found.hot_spots]),
        table(("File", "Bytes"), [(code(file.path), file.size_bytes) for file in found.large_files]),
        _markers(found.todos),
    )
    parts = [f"# Repository report: {plain(found.checkout.name)}", _place(found.checkout)]
    for section, body in zip(SECTIONS, bodies, strict=True):
        parts += [f"## {section}", body]
    return "\n\n".join(parts) + "\n"


def _place(checkout: Checkout) -> str:
    branch = f"branch {code(checkout.branch)}" if checkout.branch else "a detached HEAD"
    commit = f"at commit {code(checkout.head[:12])}" if checkout.head else "before its first commit"
    cut = " This is a shallow clone: older history is not here." if checkout.shallow else ""
    return f"{code(checkout.root)}, {branch}, {commit}.{cut}"


def _summary(found: Findings) -> str:
    rows = [
        ("Commits", found.history.commits),
        ("Authors", len(found.history.authors)),
        ("Tracked files", found.languages.files),
        ("Text files", found.languages.text_files),
        ("Lines of text", sum(found.languages.lines.values())),
        ("Markers", found.todos.total),
    ]
    numbers = table(("What", "Number"), rows)
    if not (found.history.first and found.history.last):
        return numbers
    return f"{numbers}\n\nFirst commit {found.history.first[:10]}, last commit {found.history.last[:10]}."


def _activity(history: History) -> str:
    months = list(history.months.items())[-_MONTHS:]
    most = max((commits for _, commits in months), default=0)
    rows = [(month, commits, bar(commits, most)) for month, commits in months]
    earlier = len(history.months) - len(months)
    note = f"\n\n{_more(earlier, 'earlier month')} with commits." if earlier else ""
    return table(("Month", "Commits", ""), rows) + note


def _authors(history: History) -> str:
    rows = [(plain(author.name) or "(no name)", author.commits) for author in history.top_authors]
    rest = len(history.authors) - len(rows)
    return table(("Author", "Commits"), rows) + (f"\n\n{_more(rest, 'more author')}." if rest else "")


def _languages(languages: Languages) -> str:
    ranked = sorted(languages.lines.items(), key=lambda item: (-item[1], item[0]))
    most = max(languages.lines.values(), default=0)
    return table(("Language", "Lines", ""), [(plain(name), lines, bar(lines, most)) for name, lines in ranked])


def _folders(folders: list[FolderSummary]) -> str:
    rows = [(code(folder.name), folder.files, folder.lines, folder.todos, folder.commits) for folder in folders]
    return table(("Folder", "Files", "Lines", "Markers", "Commits"), rows)


def _markers(todos: Todos) -> str:
    rows = [(code(place.path), place.line, code(place.text)) for place in todos.places]
    rest = todos.total - len(rows)
    return table(("File", "Line", "Text"), rows) + (f"\n\n{_more(rest, 'more line')}." if rest else "")


def _more(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
