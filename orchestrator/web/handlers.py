"""What all our handlers share: headers, where blocking calls run, the check against cross-site requests, errors.

They derive from Flower's handler, so that its login counts for them too. Nothing here knows what a page shows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from http import HTTPStatus
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

from flower.views import BaseHandler
from tornado.template import BaseLoader, Loader
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from orchestrator.client import Client
from orchestrator.errors import (
    AgentOffline,
    ApprovalNotAllowed,
    BadSignature,
    HandlerOutputInvalid,
    HandoffRefused,
    LimitExceeded,
    MessageInvalid,
    MessageNotFound,
    MessageNotHeld,
    NotYourMessage,
    OrchestratorError,
    QueueFull,
    RunNotFound,
    RunNotOver,
    RunOver,
    RunRefused,
    StepNotWaiting,
    StoreUnavailable,
    UnknownAgent,
    UnknownStep,
    UnknownTask,
    WorkflowInvalid,
)
from orchestrator.web.site import Site

T = TypeVar("T")
P = ParamSpec("P")

HERE = Path(__file__).parent
CSRF_HEADER = "X-CSRF-Token"
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATUS_OF: dict[type[OrchestratorError], HTTPStatus] = {
    **dict.fromkeys((WorkflowInvalid, MessageInvalid, HandlerOutputInvalid, LimitExceeded), HTTPStatus.BAD_REQUEST),
    **dict.fromkeys((RunNotFound, MessageNotFound, UnknownAgent, UnknownTask, UnknownStep), HTTPStatus.NOT_FOUND),
    **dict.fromkeys(
        (RunOver, RunNotOver, RunRefused, StepNotWaiting, MessageNotHeld, HandoffRefused, AgentOffline),
        HTTPStatus.CONFLICT,
    ),
    **dict.fromkeys((NotYourMessage, BadSignature, ApprovalNotAllowed), HTTPStatus.FORBIDDEN),
    **dict.fromkeys((StoreUnavailable, QueueFull), HTTPStatus.SERVICE_UNAVAILABLE),
}

log = logging.getLogger(__name__)


class Tab(NamedTuple):
    """One entry of the navigation: its name, and its path behind that of the list of runs."""

    name: str
    path: str


NAVIGATION = (
    Tab("Runs", ""),
    Tab("Agents", "/agents"),
    Tab("Messages", "/messages"),
    Tab("Handoffs", "/handoffs"),
)


def status_of(error: BaseException | None) -> HTTPStatus:
    """The status that tells of an error. 500: it is none of ours."""
    if isinstance(error, HTTPError):
        return HTTPStatus(error.status_code)
    kinds = type(error).__mro__ if error is not None else ()
    return next((STATUS_OF[kind] for kind in kinds if kind in STATUS_OF), HTTPStatus.INTERNAL_SERVER_ERROR)


def reason_of(error: BaseException | None) -> str:
    """What may be told of an error: never the inside of one that is not ours."""
    if isinstance(error, HTTPError):
        return error.log_message or error.reason or HTTPStatus(error.status_code).phrase
    return error.message if isinstance(error, OrchestratorError) else "something went wrong; the log says more"


class Handler(BaseHandler):  # type: ignore[misc]
    """One of ours."""

    site: Site

    def initialize(self, site: Site, **more: Any) -> None:
        self.site = site

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        for name, value in SAFE_HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        if not self.current_user:
            raise HTTPError(HTTPStatus.UNAUTHORIZED, "log in first")
        if self.site.read_only and self.request.method in WRITES:
            raise HTTPError(HTTPStatus.FORBIDDEN, "these pages are read-only: Flower was started with --read-only")

    def check_xsrf_cookie(self) -> None:
        """The door has looked at where the request comes from. Whoever sends a cookie also proves that it is read."""
        given = self.request.headers.get(CSRF_HEADER)
        if not self.request.cookies and given:
            return
        if given:
            self.request.headers["X-Csrftoken"] = given  # the name that Tornado looks for
        try:
            RequestHandler.check_xsrf_cookie(self)
        except HTTPError:
            value = "the value of the cookie _xsrf" if self.request.cookies else "any text"
            message = f"a change needs the header {CSRF_HEADER}, with {value}; open the page again if this came from it"
            raise HTTPError(HTTPStatus.FORBIDDEN, message) from None

    async def ask(self, call: Callable[Concatenate[Client, P], T], *args: P.args, **options: P.kwargs) -> T:
        """Run a function of the client, each call of which has its deadline, away from the event loop."""

        def work() -> T:
            return call(self.site.client, *args, **options)

        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    @property
    def threads(self) -> Executor:
        """Where its functions run."""
        return self.site.pool

    @property
    def base(self) -> str:
        """The path of the list of runs, behind which all of ours lies."""
        return str(self.reverse_url("workflows"))

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if status_of(error) is HTTPStatus.INTERNAL_SERVER_ERROR:  # otherwise the answer says it
            super().log_exception(kind, error, trace)


class Page(Handler):
    """A page that the server renders. `tab` is the entry of the navigation that it belongs to."""

    tab = "Runs"

    def compute_etag(self) -> None:
        """A page is never kept, and its token against cross-site requests is written in another way each time."""

    def get_template_path(self) -> str:
        return str(HERE / "templates")

    def create_template_loader(self, template_path: str) -> BaseLoader:
        return Loader(template_path, whitespace="oneline")

    def show(self, template: str, **values: Any) -> None:
        """Render a template; what it can always use is named here."""
        token = self.xsrf_token
        RequestHandler.render(
            self, template, csrf=token.decode(), base=self.base, asset=self.asset, tab=self.tab,
            navigation=NAVIGATION, flower=self.reverse_url("main"), task=self.task_link,
            part=lambda text: quote(text, safe=""),
            read_only=self.site.read_only, **values,
        )  # fmt: skip

    def asset(self, name: str) -> str:
        """The address of a static file of ours, which changes with its content."""
        version = StaticFileHandler.get_content_version(str(HERE / "static" / name))
        return f"{self.base}/static/{name}?v={version[:16]}"

    def task_link(self, run_id: str, step_id: str) -> str:
        """Flower's own page of a step's Celery task."""
        return str(self.reverse_url("task", f"{run_id}:{step_id}"))

    def write_error(self, status_code: int, **options: Any) -> None:
        error = options.get("exc_info", (None, None))[1]
        status = status_of(error) if error else HTTPStatus(status_code)
        self.set_status(status)
        self.show("error.html", status=status, reason=reason_of(error) if error else status.phrase)


class Asset(StaticFileHandler):
    """A file of static/. Its address holds a digest of it, so that a browser may keep it; a module that another one
    imports has none, so the browser asks whether it is still the same."""

    def set_extra_headers(self, path: str) -> None:
        self.clear_header("Server")
        if "v" not in self.request.arguments:
            self.set_header("Cache-Control", "no-cache")
        for name, value in SAFE_HEADERS.items():
            self.set_header(name, value)
