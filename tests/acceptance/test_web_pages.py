"""The pages of a running Flower, with real workers: what they show, what they escape, where they lead."""

from __future__ import annotations

import html
import re
from ast import literal_eval
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.browser import Browser
from tests.acceptance.project import Project
from tests.acceptance.test_cli_up import Up
from tests.waiting import wait_until

EVIL = """<script>alert(1)</script>'"><img src=x onerror=alert(2)>{{ 7 * 7 }}{% raw x %}"""
HEARS = """
@slow.on_message
def hear(message, ctx):
    raise Fatal("no luck with " + (message.text or ""))
"""


class Seen(HTMLParser):
    """The tags of a page, its text, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href" and tag == "a" and value]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs), attrs

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    project = Project(tmp_path_factory.mktemp("pages"))
    project.agents.write_text(
        project.agents.read_text().replace("import Agent, Context", "import Agent, Context, Fatal") + HEARS
    )
    (project.folder / "chain.yaml").write_text(
        "name: chain\nsteps:\n"
        + "".join(f"  - {{id: s{n}, agent: echo, task: say, with: {{text: x}}}}\n" for n in "12")
    )
    started = Up(project)
    yield started
    project.close()


@pytest.fixture(scope="module")
def browser(up: Up) -> Browser:
    return Browser(up.said["flower"]).enter()


def see(browser: Browser, path: str, status: int = 200) -> Seen:
    reply = browser.get(path)
    assert reply.status == status, reply.text
    assert "alert(1)</script>" not in reply.text
    assert "<img" not in reply.text.replace("&lt;img", "")
    return Seen(reply.text)


def test_empty_pages_say_what_to_do(browser: Browser) -> None:
    assert "orchestrator run" in see(browser, "/workflows").words
    assert "orchestrator send" in see(browser, "/workflows/messages").words
    assert "orchestrator handoff" in see(browser, "/workflows/handoffs").words
    assert "No dead letter." in see(browser, "/workflows/messages?status=dead-letters").words


def test_every_page_of_flower_has_an_entry_for_workflows(browser: Browser) -> None:
    for path in ("/", "/tasks", "/broker", "/nosuch"):
        assert "/workflows" in Seen(re.sub(r" (style|on\w+)=", " x-", browser.get(path).text)).links, path


def test_our_pages_lead_to_each_other_and_to_flower(browser: Browser) -> None:
    for path in ("/workflows", "/workflows/agents", "/workflows/messages", "/workflows/handoffs"):
        seen = see(browser, path)
        for link in ("/workflows", "/workflows/agents", "/workflows/messages", "/workflows/handoffs", "/"):
            assert link in seen.links, path
        assert f'href="{path}" aria-current="page"' in browser.get(path).text


def test_the_list_of_runs_shows_them_with_their_state_and_time(up: Up, browser: Browser) -> None:
    good = up.project.json("run", "hello.yaml")["run_id"]
    bad = up.project.json("run", "fails.yaml", code=1)["run_id"]
    page = browser.get("/workflows").text
    assert page.index(bad) < page.index(good), "the newest first"
    seen = see(browser, "/workflows")
    assert f"/workflows/{good}" in seen.links
    assert "ValueError: no [red]luck[/red]" in seen.words
    failed = browser.get("/workflows?status=failed").text
    assert (bad in failed, good in failed) == (True, False)
    found = browser.get(f"/workflows?search={good[:12]}&workflow=hello").text
    assert good in found
    assert "No run fits here." in see(browser, "/workflows?search=nothing+like+it").words
    assert "no status 'faild'" in see(browser, "/workflows?status=faild", 400).words


def test_the_list_has_pages(up: Up, browser: Browser) -> None:
    token = {"X_CSRF_Token": browser.cookies["_xsrf"]}
    waits = {"definition": "name: many\nsteps: [{id: a, wait: {signal: go}}]"}
    ids = [browser.post("/workflows/api/runs", waits, **token).json["run_id"] for _ in range(60)]
    found: list[str] = []
    path: str | None = "/workflows?workflow=many"
    while path:
        text = browser.get(path).text
        found += re.findall(r'data-run="(\w+)"', text)
        older = re.search(r'href="([^"]*)" rel="next"', text)
        path = html.unescape(older[1]) if older else None
    assert found == ids[::-1]


@pytest.mark.parametrize("path", ["/workflows?search={}", "/workflows?workflow={}", "/workflows/agents?capability={}",
                                  "/workflows/messages?agent={}", "/workflows/threads/{}"])  # fmt: skip
def test_what_was_typed_is_shown_as_it_was_typed(browser: Browser, path: str) -> None:
    reply = browser.get(path.format(quote(EVIL, safe="")))
    assert reply.status == 200
    assert html.escape(EVIL, quote=False).partition("'")[0] in reply.text.replace("&#x27;", "'").replace("&#39;", "'")
    assert "49" not in Seen(reply.text).words, "nothing is evaluated"
    assert "img" not in Seen(reply.text).tags


@pytest.mark.parametrize("path", ["/workflows?status={}", "/workflows/messages?status={}", "/workflows/{}",
                                  "/workflows/messages/{}", "/workflows/handoffs?status={}"])  # fmt: skip
def test_errors_are_shown_as_text_too(browser: Browser, path: str) -> None:
    reply = browser.get(path.format(quote(EVIL.replace("/", ""), safe="")))
    assert reply.status in (400, 404)
    assert "alert(1)" in Seen(reply.text).words
    assert not {"img"} & set(Seen(reply.text).tags)


def test_a_run_leads_to_its_tasks_in_flower_and_they_lead_back(up: Up, browser: Browser) -> None:
    run_id = up.project.json("run", "chain.yaml")["run_id"]
    assert run_id in see(browser, f"/workflows/{run_id}").words

    def task() -> Any:
        found = browser.get("/api/tasks?limit=100").json
        return found.get(f"{run_id}:s2") if found.get(f"{run_id}:s2", {}).get("state") == "SUCCESS" else None

    known = wait_until(task, what="Flower to hear of the step", timeout_s=20)
    assert known["name"] == "echo.say"
    ids = literal_eval(known["args"])  # a tuple, or a list where Celery sends the second step of a chain (RabbitMQ)
    assert [*ids] == [run_id, "s2"], "ids, never what the step is given"
    assert (known["kwargs"], known["result"]) == ("{}", "None")
    assert known["root_id"] == f"{run_id}:s1"
    assert known["parent_id"] == f"{run_id}:s1"
    page = browser.get(f"/task/{run_id}:s2")
    assert page.status == 200
    assert f'href="/workflows/{run_id}"' in page.text
    assert "echo.say" in page.text
    assert "Hello" not in page.text


def test_agents_are_shown_with_their_queues_and_workers(up: Up, browser: Browser) -> None:
    seen = see(browser, "/workflows/agents")
    assert all(word in seen.words for word in ("echo", "slow", "online", "Emergency", "Low", "talking"))
    assert "/workflows/messages?agent=echo" in seen.links
    [worker] = next(agent["workers"] for agent in up.project.json("agents") if agent["name"] == "echo")
    assert any(link.startswith("/worker/") and worker.split("@")[0] in link for link in seen.links)
    able = browser.get("/workflows/agents?capability=talking").text
    assert ('id="agent-echo"' in able, 'id="agent-slow"' in able) == (True, False)


def test_a_message_is_shown_with_its_attempts_and_a_dead_one_is_replayed_by_a_form(up: Up, browser: Browser) -> None:
    sent = up.project.call("send", "slow", EVIL, "--thread", "th/1").stdout.strip()
    wait_until(
        lambda: up.project.json("message", sent)["status"] in ("failed", "dead"), what="the dead letter", timeout_s=20
    )
    listed = see(browser, "/workflows/messages?agent=slow")
    assert "dead letter" in listed.words
    assert f"/workflows/messages/{sent}" in listed.links
    assert "/workflows/threads/th%2F1" in listed.links
    assert sent in see(browser, "/workflows/threads/th%2F1").words
    page = see(browser, f"/workflows/messages/{sent}")
    assert "alert(1)" in page.words
    assert "Fatal: no luck" in page.words
    assert f"/task/message%3A{sent}" in page.links

    token = re.search(r'name="_xsrf" value="([^"]+)"', browser.get(f"/workflows/messages/{sent}").text)
    assert token
    answer = browser.submit(f"/workflows/messages/{sent}/replay", {"_xsrf": token[1]})
    assert answer.status == 303
    assert up.project.json("message", sent)["replayed_as"] == answer.headers["location"].rpartition("/")[2]
    assert answer.headers["location"] in see(browser, f"/workflows/messages/{sent}").links
    again = browser.submit(f"/workflows/messages/{sent}/replay", {"_xsrf": token[1]})
    assert (again.status, "was replayed as" in again.text) == (409, True)


def test_a_handoff_is_shown_with_its_custody(up: Up, browser: Browser) -> None:
    task = up.project.json("handoff", "echo", "--task", "say", "--with", '{"text": "x"}', "--wait")["task_id"]
    assert f"/workflows/handoffs/{task}" in see(browser, "/workflows/handoffs?status=completed").links
    page = see(browser, f"/workflows/handoffs/{task}")
    assert all(word in page.words for word in ("offered", "completed", "operator", "working_directory"))
    assert browser.get(f"/workflows/messages/{task}").headers["location"] == f"/workflows/handoffs/{task}"
    message = up.project.call("send", "slow", "x").stdout.strip()
    assert browser.get(f"/workflows/handoffs/{message}").headers["location"] == f"/workflows/messages/{message}"


def test_static_files_are_ours_alone_and_may_be_kept(browser: Browser) -> None:
    [address] = re.findall(r'href="(/workflows/static/site\.css[^"]*)"', browser.get("/workflows").text)
    reply = browser.get(address)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/css")
    assert "max-age=315360000" in reply.headers["cache-control"]
    for path in ("../handlers.py", "%2e%2e/handlers.py", "..%2fhandlers.py", "/etc/passwd", ""):
        assert browser.get(f"/workflows/static/{path}").status in (403, 404), path
