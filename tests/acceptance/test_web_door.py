"""Who may open Flower and do what: the link, hosts, other sites, forms of strangers, read-only, and the logins."""

from __future__ import annotations

import re
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flower.urls import handlers as flower_handlers
from tornado.web import create_signed_value

from orchestrator import Settings
from orchestrator.web.api.openapi import ALL_ROUTES
from orchestrator.web.install import handlers
from orchestrator.web.site import Site
from tests.acceptance.browser import Browser, flower, kept_link
from tests.acceptance.project import Project

WAITS = "name: asks\nsteps:\n  - {id: sign, wait: {signal: approval}}\n"
PAGES = ("/workflows", "/workflows/agents", "/workflows/messages", "/workflows/handoffs")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("door"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def stranger(project: Project) -> Iterator[Browser]:
    """Somebody who has not opened the link of the Flower that runs; `link` is the one that was printed."""
    with flower(project) as made:
        yield made


@pytest.fixture(scope="module")
def inside(project: Project, stranger: Browser) -> Browser:
    """Somebody who has."""
    return Browser(kept_link(project)).enter()


def every_path(project: Project) -> set[str]:
    """A path for each route of the web application, Flower's own among them."""
    ours = handlers(Site(Settings(home=project.folder / "state")))
    patterns = [getattr(route, "regex", None) or re.compile(route[0]) for route in (*ours, *flower_handlers)]
    paths = {re.sub(r"\([^()]*\)", "x", pattern.pattern).rstrip("$?").replace("\\", "") for pattern in patterns}
    return {path for path in paths if path.startswith("/")}


def login(pair: str) -> str:
    return "Basic " + b64encode(pair.encode()).decode()


def submit(browser: Browser) -> str:
    """A run that waits."""
    reply = browser.post("/workflows/api/runs", {"definition": WAITS})
    assert reply.status == 201, reply.text
    return str(reply.json["run_id"])


# --- the link -------------------------------------------------------------------------------------------------------


def test_a_link_works_once_and_the_file_has_the_next_one(project: Project, stranger: Browser) -> None:
    first = kept_link(project)
    path = "/?" + urlsplit(first).query
    browser = Browser(first)
    opened = browser.get(path)
    assert (opened.status, opened.headers["location"]) == (302, "/")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    token = parse_qs(urlsplit(first).query)["token"][0]
    assert token not in cookie, "the session has a secret of its own"
    assert browser.get("/workflows").status == 200

    again = Browser(first).get(path)
    file = project.folder / "state" / "flower.url"
    assert again.status == 403
    assert "works no more" in again.text
    assert str(file) in again.text
    assert browser.get(path).status == 302, "who is inside loses nothing by opening it again"

    second = kept_link(project)
    assert second != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Browser(second).enter().get("/workflows").status == 200
    assert browser.get("/workflows").status == 200, "the first browser stays logged in"


def test_a_token_leads_to_the_page_that_was_asked_for_and_never_elsewhere(project: Project, stranger: Browser) -> None:
    query = urlsplit(kept_link(project)).query
    assert Browser(stranger.link).get(f"/workflows/agents?{query}").headers["location"] == "/workflows/agents"
    query = urlsplit(kept_link(project)).query
    assert Browser(stranger.link).get(f"//elsewhere.example/?{query}").headers["location"] == "/elsewhere.example/"


@pytest.mark.parametrize(
    "path", [*PAGES, "/", "/tasks", "/metrics", "/healthcheck", "/api/workers", "/static/css/flower.css",
             "/workflows/static/site.css", "/workflows/api/runs", "/workflows/api/openapi.json", "/?token=wrong"],
)  # fmt: skip
def test_nothing_opens_without_a_session(stranger: Browser, path: str) -> None:
    reply = Browser(stranger.link).get(path)
    assert reply.status == 403
    assert "flower.url" in reply.text
    assert "set-cookie" not in reply.headers


def test_no_route_opens_without_a_session_by_any_method(project: Project, stranger: Browser) -> None:
    paths = every_path(project)
    assert {"/", "/workflows", "/workflows/api/runs/x/cancel", "/metrics", "/api/tasks"} <= paths
    for path in sorted(paths):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            assert stranger.send(method, path, None).status == 403, f"{method} {path}"


def test_a_head_request_does_not_use_the_link_up(project: Project, stranger: Browser) -> None:
    link = kept_link(project)
    assert Browser(link).send("HEAD", "/?" + urlsplit(link).query, None).status == 403
    assert kept_link(project) == link


def test_metrics_are_behind_the_door(inside: Browser) -> None:
    told = inside.get("/metrics")
    assert told.status == 200
    assert "# HELP flower_" in told.text
    assert "\norchestrator_" in told.text


# --- other sites ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5555", "localhost.evil.example", "10.0.0.7", "[bad"])
@pytest.mark.parametrize("path", ["/workflows", "/", "/workflows/api/runs"])
def test_another_name_for_this_machine_is_refused(inside: Browser, host: str, path: str) -> None:
    reply = inside.get(path, Host=host)
    assert reply.status in (400, 403)
    assert "<html" not in reply.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:5555", "flower.localhost"])
def test_the_names_of_this_machine_are_not(inside: Browser, host: str) -> None:
    assert inside.get("/workflows", Host=host).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_a_request_from_another_origin_is_refused(inside: Browser, origin: str) -> None:
    assert inside.get("/workflows/api/runs", Origin=origin).status == 403
    assert inside.post("/workflows/api/runs", {"definition": WAITS}, Origin=origin).status == 403


def test_who_follows_a_link_elsewhere_is_asked_once_more_from_here(stranger: Browser) -> None:
    headers = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}

    def again(path: str, site: str) -> str | None:
        return Browser(stranger.link).get(path, Sec_Fetch_Site=site, **headers).headers.get("refresh")

    assert again("/workflows", "cross-site") == "0; url=/workflows?from=elsewhere"
    assert again("/workflows?a=b", "same-site") == "0; url=/workflows?a=b&from=elsewhere"
    assert again("//evil.example/", "cross-site") == "0; url=/evil.example/?from=elsewhere"
    for path, site in (("/workflows?from=elsewhere", "cross-site"), ("/workflows", "same-origin"), ("/", "none")):
        assert again(path, site) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_link_here_and_change_nothing(inside: Browser, site: str) -> None:
    assert inside.get("/workflows", Sec_Fetch_Site=site).status == 200
    assert inside.post("/workflows/api/runs", {"definition": WAITS}, Sec_Fetch_Site=site).status == 403
    assert inside.post("/api/task/async-apply/x", {}, Sec_Fetch_Site=site).status == 403


def test_our_own_origin_may(inside: Browser) -> None:
    reply = inside.post(
        "/workflows/api/runs", {"definition": WAITS}, Origin=inside.origin, Sec_Fetch_Site="same-origin"
    )
    assert reply.status == 201


@pytest.mark.parametrize("token", ["", "wrong", "2|00000000|00000000000000000000000000000000|1"])
def test_a_change_needs_the_token_of_the_page(inside: Browser, token: str) -> None:
    run_id = submit(inside)
    refused = inside.post(f"/workflows/api/runs/{run_id}/cancel", X_CSRF_Token=token)
    assert (refused.status, "X-CSRF-Token" in refused.text) == (403, True)
    assert inside.submit("/workflows/messages/none/replay", {"_xsrf": token}).status == 403
    assert inside.get(f"/workflows/api/runs/{run_id}").json["status"] == "running"
    assert inside.post(f"/workflows/api/runs/{run_id}/cancel").status == 200


def test_nothing_changes_by_a_get(inside: Browser) -> None:
    run_id = submit(inside)
    for what in ("cancel", "pause", "signal"):
        assert inside.get(f"/workflows/api/runs/{run_id}/{what}").status == 405
    assert inside.get("/workflows/messages/none/replay").status == 405
    assert inside.get(f"/workflows/api/runs/{run_id}").json["status"] == "running"


def test_our_pages_say_what_a_browser_may_do_with_them(inside: Browser) -> None:
    for path in (*PAGES, "/workflows/nosuch", "/workflows/api/runs", "/workflows/static/site.css"):
        headers = inside.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert inside.get("/").headers["x-frame-options"] == "DENY", "Flower's own pages cannot be framed either"


def test_our_pages_have_no_script_and_no_style_inside_and_nothing_from_elsewhere(inside: Browser) -> None:
    for path in (*PAGES, "/workflows/nosuch"):
        text = inside.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick=" not in text
        assert "https://" not in text
        assert all("src=" in tag for tag in text.split("<script")[1:]), "no script inside the page"


# --- what is off ----------------------------------------------------------------------------------------------------


def test_flowers_own_control_is_off_unless_asked_for(project: Project, inside: Browser) -> None:
    writes = ("/api/worker/shutdown/x", "/api/task/async-apply/x", "/api/task/revoke/x", "/api/worker/pool/grow/x")
    for path in writes:
        reply = inside.post(path, {})
        assert (reply.status, "ead only" in reply.text) == (403, True), path
    with flower(project, "--control") as started:
        started.enter()
        assert [started.post(path, {}).status for path in writes] == [404, 404, 200, 404]


def test_read_only_shows_everything_and_changes_nothing(project: Project, inside: Browser) -> None:
    run_id = submit(inside)
    with flower(project, "--read-only") as viewer:
        viewer.enter()
        for path in (*PAGES, f"/workflows/{run_id}", f"/workflows/api/runs/{run_id}"):
            assert viewer.get(path).status == 200
        assert 'name="read-only" content="true"' in viewer.get("/workflows").text
        writes = ("/runs", f"/runs/{run_id}/cancel", f"/runs/{run_id}/approve", "/messages", "/dead-letters/x/replay")
        for path in writes:
            refused = viewer.post("/workflows/api" + path, {})
            assert (refused.status, "--read-only" in refused.json["error"]["message"]) == (403, True), path
        form = {"_xsrf": viewer.cookies["_xsrf"]}
        assert viewer.submit("/workflows/messages/none/replay", form).status == 403
        assert viewer.post("/api/task/async-apply/x", {}).status == 403
        assert viewer.get(f"/workflows/api/runs/{run_id}").json["status"] == "running"


def test_read_only_refuses_every_change_on_every_route(project: Project) -> None:
    changes = {"/workflows/api" + re.sub(r"\{\w+\}", "x", route.path) for route in ALL_ROUTES if route.method == "POST"}
    changes.add("/workflows/messages/x/replay")
    with flower(project, "--read-only") as viewer:
        viewer.enter()
        for path in sorted(every_path(project) - {"/tasks/datatable"}):  # Flower's table asks for its rows by POST
            status = viewer.post(path, {}).status
            assert status == 403 if path in changes else status in (403, 404, 405), path


# --- logins ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_basic_auth_takes_the_place_of_the_link(project: Project) -> None:
    with flower(project, "--basic-auth", "ada:secret,bob:other", "--basic-auth", "eve:a,b") as anybody:
        assert "token" not in anybody.link
        refused = anybody.get("/workflows")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="flower"')
        for pair in ("ada:wrong", "ada:", "bob:secret"):
            assert anybody.get("/metrics", Authorization=login(pair)).status == 401
        for pair in ("ada:secret", "bob:other", "eve:a,b"):
            for path in ("/workflows", "/", "/metrics", "/workflows/api/runs"):
                assert anybody.get(path, Authorization=login(pair)).status == 200
        program = Browser(anybody.link, Authorization=login("ada:secret"))
        document = {"definition": WAITS}
        assert program.post("/workflows/api/runs", document, X_CSRF_Token="").status == 403
        assert program.post("/workflows/api/runs", document, X_CSRF_Token="any").status == 201
        assert program.post("/workflows/api/runs", document, X_CSRF_Token="any", Origin="http://evil").status == 403


@pytest.mark.long
def test_flowers_own_options_are_passed_on(project: Project) -> None:
    project.environment["FLOWER_BASIC_AUTH"] = "ada:secret"
    try:
        with flower(project, "--url_prefix=team", "--max_tasks=77") as anybody:
            assert anybody.get("/team/workflows").status == 401
            page = anybody.get("/team/workflows", Authorization=login("ada:secret"))
            assert page.status == 200
            assert 'href="/team/workflows/agents"' in page.text
            assert 'href="/team/workflows"' in anybody.get("/team/", Authorization=login("ada:secret")).text
            assert urlsplit(anybody.link).path == "/team/"
    finally:
        del project.environment["FLOWER_BASIC_AUTH"]


@pytest.mark.long
def test_oauth_of_flower_lets_in_whom_it_names(project: Project) -> None:
    options = (
        "--auth=.*@example.com", "--auth_provider=flower.views.auth.GithubLoginHandler", "--oauth2_key=key",
        "--oauth2_secret=hidden", "--oauth2_redirect_uri=http://localhost/login", "--cookie_secret=for-the-test",
    )  # fmt: skip

    def cookie(address: str, secret: str = "for-the-test") -> str:
        return "user=" + create_signed_value(secret, "user", address).decode()

    with flower(project, *options) as anybody:
        assert "token" not in anybody.link
        page = anybody.get("/workflows", Accept="text/html")
        assert (page.status, page.headers["location"]) == (302, "/login")
        asked = anybody.get("/login")
        assert asked.status == 302
        assert asked.headers["location"].startswith("https://github.com/login/oauth/authorize?")
        for path in ("/metrics", "/healthcheck", "/workflows/api/runs", "/loginx"):
            assert anybody.get(path).status == 403, path
        assert anybody.get("/workflows", Cookie=cookie("ada@example.com")).status == 200
        assert anybody.get("/metrics", Cookie=cookie("ada@example.com")).status == 200
        assert anybody.get("/workflows", Cookie=cookie("ada@elsewhere.org")).status == 403
        assert anybody.get("/workflows", Cookie=cookie("ada@example.com", "guessed")).status == 403


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--address", "0.0.0.0"), "--address 0.0.0.0 opens Flower to other machines: ask for a login too"),
        (("--read-only", "--control"), "not with --read-only"),
        (("--colour=red",), "no option --colour=red"),
        (("--port=0", "--unix_socket=/tmp/x"), "write it as --address VALUE"),
        (("--auth=.*@example.com",), "--auth needs --auth_provider too"),
        (("--basic-auth", "ada:x", "--auth=a@example.com", "--auth_provider=x"), "are two logins; choose one"),
        (("--basic-auth", "ada"), "write user:password"),
        (("--max_tasks=many",), "Flower's options: "),
        (("--auth=*", "--auth_provider=x"), "Flower does not start with these options"),
    ],
)
def test_options_that_do_not_go_are_one_line_and_exit_2(project: Project, words: tuple[str, ...], reason: str) -> None:
    done = project.call("flower", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_it_can_listen_elsewhere_with_a_login_and_names_its_hosts(project: Project) -> None:
    options = ("--address", "0.0.0.0", "--basic-auth", "ada:secret", "--host", "flower.example.com")
    with flower(project, *options) as anybody:
        assert urlsplit(anybody.link).hostname == "127.0.0.1"
        headers = {"Authorization": login("ada:secret")}
        seen = {
            host: anybody.get("/workflows", Host=host, **headers).status
            for host in ("flower.example.com", "10.0.0.7:5555", "localhost", "evil.example")
        }
        assert seen == {"flower.example.com": 200, "10.0.0.7:5555": 200, "localhost": 200, "evil.example": 403}


def test_two_flowers_of_one_folder_keep_their_links_beside_each_other(tmp_path: Path) -> None:
    project = Project(tmp_path)
    try:
        file = tmp_path / "state" / "flower.url"
        with flower(project) as first:
            with flower(project) as second:
                assert file.read_text().split() == [second.link, first.link]
                first.enter()
                assert file.read_text().split()[1] == second.link
            assert len(file.read_text().split()) == 1
            assert Browser(kept_link(project)).enter().origin == first.origin
        assert not file.exists(), "a Flower that ends takes its link along"
    finally:
        project.close()
