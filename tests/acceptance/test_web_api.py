"""The JSON API of a running Flower, with real workers: every operation once, and what it answers fits its schema."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from orchestrator.store import embedded
from tests.acceptance.browser import Browser, Reply
from tests.acceptance.project import Project
from tests.acceptance.test_cli_up import Up
from tests.waiting import wait_until

API = "/workflows/api"
HELLO = {"file": "hello.yaml", "inputs": {"name": "Ada"}}
ASKS = """
name: asks
steps:
  - {id: sign, wait: {signal: approval}}
  - {id: tell, agent: echo, task: say, with: {text: "${{ steps.sign.output }}"}}
outputs: {text: "${{ steps.tell.output.text }}"}
"""
HEARS = """
@slow.on_message
def hear(message, ctx):
    if message.text == "fail":
        raise Fatal("no luck")
    return "heard " + (message.text or "nothing")
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    project = Project(tmp_path_factory.mktemp("api"))
    project.agents.write_text(
        project.agents.read_text().replace("import Agent, Context", "import Agent, Context, Fatal") + HEARS
    )
    started = Up(project)
    yield started
    project.close()


@pytest.fixture(scope="module")
def browser(up: Up) -> Browser:
    return Browser(up.said["flower"]).enter()


@pytest.fixture(scope="module")
def described(browser: Browser) -> Any:
    return browser.get(f"{API}/openapi.json").json


@pytest.fixture(scope="module")
def fits(described: Any) -> Any:
    """`fits(reply, name)`: the reply is what the document says of that schema. Returns it."""

    def check(reply: Reply, name: str) -> Any:
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(reply.json)
        return reply.json

    return check


def submit(browser: Browser, document: dict[str, Any]) -> str:
    reply = browser.post(f"{API}/runs", document)
    assert reply.status == 201, reply.text
    return str(reply.json["run_id"])


def wait_for(browser: Browser, run_id: str, status: str = "succeeded") -> Any:
    return wait_until(
        lambda: (run := browser.get(f"{API}/runs/{run_id}").json)["status"] == status and run,
        what=f"{run_id} {status}", timeout_s=20,
    )  # fmt: skip


def waits(browser: Browser) -> str:
    """A run whose step `sign` waits for its signal."""
    run_id = submit(browser, {"definition": ASKS})
    wait_until(
        lambda: browser.get(f"{API}/runs/{run_id}").json["steps"]["sign"]["status"] == "waiting",
        what="sign to wait", timeout_s=10,
    )  # fmt: skip
    return run_id


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_file_of_the_folder_is_submitted_and_shown(browser: Browser, fits: Any) -> None:
    reply = browser.post(f"{API}/runs", HELLO | {"priority": "high", "idempotency_key": "once"})
    run = fits(reply, "RunSummary")
    assert (reply.status, run["workflow"], run["priority"]) == (201, "hello", "high")
    assert browser.post(f"{API}/runs", HELLO | {"idempotency_key": "once"}).json["run_id"] == run["run_id"]
    wait_for(browser, run["run_id"])
    whole = fits(browser.get(f"{API}/runs/{run['run_id']}"), "Run")
    assert whole["outputs"] == {"text": "Hello, Ada!"}


def test_runs_are_listed_filtered_and_paged(browser: Browser, fits: Any) -> None:
    ids = [submit(browser, HELLO) for _ in range(3)]
    waiting = waits(browser)
    for run_id in ids:
        wait_for(browser, run_id)
    first = fits(browser.get(f"{API}/runs?workflow=hello&limit=2"), "Runs")
    assert [run["run_id"] for run in first["runs"]] == ids[:0:-1]
    second = fits(browser.get(f"{API}/runs?workflow=hello&limit=2&after={first['next']}"), "Runs")
    assert second["runs"][0]["run_id"] == ids[0]
    assert first["runs"][0]["progress"] == 1.0
    [running] = browser.get(f"{API}/runs?status=running&search={waiting}").json["runs"]
    assert (running["run_id"], running["progress"]) == (waiting, 0.0)
    assert browser.get(f"{API}/runs?search=ASK&status=running").json["runs"][0]["workflow"] == "asks"


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({}, "", "needs one of 'definition', 'file', and only one"),
        ({"file": "hello.yaml", "definition": "x"}, "", "needs one of"),
        ({"file": "hello.yaml", "inputs": []}, "inputs", "is no object"),
        ({"file": "hello.yaml", "colour": 1}, "", "has unknown fields: colour"),
        ({"file": "hello.yaml", "priority": "hight"}, "priority", "is none of low"),
        ({"file": "hello.yaml", "inputs": {"nmae": "x"}}, "nmae", "did you mean"),
        ({"file": "../state/flower.url"}, "file", "is no .yaml file inside the folder"),
        ({"file": "/etc/hostname"}, "file", "is no .yaml file inside the folder"),
        ({"file": "none.yaml"}, "", "no such file"),
        ({"definition": "name: x\nsteps: [{id: a, agnet: echo}]"}, "steps.0.agnet", "did you mean"),
        ({"definition": "name: x\nsteps: [{id: a, agent: nobody}]"}, "steps.0.agent", "nobody"),
        ({"definition": "name: x\nsteps: [{id: a, workflow: hello.yaml}]"}, "steps.0.workflow", "cannot run a file"),
        ({"definition": "name: x\nsteps: [{parallel: [{id: a, workflow: /etc/passwd}]}]"},
         "steps.0.parallel.0.workflow", "cannot run a file"),
        ({"definition": "name: x\nsteps: [{id: a, foreach: [1], steps: [{id: b, workflow: c.yaml}]}]"},
         "steps.0.steps.0.workflow", "cannot run a file"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(browser: Browser, fits: Any, body: Any, path: str, reason: str) -> None:
    reply = browser.post(f"{API}/runs", body)
    problems = fits(reply, "Problems")["errors"]
    assert reply.status == 400
    assert [problem for problem in problems if reason in problem["message"] and path in problem["path"]], problems


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"file": NaN}', b"\xff", b'"x"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(browser: Browser, body: bytes) -> None:
    token = browser.cookies["_xsrf"]
    reply = browser.send("POST", f"{API}/runs", body, X_CSRF_Token=token)
    assert (reply.status, list(reply.json)) == (400, ["errors"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs", '{"file": "\\ud800.yaml"}'), ("/runs", '{"file": "a\\u0000.yaml"}'),
        ("/runs", '{"definition": "x", "idempotency_key": "\\ud800"}'),
        ("/runs", '{"file": "a.yaml", "file": "b.yaml"}'),
        ("/runs", '{"file": "asks.yaml", "idempotency_key": "a\\nb"}'),
        ("/messages", '{"to": "capability:\\ud800", "content": 1}'),
        ("/runs/x/approve", '{"step": "\\ud800"}'), ("/runs/x/reject", '{"step": "x", "reason": "\\udc00"}'),
    ],
)  # fmt: skip
def test_a_text_that_is_none_is_refused(browser: Browser, path: str, body: str) -> None:
    token = browser.cookies["_xsrf"]
    reply = browser.send("POST", API + path, body.encode(), X_CSRF_Token=token)
    assert (reply.status, list(reply.json)) == (400, ["errors"]), reply.text


def test_a_follower_who_asks_for_no_place_disturbs_nobody(browser: Browser) -> None:
    run_id = waits(browser)
    with browser.stream(f"{API}/runs/{run_id}/events") as events:
        next(events)
        for place in ("%D9%A3", "1-", "x", "1-2-3", "9" * 16):
            assert browser.get(f"{API}/runs/{run_id}/events?after={place}").status == 400, place
        assert browser.get(f"{API}/runs?limit=%D9%A3").status == 400
        assert browser.get(f"{API}/messages?agent=%00&status=x").status == 400
        browser.post(f"{API}/runs/{run_id}/approve", {"step": "sign", "data": "x"})
        assert any(event.get("event") == "run.succeeded" for event in events)


def test_a_body_has_a_limit(browser: Browser) -> None:
    token = browser.cookies["_xsrf"]
    assert browser.send("POST", f"{API}/runs", b" " * (5 << 20), X_CSRF_Token=token).status == 413


def test_what_is_not_there_is_404_and_what_does_not_go_is_405(browser: Browser, fits: Any) -> None:
    for path in ("/runs/nosuch", "/runs/nosuch/events", "/messages/nosuch", "/handoffs/nosuch", "/nosuch"):
        reply = browser.get(API + path)
        assert reply.status == 404, path
        assert fits(reply, "Refusal")["error"]["message"]
    for path in ("/runs/nosuch/cancel", "/runs/nosuch/rerun", "/dead-letters/nosuch/replay"):
        assert browser.post(API + path, {}).status == 404, path
    refused = browser.send("DELETE", f"{API}/runs", None, X_CSRF_Token=browser.cookies["_xsrf"])
    assert refused.status == 405
    refused = browser.post(f"{API}/agents", {})
    assert (refused.status, refused.headers["allow"]) == (405, "GET")
    assert [problem["path"] for problem in browser.get(f"{API}/runs?limit=0&status=odd&x=1").json["errors"]] == [
        "limit", "status", "x",
    ]  # fmt: skip


# --- steering -------------------------------------------------------------------------------------------------------


def test_a_run_is_paused_resumed_and_cancelled(browser: Browser, fits: Any) -> None:
    run_id = waits(browser)
    steps = (("pause", True, "paused"), ("pause", False, "paused"), ("resume", True, "running"))
    for what, changed, status in (*steps, ("cancel", True, "cancelled")):
        answer = fits(browser.post(f"{API}/runs/{run_id}/{what}", {}), "ChangedRun")
        assert (answer["changed"], answer["status"]) == (changed, status), what
    over = browser.post(f"{API}/runs/{run_id}/pause", {})
    assert (over.status, fits(over, "Refusal")["error"]["type"]) == (409, "RunOver")
    assert browser.post(f"{API}/runs/{run_id}/cancel", {"now": True}).json["changed"] is False


def test_a_step_is_approved_with_data(browser: Browser, fits: Any) -> None:
    run_id = waits(browser)
    since = browser.get(f"{API}/runs/{run_id}").json["steps"]["sign"]["started_at"]
    for wrong, status in (("2026-02-01T00:00:00.000Z", 409), ("2026-02-31T00:00:00.000Z", 400), ("lately", 400)):
        reply = browser.post(f"{API}/runs/{run_id}/approve", {"step": "sign", "since": wrong})
        assert (reply.status, "since" in reply.text) == (status, True)
    body = {"step": "sign", "data": "yes, please", "since": since}
    fits(browser.post(f"{API}/runs/{run_id}/approve", body), "RunSummary")
    assert wait_for(browser, run_id)["outputs"] == {"text": "yes, please"}
    again = browser.post(f"{API}/runs/{run_id}/approve", {"step": "sign"})
    assert again.status == 409


def test_a_step_is_rejected_with_a_reason_and_the_run_is_run_again(browser: Browser, fits: Any) -> None:
    run_id = waits(browser)
    fits(browser.post(f"{API}/runs/{run_id}/reject", {"step": "sign", "reason": "not <b>yet</b>"}), "RunSummary")
    failed = wait_for(browser, run_id, "failed")
    assert failed["error"]["message"] == "not <b>yet</b>"
    unknown = browser.post(f"{API}/runs/{run_id}/rerun", {"from": "sing"})
    assert (unknown.status, "did you mean sign" in unknown.text) == (404, True)
    reply = browser.post(f"{API}/runs/{run_id}/rerun", {"patch": {"sign": "patched"}})
    again = fits(reply, "Rerun")
    assert (reply.status, again["rerun_of"], again["reused"], again["runs"]) == (201, run_id, ["sign"], ["tell"])
    assert wait_for(browser, again["run_id"])["outputs"] == {"text": "patched"}
    nothing = browser.post(f"{API}/runs/{again['run_id']}/rerun", {})
    assert (nothing.status, "name a step" in nothing.text) == (409, True)


def test_a_signal_reaches_who_waits_and_is_kept_otherwise(browser: Browser, fits: Any) -> None:
    run_id = waits(browser)
    kept = fits(browser.post(f"{API}/runs/{run_id}/signal", {"name": "later"}), "Signalled")
    assert (kept["reached"], kept["kept"]) == ([], True)
    told = fits(browser.post(f"{API}/runs/{run_id}/signal", {"name": "approval", "data": "now"}), "Signalled")
    assert (told["reached"], told["kept"]) == (["sign"], False)
    assert browser.post(f"{API}/runs/{run_id}/signal", {"name": "no such name"}).status == 400
    assert wait_for(browser, run_id)["outputs"] == {"text": "now"}


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_are_told_from_the_beginning_and_live_until_the_end(browser: Browser, described: Any) -> None:
    run_id = waits(browser)
    schema = {"$ref": "#/components/schemas/Event", "components": described["components"]}
    with browser.stream(f"{API}/runs/{run_id}/events") as events:
        found = []
        for event in events:
            if "retry" in event:
                continue
            found.append(event)
            Draft202012Validator(schema).validate(json.loads(event["data"]))
            if event["event"] == "step.waiting":
                browser.post(f"{API}/runs/{run_id}/approve", {"step": "sign", "data": "x"})
    names = [event["event"] for event in found]
    assert names[:3] == ["run.created", "run.started", "step.waiting"]
    assert names[-1] == "run.succeeded"
    assert [event["id"] for event in found] == sorted({event["id"] for event in found}, key=place)

    behind = found[2]["id"]
    with browser.stream(f"{API}/runs/{run_id}/events", Last_Event_ID=behind) as events:
        assert [event["id"] for event in events if "id" in event] == [event["id"] for event in found[3:]]
    assert browser.get(f"{API}/runs/{run_id}/events", Last_Event_ID=found[-1]["id"]).status == 204
    assert browser.get(f"{API}/runs/{run_id}/events", Last_Event_ID="odd").status == 400


def test_many_follow_and_each_has_every_event_once(browser: Browser) -> None:
    run_id = waits(browser)
    told: list[list[str]] = [[] for _ in range(12)]
    begun = threading.Barrier(len(told) + 1, timeout=20)

    def follow(found: list[str]) -> None:
        with browser.stream(f"{API}/runs/{run_id}/events") as events:
            for event in events:
                if "id" in event:
                    found.append(event["id"])
                if event.get("event") == "step.waiting":
                    begun.wait()

    threads = [threading.Thread(target=follow, args=(found,)) for found in told]
    for thread in threads:
        thread.start()
    begun.wait()
    browser.post(f"{API}/runs/{run_id}/approve", {"step": "sign", "data": "x"})
    for thread in threads:
        thread.join(20)
    assert told[0] == sorted(set(told[0]), key=place)
    assert all(found == told[0] for found in told)
    assert browser.get(f"{API}/agents").status == 200, "the followers have used up no thread"


def place(event_id: str) -> tuple[int, ...]:
    return tuple(map(int, event_id.split("-")))


# --- agents, messages, handoffs -------------------------------------------------------------------------------------


def test_agents_are_listed(browser: Browser, fits: Any) -> None:
    agents = {agent["name"]: agent for agent in fits(browser.get(f"{API}/agents"), "Agents")["agents"]}
    assert set(agents) == {"echo", "slow"}
    assert agents["echo"]["presence"] == "online"
    able = browser.get(f"{API}/agents?capability=talking").json["agents"]
    assert [agent["name"] for agent in able] == ["echo"]


def test_a_message_is_sent_found_and_answered(browser: Browser, fits: Any) -> None:
    body = {"to": "slow", "content": "hello", "type": "question", "priority": "urgent", "thread_id": "a thread/1"}
    reply = browser.post(f"{API}/messages", body)
    sent = fits(reply, "Message")
    assert (reply.status, sent["from_agent"], sent["recipient_state"]) == (201, "operator", "online")

    def answered() -> Any:
        found = browser.get(f"{API}/messages/{sent['message_id']}").json
        return found["status"] == "acknowledged" and found["reply"] and found

    message = wait_until(answered, what="the reply", timeout_s=20)
    thread = fits(browser.get(f"{API}/threads/a%20thread%2F1"), "Messages")["messages"]
    assert [one["body"]["content"] for one in thread] == ["hello", "heard hello"]
    assert thread[1]["message_id"] == message["reply"]
    listed = fits(browser.get(f"{API}/messages?agent=slow&limit=2"), "MessagePage")
    assert {one["message_id"] for one in listed["messages"]} == {message["message_id"], message["reply"]}
    assert sent["message_id"] in browser.get(f"{API}/messages?status=acknowledged").text


def test_messages_that_do_not_go_are_refused(browser: Browser) -> None:
    unknown = browser.post(f"{API}/messages", {"to": "slwo", "content": "x"})
    assert (unknown.status, "did you mean slow" in unknown.json["error"]["message"]) == (404, True)
    for body in ({"to": "slow"}, {"to": "slow", "content": ""}, {"to": "slow", "content": "x", "type": "odd"},
                 {"to": "slow", "content": "x", "ttl_s": 0}, {"to": "a b", "content": "x"}):  # fmt: skip
        assert browser.post(f"{API}/messages", body).status == 400, body


def test_a_dead_letter_is_listed_and_replayed_once(browser: Browser, fits: Any) -> None:
    sent = browser.post(f"{API}/messages", {"to": "slow", "content": "fail"}).json["message_id"]

    def dead() -> list[str]:
        found = fits(browser.get(f"{API}/dead-letters"), "Messages")["messages"]
        return [one["message_id"] for one in found]

    wait_until(lambda: sent in dead(), what="the dead letter", timeout_s=20)
    reply = browser.post(f"{API}/dead-letters/{sent}/replay", {})
    again = fits(reply, "Message")
    assert (reply.status, again["metadata"]["replay_of"]) == (201, sent)
    assert browser.post(f"{API}/dead-letters/{sent}/replay", {}).status == 409
    assert sent not in dead()


def test_handoffs_are_shown_with_their_custody(up: Up, browser: Browser, fits: Any) -> None:
    task = up.project.json("handoff", "echo", "--task", "say", "--with", '{"text": "x"}', "--wait")["task_id"]
    shown = fits(browser.get(f"{API}/handoffs/{task}"), "Handoff")
    assert (shown["status"], shown["custody"][0]["status"]) == ("completed", "offered")
    listed = fits(browser.get(f"{API}/handoffs?status=completed"), "Handoffs")["handoffs"]
    assert task in [one["task_id"] for one in listed]
    assert browser.get(f"{API}/handoffs?status=declined").json["handoffs"] == []


# --- the store is away ----------------------------------------------------------------------------------------------


def test_who_follows_a_run_hears_of_it_again_when_the_store_is_back(up: Up, browser: Browser) -> None:
    run_id = waits(browser)
    server = embedded.status(up.project.folder / "state").pid
    assert server
    with browser.stream(f"{API}/runs/{run_id}/events") as events:
        for event in events:
            if event.get("event") == "step.waiting":
                os.kill(server, signal.SIGKILL)
                wait_until(
                    lambda: embedded.status(up.project.folder / "state").pid not in (None, server),
                    what="another server", timeout_s=15,
                )  # fmt: skip
                wait_until(
                    lambda: browser.post(f"{API}/runs/{run_id}/approve", {"step": "sign"}).status != 503,
                    what="the approval", timeout_s=15,
                )  # fmt: skip
            last = event
    assert last["event"] in ("run.succeeded", "run.failed")


def test_a_frozen_store_is_503_within_the_deadline_and_blocks_nobody(up: Up, browser: Browser, fits: Any) -> None:
    server = embedded.status(up.project.folder / "state").pid
    assert server
    browser.get(f"{API}/runs")
    os.kill(server, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(4) as pool:
            began = time.monotonic()
            replies = [pool.submit(browser.get, f"{API}/runs") for _ in range(3)]
            page = pool.submit(browser.get, "/workflows")
            assert browser.get("/workflows/static/site.css").status == 200
            assert time.monotonic() - began < 2, "the event loop waits for nothing"
        for reply in replies:
            assert reply.result().status == 503
            assert fits(reply.result(), "Refusal")["error"]["type"] == "StoreUnavailable"
        assert (page.result().status, "does not answer" in page.result().text) == (503, True)
    finally:
        os.kill(server, signal.SIGCONT)
    wait_until(lambda: browser.get(f"{API}/runs").status == 200, what="the store", timeout_s=20)
