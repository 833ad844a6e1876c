"""Puts our handlers before Flower's, and an entry for them into its navigation. Nothing of Flower is copied."""

from __future__ import annotations

import re
from typing import Any

import flower.urls
from tornado.template import BaseLoader, Loader, Template
from tornado.web import url

from orchestrator.web.agent_pages import AgentsPage
from orchestrator.web.api.events import EventsHandler
from orchestrator.web.api.handler import ApiHandler
from orchestrator.web.api.openapi import ALL_ROUTES
from orchestrator.web.api.route import Route
from orchestrator.web.handlers import HERE, Asset
from orchestrator.web.handoff_pages import HandoffPage, HandoffsPage
from orchestrator.web.message_pages import MessagePage, MessagesPage, ReplayForm, ThreadPage
from orchestrator.web.metrics_page import MetricsPage
from orchestrator.web.run_handlers import RunDetails, RunsPage
from orchestrator.web.site import Site

_ENTRY = """<li class="nav-item">
          <a class="nav-link" href="{{ reverse_url('workflows') }}">Workflows</a>
        </li>
      </ul>"""
_BACK = """{% from orchestrator.store.routing import step_of %}{% set run, step = step_of(task.uuid) %}
    {% if step and run != "message" %}<p class="mb-0">
      Step {{ step }} of <a href="{{ reverse_url('workflow', run) }}">run {{ run }}</a></p>{% end %}
    {% if run == "message" %}<p class="mb-0">
      <a href="{{ reverse_url('message', step) }}">Message {{ step }}</a></p>{% end %}"""
#: template of Flower -> what is put in place of what, once
PATCHES = {
    "navbar.html": ("</ul>", _ENTRY),
    "task.html": (
        '<p class="page-eyebrow">Task details</p>',
        '<div><p class="page-eyebrow">Task details</p>' + _BACK + "</div>",
    ),
}


class PatchingLoader(Loader):
    """Flower's templates, two of them with a link to our pages. One that looks otherwise by now stays as it is."""

    def _create_template(self, name: str) -> Template:
        if name not in PATCHES:
            return super()._create_template(name)
        with open(f"{self.root}/{name}", encoding="utf-8") as file:
            return Template(file.read().replace(*PATCHES[name], 1), name=name, loader=self)


def _api(site: Site) -> list[Any]:
    """A handler for each path of the table of routes."""
    paths: dict[str, dict[str, Route]] = {}
    for route in ALL_ROUTES:
        paths.setdefault(route.path, {})[route.method] = route
    made = []
    for path, routes in paths.items():
        pattern = "/workflows/api" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace(".", r"\."))
        streams = any(route.run is None for route in routes.values())
        made.append(url(pattern, EventsHandler if streams else ApiHandler, {"site": site, "routes": routes}))
    return [*made, url(r"/workflows/api/.*", ApiHandler, {"site": site, "routes": {}})]


def handlers(site: Site) -> list[Any]:
    """All of ours, in the order in which they are asked."""
    about: dict[str, Any] = {"site": site}
    return [
        *_api(site),
        url(r"/workflows/static/(.*)", Asset, {"path": str(HERE / "static")}),
        url(r"/metrics", MetricsPage, about),
        url(r"/workflows", RunsPage, about, name="workflows"),
        url(r"/workflows/", RunsPage, about),
        url(r"/workflows/agents", AgentsPage, about),
        url(r"/workflows/messages", MessagesPage, about),
        url(r"/workflows/messages/([^/]+)", MessagePage, about, name="message"),
        url(r"/workflows/messages/([^/]+)/replay", ReplayForm, about),
        url(r"/workflows/threads/(.+)", ThreadPage, about),
        url(r"/workflows/handoffs", HandoffsPage, about),
        url(r"/workflows/handoffs/([^/]+)", HandoffPage, about),
        url(r"/workflows/([^/]+)", RunDetails, about, name="workflow"),
    ]


def install(site: Site) -> None:
    """For the Flower that this process is to become; before it is made."""
    flower.urls.handlers[:0] = handlers(site)
    loader: BaseLoader = PatchingLoader(flower.urls.settings["template_path"])
    flower.urls.settings["template_loader"] = loader
