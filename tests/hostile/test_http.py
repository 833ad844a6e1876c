"""The kind `http` and addresses that are nobody's business. No test asks anything outside: names are told by a stub."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpcore
import pytest
from pydantic import ValidationError

from orchestrator import Fatal
from orchestrator.agents import loop
from tests.certificates import make_authority, make_certificate
from tests.hostile.cases import Case
from workers.http_agent import http_agent

OUTSIDE = "93.184.216.34"
Answers = Callable[[BaseHTTPRequestHandler], None]


class Network:
    """Names as they are told here, and connections that are noted instead of made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[list[str]]] = {}  # what a name means, time after time
        self.asked: list[str] = []
        self.connected: list[tuple[str, int]] = []
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)
        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", self._connect)

    def _resolve(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        told = self.names.get(host, [[host]])
        found = told.pop(0) if len(told) > 1 else told[0]
        return [(_family(text), socket.SOCK_STREAM, 6, "", (text, port)) for text in found]

    async def _connect(self, host: str, port: int, **_: Any) -> Any:
        self.connected.append((host, port))
        raise httpcore.ConnectError("noted")


def _family(text: str) -> int:
    return socket.AF_INET6 if ip_address(text).version == 6 else socket.AF_INET


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def ask(url: str, *hosts: str, **limits: Any) -> Any:
    """One call of a task, as a worker makes it."""
    agent = http_agent("a", {"hosts": list(hosts), "tasks": {"t": {"url": url, **limits}}})
    return loop.run(agent.tasks["t"].fn(SimpleNamespace(idempotency_key="run/step")))


@contextmanager
def server(answers: Answers) -> Iterator[str]:
    """A real one on the loopback; its address."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler(answers))) as port:
        yield f"http://127.0.0.1:{port}/"


def handler(answers: Answers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.close_connection = True
            # What is left unread at the end resets the connection, and may take the answer with it.
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                answers(self)
            except OSError:
                return  # whoever asked has gone

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


@contextmanager
def serving(made: ThreadingHTTPServer) -> Iterator[int]:
    """The port of a server that runs for the time of a `with`."""
    with made as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


# --- where it may not go --------------------------------------------------------------------------------------------


@pytest.mark.hostile("H-01")
def test_what_hands_out_the_credentials_of_a_cloud_is_never_asked(case: Case, network: Network) -> None:
    network.names["metadata.google.internal"] = [["169.254.169.254"]]
    for url in case.variants:
        host = urlsplit(url).hostname or ""
        with pytest.raises(Fatal, match="which is never asked"):
            ask(url, host, "0.0.0.0/0", "::/0")  # not even if everything is listed
        network.names["api.example"] = [["169.254.169.254" if "." in host else host]]
        with pytest.raises(Fatal, match="which is never asked"):
            ask("https://api.example/", "api.example")
    assert network.connected == []


@pytest.mark.hostile("H-02")
def test_this_machine_and_its_network_are_not_asked_unless_they_are_listed(case: Case, network: Network) -> None:
    for url in case.variants:
        parts = urlsplit(url)
        host = parts.hostname or ""
        with pytest.raises(ValidationError, match="is not among `hosts`"):
            ask(url, "api.example")
        network.names["api.example"] = [["127.0.0.1" if host == "localhost" else host]]
        for name in ("http://api.example/", "https://api.example/"):
            with pytest.raises(Fatal, match=r"which is (not on the internet: list that address|never asked)"):
                ask(name, "api.example", "192.168.7.0/24")
    assert network.connected == []
    network.names["localhost"] = [["127.0.0.1"]]
    for url in case.variants:
        if "0.0.0.0" not in url:
            with pytest.raises(ConnectionError, match="noted"):
                ask(url, urlsplit(url).hostname or "")
    assert len(network.connected) == len(case.variants) - 1


@pytest.mark.parametrize(
    "disguised",
    ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "fd00:ec2::254",
     "100.100.100.200", "224.0.0.1", "255.255.255.255", "fe80::1", "2001:0:7f00:1::", "fec0::1", "3fff::1",
     "168.63.129.16"],
)  # fmt: skip
def test_an_address_in_another_dress_is_the_same_address(network: Network, disguised: str) -> None:
    network.names["api.example"] = [[disguised]]
    with pytest.raises(Fatal, match=r"api\.example/ is at"):
        ask("https://api.example/", "api.example")
    assert network.connected == []


@pytest.mark.parametrize("address", ["fd00:ec2::254", "168.63.129.16", "100.100.100.200", "fd20:ce::254"])
def test_what_hands_out_credentials_elsewhere_is_not_asked_where_its_network_is_listed(
    network: Network, address: str
) -> None:
    network.names["api.example"] = [[address]]
    with pytest.raises(Fatal, match="which is never asked"):
        ask("https://api.example/", "api.example", "0.0.0.0/0", "::/0")
    assert network.connected == []


@pytest.mark.parametrize("number", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.01", "1.2.3.4.5"])
def test_an_address_is_written_as_everybody_writes_it(number: str) -> None:
    with pytest.raises(ValidationError, match=r"is no address; write it as 10\.1\.2\.3"):
        ask(f"http://{number}/", "api.example")
    with pytest.raises(ValidationError, match=r"is no name, no address .* and no network"):
        ask("https://api.example/", "api.example", number)


def test_without_tls_only_what_is_listed_by_its_number_is_asked(network: Network) -> None:
    network.names["api.example"] = [[OUTSIDE]]
    with pytest.raises(Fatal, match="asked by https:// only, unless `hosts` lists that address"):
        ask("http://api.example/", "api.example")
    for url, hosts in (("https://api.example/", ()), ("http://api.example/", (OUTSIDE,))):
        with pytest.raises(ConnectionError, match="noted"):
            ask(url, "api.example", *hosts)
    assert network.connected == [(OUTSIDE, 443), (OUTSIDE, 80)]


@pytest.mark.hostile("H-05")
def test_the_address_that_was_checked_is_the_one_that_is_connected(case: Case, network: Network) -> None:
    network.names["api.example"] = [[OUTSIDE], ["127.0.0.1"]]
    with pytest.raises(ConnectionError, match="noted"):
        ask("https://api.example:8443/v1", "api.example")
    assert network.connected == [(OUTSIDE, 8443)]
    assert network.asked == ["api.example"], "a second look at the name could tell another address"


def test_of_several_addresses_those_that_may_not_be_asked_are_left_out(network: Network) -> None:
    network.names["api.example"] = [["127.0.0.1", OUTSIDE, "10.0.0.1", "93.184.216.35"]]
    with pytest.raises(ConnectionError, match="noted"):
        ask("https://api.example/", "api.example")
    assert network.connected == [(OUTSIDE, 443), ("93.184.216.35", 443)], "the next one, where nobody answers"


@pytest.mark.hostile("H-07")
def test_an_address_on_which_programs_could_disagree_is_none(case: Case, network: Network) -> None:
    for url in case.variants:
        with pytest.raises(ValidationError, match=r"must be http\(s\)://HOST"):
            ask(url, "h.example", "evil.example")
    assert network.asked == []


def test_no_proxy_of_the_environment_is_asked(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    network.names["api.example"] = [[OUTSIDE]]
    with pytest.raises(ConnectionError, match="noted"):
        ask("https://api.example/", "api.example")
    assert network.connected == [(OUTSIDE, 443)]


# --- who it is, and what comes back -----------------------------------------------------------------------------------


def test_the_certificate_is_that_of_the_name_and_not_of_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path, "authority")
    make_certificate(tmp_path, authority)  # for localhost and 127.0.0.1
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    seen: list[tuple[str, str]] = []
    names: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append((request.headers["Host"], request.path))
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n1")

    with tls_server(tmp_path, answer, names) as port:
        assert ask(f"https://localhost:{port}/v1?a=b", "localhost") == 1
        told = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *a, **k: told("127.0.0.1" if host == "api.example" else host, *a, **k)
        )
        with pytest.raises(ConnectionError, match=r"certificate is not valid for 'api\.example'"):
            ask(f"https://api.example:{port}/", "api.example", "127.0.0.1")
    assert seen == [(f"localhost:{port}", "/v1?a=b")]
    assert names == ["localhost", "api.example"]


@contextmanager
def tls_server(folder: Path, answers: Answers, names: list[str]) -> Iterator[int]:
    """With a certificate; `names` are those that clients ask for in TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem", folder / "server.key")
    tls.sni_callback = lambda _, name, __: names.append(name)

    class Quiet(ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            try:
                with tls.wrap_socket(request, server_side=True) as secured:
                    super().finish_request(secured, client_address)
            except OSError:
                return  # whoever asked did not like the certificate

    with serving(Quiet(("127.0.0.1", 0), handler(answers))) as port:
        yield port


def endless(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        request.wfile.write(b"x" * 65536)


def dripping(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    gone = threading.Event()
    while not gone.wait(0.1):
        request.wfile.write(b"1")


def bomb(request: BaseHTTPRequestHandler) -> None:
    packed = gzip.compress(b"0" * 200_000_000, compresslevel=1)
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + packed)


def many_headers(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(1_000_000)))


@pytest.mark.hostile("H-08")
def test_an_answer_has_one_limit_for_its_size_and_one_for_its_time(case: Case) -> None:
    for answers, error, told in (
        (endless, Fatal, "answered with more than 5,242,880 bytes"),
        (dripping, TimeoutError, "took longer than 1 s"),
        (bomb, Fatal, r"answered compressed \(gzip\), although it was asked not to"),
        (many_headers, ConnectionError, "RemoteProtocolError"),
    ):
        tracemalloc.start()
        began = time.monotonic()
        with server(answers) as url, pytest.raises(error, match=told):
            ask(url, "127.0.0.1", timeout="1s" if answers is dripping else "60s")
        assert time.monotonic() - began < 30
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if answers is endless:
            assert peak < 40 * 2**20


def test_what_a_server_repeats_of_a_header_is_hidden_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "Bearer CANARY-5-of-the-header")

    def repeats(status: int, content: bytes) -> Answers:
        def answer(request: BaseHTTPRequestHandler) -> None:
            head = b"HTTP/1.1 %d X\r\nLocation: /?key=CANARY-5-of-the-header\r\n\r\n" % status
            request.wfile.write(head + content)

        return answer

    for status, content in (
        (400, b" " * 29_990 + b"CANARY-5-of-the-header"),
        (400, b"x" * 290 + b"CANARY-5-of-the-header"),
        (500, b"CANARY-5-of-the-header"),
        (302, b""),
        (200, b"<p>CANARY-5-of-the-header"),
    ):
        with server(repeats(status, content)) as url, pytest.raises(Exception, match=r"127\.0\.0\.1") as failed:
            ask(url, "127.0.0.1", header_from_env={"Authorization": "API_TOKEN"})
        assert "CANARY" not in str(failed.value)
    with server(repeats(200, b'{"you": "Bearer CANARY-5-of-the-header"}')) as url:
        assert ask(url, "127.0.0.1", header_from_env={"Authorization": "API_TOKEN"}) == {"you": "***"}
