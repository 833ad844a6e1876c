"""The way in, with a browser that keeps a strict cookie back from whoever comes from elsewhere."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser

from tests.acceptance.team import Team
from tests.web.browsing import flower


@contextmanager
def mail(*links: str) -> Iterator[str]:
    """A page of another site with these links, `#link0`, `#link1` and so on; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(f'<a id="link{at}" href="{link}">open</a>' for at, link in enumerate(links)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://localhost:{server.server_port}/"  # another site than 127.0.0.1
        server.shutdown()
        thread.join()


def test_a_link_in_a_page_of_another_site_leads_in_and_later_ones_too(crew: Team, browser: Browser) -> None:
    with flower(crew) as link, mail(link, link.partition("?")[0] + "workflows/agents") as elsewhere:
        context = browser.new_context()
        page = context.new_page()
        page.goto(elsewhere)
        page.click("#link0")
        page.wait_for_selector("text=Workflows")
        assert "token" not in page.url
        [cookie] = [one for one in context.cookies() if one["name"].startswith("orchestrator_")]
        assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)

        page.goto(elsewhere)
        page.click("#link1")
        page.wait_for_selector("h1:has-text('Agents')")
        context.close()


def test_a_stranger_who_comes_from_elsewhere_is_told_what_to_do_and_not_sent_in_circles(
    crew: Team, browser: Browser
) -> None:
    with flower(crew) as link, mail(link.partition("?")[0]) as elsewhere:
        context = browser.new_context()
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(elsewhere)
        page.click("#link0")
        page.wait_for_url("**/?from=elsewhere")
        assert "flower.url" in page.inner_text("body")
        assert len([address for address in asked if not address.startswith(elsewhere)]) <= 3  # an icon among them
        context.close()
