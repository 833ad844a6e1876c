"""What several commands take: their common options, and the settings and agents those lead to."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from orchestrator.cli.log_lines import JsonLines, TextLines
from orchestrator.errors import MessageInvalid
from orchestrator.settings import Settings
from orchestrator.strict import loads
from orchestrator.workflow.nearby import did_you_mean

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

Agents = Annotated[
    list[str] | None,
    typer.Option(
        "--agents",
        metavar="PATH|MODULE",
        help="File, folder or module that defines the agents, instead of `workers`. May be given several times.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or enough of its beginning.")]
Detach = Annotated[bool, typer.Option("--detach", help="Only submit: print the run and start no workers.")]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", min=0, help="Stop following after this time, with exit code 3.")
]
Concurrency = Annotated[
    int | None,
    typer.Option("-c", "--concurrency", metavar="N", min=1, help="Steps at a time; default: the agent's own."),
]
LogLevel = Annotated[str, typer.Option(metavar="LEVEL", help=f"What to log: {', '.join(LOG_LEVELS)}.")]
LogFormat = Annotated[
    str | None, typer.Option(metavar="FORMAT", help="How: text, or json, an object a line. Default: text.")
]


def load_settings(agents: Sequence[str] | None = None, log_format: str | None = None) -> Settings:
    """The settings of this command; `--agents` and `--log-format` go before the environment."""
    check_word("--log-format", log_format, LOG_FORMATS)
    told: dict[str, Any] = {"agents": tuple(agents or ()), "log_format": log_format}
    return Settings.load(**{name: value for name, value in told.items() if value})


def log_to_stderr(level: str, log_format: str = "text") -> None:
    """Send the log of this process, and of the workers it forks, to standard error."""
    check_word("--log-level", level, LOG_LEVELS)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # The pool tells here of processes that died; Celery gives the logger a form of its own where it has no handler.
    logging.getLogger("multiprocessing").addHandler(handler)


def check_word(option: str, value: str | None, words: Iterable[str]) -> None:
    """Refuse a value that is none of the words an option knows."""
    words = list(words)
    if value is not None and value not in words:
        near = did_you_mean(value, words)
        raise typer.BadParameter(f"{value!r} is none of {', '.join(words)}{near}", param_hint=option)


def read_json(what: str, text: str) -> Any:
    """The value of a JSON text. Raises MessageInvalid, which names `what`."""
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageInvalid(f"{what}: is no JSON: {error}", field=what) from None


def treat_sigterm_as_ctrl_c() -> None:
    """So that a command that started processes stops them also when a service manager ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
