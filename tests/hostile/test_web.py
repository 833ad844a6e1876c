"""What a Flower with our pages answers to those who should not ask; and what a terminal is shown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import flower.urls
import pytest
from flower.views.auth import is_safe_redirect
from playwright.sync_api import expect

from orchestrator import Settings
from orchestrator.web.install import install
from orchestrator.web.site import Site
from tests.acceptance.browser import Browser, kept_link
from tests.acceptance.browser import flower as started
from tests.acceptance.project import Project
from tests.acceptance.screen import Screen
from tests.acceptance.team import team
from tests.hostile.cases import Case
from tests.hostile.routes import CHANGES, CONTROLS, RULES
from tests.web.browsing import Window, chromium
from tests.web.browsing import flower as shown

API = "/workflows/api"
WAITS = "name: asks\nsteps:\n  - {id: sign, wait: {signal: approval}}\n"
EVIL = (
    '<script>fetch("/api/runs",{method:"POST"})</script>', '"><svg onload=1>', "javascript:alert(1)", "</textarea>",
    "[x](javascript:alert(1)) ![x](x\" onerror=1) `</code><script>1</script>`",
)  # fmt: skip


def sample(pattern: str) -> str:
    """An address that the pattern of a route takes."""
    return re.sub(r"\([^)]*\)|\.\*", "x", pattern).replace("\\", "").rstrip("?")


# --- routes -----------------------------------------------------------------------------------------------------------


def test_every_route_has_a_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flower.urls, "handlers", list(flower.urls.handlers))
    monkeypatch.setattr(flower.urls, "settings", dict(flower.urls.settings))
    site = Site(Settings(home=tmp_path))
    install(site)
    site.close()
    patterns = {
        (entry[0] if isinstance(entry, tuple) else entry.regex.pattern).rstrip("$") for entry in flower.urls.handlers
    }
    assert patterns == set(RULES)


@pytest.mark.hostile("W-05")
@pytest.mark.parametrize("pattern", RULES)
def test_no_route_opens_without_a_session(case: Case, stranger: Browser, pattern: str) -> None:
    path = sample(pattern)
    path = path if path.startswith("/") else f"/{path}"
    spelled = (path, f"/{path}", f"/.{path}", f"{path};x", path.replace("/", "/%2e/", 1), f"{path}/configs",
               f"{path}?token=x", path.upper(), f"{path}%00", f"/workflows/static/..{path}")  # fmt: skip
    methods = [(method, "") for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")]
    for way in spelled:
        for method, override in (*methods, ("GET", "DELETE"), ("POST", "GET")):
            reply = stranger.send(method, way, None, X_HTTP_Method_Override=override)
            assert reply.status == 403, (method, way)
            assert "set-cookie" not in reply.headers
            assert method == "HEAD" or "flower.url" in reply.text


@pytest.mark.parametrize("pattern", [pattern for pattern, rule in RULES.items() if rule in (CHANGES, CONTROLS)])
def test_no_route_changes_anything_without_the_token_of_a_page_and_none_by_another_method(
    inside: Browser, pattern: str
) -> None:
    path = sample(pattern)
    controls = RULES[pattern] == CONTROLS
    for token in ("", "wrong"):
        assert inside.post(path, {}, X_CSRF_Token=token).status == 403
    assert not controls or inside.post(path, {}).status == 403, "not even with it"
    for override in ("POST", "DELETE"):
        assert inside.get(path, X_HTTP_Method_Override=override).status in (200, 403, 404, 405)
    assert inside.get(f"{API}/runs").json["runs"] == []


def test_the_logout_of_flower_and_its_health_are_behind_the_door_too(stranger: Browser, inside: Browser) -> None:
    for path in ("/healthcheck", "/logout", "/login"):
        assert stranger.get(path).status == 403
    assert inside.get("/healthcheck").status == 200


# --- other sites ------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("W-03")
def test_another_name_and_another_origin_are_refused(case: Case, inside: Browser) -> None:
    hosts = (
        "evil.example", "rebind.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example:5555",
        "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]x", " ",
    )  # fmt: skip
    for host in hosts:
        for path in ("/workflows", "/", f"{API}/runs", "/metrics"):
            reply = inside.send("GET", path, None, Host=host)
            assert reply.status in (400, 403), host
            assert "<html" not in reply.text
    for origin in ("null", "http://evil.example", "http://localhost", inside.origin + "0", "file://"):
        for method in ("GET", "POST"):
            reply = inside.send(method, f"{API}/runs", b"{}", Origin=origin, X_CSRF_Token=inside.cookies["_xsrf"])
            assert reply.status == 403, origin


@pytest.mark.hostile("W-04")
def test_no_other_origin_may_read_an_answer(case: Case, stranger: Browser, inside: Browser) -> None:
    for browser in (stranger, inside):
        for path in ("/workflows", f"{API}/runs", "/", "/api/tasks", "/metrics", "/workflows/static/site.css", "/x"):
            for method in ("GET", "OPTIONS"):
                for origin in ("http://evil.example", "null", browser.origin):
                    headers = browser.send(
                        method, path, None, Origin=origin, Access_Control_Request_Method="POST"
                    ).headers
                    assert not [name for name in headers if name.startswith("access-control-")]


# --- the token --------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("W-07")
def test_a_token_in_an_address_is_that_of_a_link_once_and_nothing_else(
    case: Case, project: Project, inside: Browser, tmp_path: Path
) -> None:
    link = kept_link(project)
    token = parse_qs(urlsplit(link).query)["token"][0]
    secret = next(value for name, value in inside.cookies.items() if name.startswith("orchestrator_"))
    xsrf = inside.cookies["_xsrf"]
    for given in (secret, xsrf, "", token[:-1], token + "x"):
        assert Browser(link).get(f"{API}/runs?token={given}").status == 403, "a session is a cookie"
    refused = Browser(link).post(f"{API}/runs?token={token}", {"definition": WAITS}, X_CSRF_Token="any")
    assert refused.status == 403, "no change by a token"
    opened = Browser(link).get(f"/workflows?token={token}")
    assert opened.status == 302
    assert opened.headers["location"] == "/workflows", "it is taken out of the address"
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in re.split("[;,]", opened.headers["set-cookie"])}
    assert opened.headers["referrer-policy"] == "no-referrer"
    assert Browser(link).get(f"/workflows?token={token}").status == 403, "once"

    other = Project(tmp_path)
    try:
        with started(other) as elsewhere:
            assert parse_qs(urlsplit(elsewhere.link).query)["token"][0] != token
            name = f"orchestrator_{urlsplit(elsewhere.link).port}"
            assert elsewhere.get("/workflows", Cookie=f"{name}={secret}").status == 403, "nor with another's session"
    finally:
        other.close()


@pytest.mark.hostile("W-08")
def test_nobody_is_sent_to_another_site(case: Case, project: Project, inside: Browser) -> None:
    elsewhere = ("//evil.example", "/\\evil.example", "javascript:1", "http://evil.example", "\\\\evil.example")
    for address in elsewhere:
        query = urlsplit(kept_link(project)).query
        assert Browser(inside.origin).get(f"/?next={address}&{query}").headers["location"] == "/"
        assert not is_safe_redirect(address), "Flower's own login"
    for path in ("//evil.example/", "/\\evil.example", "//evil.example/%2e%2e"):
        query = urlsplit(kept_link(project)).query
        to = Browser(inside.origin).get(f"{path}?{query}").headers["location"]
        assert re.match(r"/[^/\\]", to), to
    for address in elsewhere:
        reply = inside.get(f"/workflows?next={address}")
        assert (reply.status, reply.headers.get("location")) == (200, None)


@pytest.mark.hostile("W-09")
def test_a_parameter_that_makes_no_sense_is_named(case: Case, inside: Browser) -> None:
    for query, name in (
        ("page=-1", "page"), ("limit=1000000000", "limit"), ("limit=1001", "limit"), ("limit=0", "limit"),
        ("limit=-1", "limit"), ("limit=1e3", "limit"), ("sort=__class__", "sort"), ("status=%27%20OR%201=1", "status"),
        ("after=%0d%0aX:%20y", "after"),
    ):  # fmt: skip
        for path in ("/runs", "/messages"):
            reply = inside.get(f"{API}{path}?{query}")
            assert reply.status == 400, (path, query, reply.text)
            assert name in {found["path"] for found in reply.json["errors"]}
            assert "x" not in reply.headers
    assert inside.get(f"{API}/runs?search=%27%22%3B--&workflow=%27%22&limit=1000").json["runs"] == []
    for path in (f"{API}/runs/a%0d%0aX:%20y", "/workflows/a%0d%0aX:%20y", "/workflows/messages/a%0d%0aX:%20y",
                 f"{API}/runs/..%2f..%2fetc"):  # fmt: skip
        reply = inside.get(path)
        assert reply.status == 404, path
        assert "x" not in reply.headers


# --- what others wrote ------------------------------------------------------------------------------------------------


@pytest.mark.hostile("W-01")
def test_what_others_wrote_is_shown_as_text(case: Case, tmp_path: Path) -> None:
    with team(tmp_path) as crew, chromium() as browser:
        crew.start_worker("hand", "ear")
        run = crew.run(
            """
            description: ">-\\n  DESCRIPTION"
            inputs: {text: {}}
            steps:
              - {id: a, agent: hand, task: echo, with: {value: "${{ inputs.text }}"}}
              - {id: b, agent: hand, task: fail, with: {message: "${{ inputs.text[0] }}"}}
            """.replace("DESCRIPTION", EVIL[0].replace('"', '\\"')),
            {"text": list(EVIL)},
        )
        message = crew.client.send("ear", {"content": " ".join(EVIL)}, sender="operator")
        with shown(crew) as link:
            window = Window(browser, link)
            window.page.goto(link)
            for path in ("/workflows", "/workflows/messages", f"/workflows/messages/{message.message_id}",
                         "/workflows/handoffs", "/workflows/agents"):  # fmt: skip
                window.open(path)
            page = window.open_run(run.id)
            expect(page.locator("#error-text")).to_contain_text(EVIL[0])
            page = window.open(f"/workflows/{run.id}#step=a")
            expect(page.locator("#step pre[aria-label=Output]")).to_contain_text("</textarea>")
            assert not page.locator("svg[onload], img[onerror], a[href^=javascript]").count()
            assert window.complaints == [], "no report of the policy"
            assert all(asked.startswith(window.origin) for asked in window.requests)
            window.close()


@pytest.mark.long
@pytest.mark.hostile("W-13")
def test_a_terminal_is_shown_signs_and_no_commands(case: Case, tmp_path: Path) -> None:
    project = Project(tmp_path)
    link = "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\"
    nasty = f"\x1b[2J\x1b]0;title\x07{link}\r\x9b31m\u202e" + "z" * 1_000_000
    try:
        project.agents.write_text(project.agents.read_text() + (
            "\n@echo.task\ndef shout() -> dict:\n    return {'said': open('nasty.txt', newline='').read()}\n"
            "\n@echo.task\ndef cry() -> dict:\n    raise ValueError(open('nasty.txt', newline='').read())\n"
        ))  # fmt: skip
        (tmp_path / "nasty.txt").write_text(nasty, newline="")
        (tmp_path / "nasty.yaml").write_text(
            "name: nasty\nsteps:\n  - {id: a, agent: echo, task: shout}\n  - {id: b, agent: echo, task: cry}\n"
        )
        run_id = project.json("run", "nasty.yaml", code=1)["run_id"]
        project.call("send", "echo", nasty[:1000])
        assert project.json("show", run_id)["steps"]["a"]["output"] == {"said": nasty}, "programs get what was written"
        for words in (("show", run_id), ("events", run_id), ("runs",), ("logs", run_id), ("inbox", "echo", "--peek"),
                      ("run", "nasty.yaml")):  # fmt: skip
            done = project.call(*words)
            told = done.stdout + done.stderr
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", told), words
        screen = Screen(project, width=100, height=30)
        try:
            screen.start("run", "nasty.yaml")
            lines = screen.wait_for("failed")
            assert max(map(len, lines)) <= 100
            assert not [line for line in lines if "zzz" * 20 in line and len(line) > 100]
        finally:
            screen.close()
    finally:
        project.close()
