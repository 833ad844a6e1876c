"""Hostile clients of a server, and servers that are not to be trusted: accounts, versions, settings, certificates."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from celery import Celery

from orchestrator import DeliveryOptions, RunState
from orchestrator.settings import Settings
from orchestrator.store.accounts import ROLES, user_of
from orchestrator.store.advisories import KNOWN_ON
from orchestrator.store.connection import visit
from orchestrator.store.server_settings import judge_patches, judge_settings, judge_way
from tests.acceptance.team import Team
from tests.acceptance.test_schedules import rewind
from tests.faults.servers import Server, binary, free_port
from tests.hostile.cases import Case
from tests.hostile.hardened import Hardened, command
from tests.waiting import wait_until

pytestmark = pytest.mark.long

FORBIDDEN = (
    "FLUSHALL", "FLUSHDB", "CONFIG SET dir /tmp", "CONFIG GET *", "DEBUG SLEEP 0", "MODULE LOAD /tmp/x.so", "KEYS *",
    "SCAN 0", "REPLICAOF 127.0.0.1 1", "EVAL return 0", "EVALSHA x 0", "SCRIPT FLUSH", "FUNCTION FLUSH",
    "FUNCTION LOAD x", "ACL LIST", "SHUTDOWN NOSAVE", "CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR",
    "RESTORE k 0 x", "MIGRATE 127.0.0.1 1 k 0 1", "SAVE", "BGREWRITEAOF", "SWAPDB 0 1",
)  # fmt: skip
OUTSIDE = ("GET other", "HGETALL other", "SMEMBERS app:members", "ZRANGE teamb:inbox:x 0 -1")


@pytest.fixture(scope="module", params=["valkey", "redis-server"])
def hardened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hardened]:
    if not binary(request.param):
        pytest.skip("needs redis-server")
    made = Hardened(tmp_path_factory.mktemp("hardened"), request.param)
    made.server.launch()
    try:
        wait_until(made.answers, what="the server", timeout_s=20)
        done = command("doctor", "--load", url=made.url("admin"), folder=made.server.folder)
        assert "functions: those of this version are there" in done.stdout, done.stderr
        yield made
    finally:
        made.server.stop()


@pytest.fixture
def crew(hardened: Hardened, tmp_path: Path) -> Iterator[Team]:
    """Workers under the worker's account, a client under the client's."""
    team = Team(tmp_path, url=hardened.url("client"))
    team.environment["ORCHESTRATOR_URL"] = hardened.url("worker")
    try:
        team.start_worker("hand", "echoer", concurrency=1)
        yield team
    finally:
        team.close()


DAILY = "schedule: {cron: '0 0 1 1 *'}\nsteps: [{id: a, agent: hand, task: echo}]\n"
WORKFLOW = """
steps:
  - {id: a, agent: hand, task: echo, with: {value: 1}}
  - {id: each, foreach: [1, 2, 3], agent: hand, task: echo, with: {value: "${{ item }}"}}
  - {id: pause, wait: {for: 200ms}}
  - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.output + 1 }}"}}
  - {id: c, agent: hand, task: speak, with: {text: hello}}
"""


def test_everything_works_with_the_accounts_as_they_are_shipped(hardened: Hardened, crew: Team) -> None:
    with hardened.client("admin") as admin:
        admin.acl_log_reset()
    run = crew.run(WORKFLOW)
    assert run.status() is RunState.SUCCEEDED
    assert [line.text for line in run.logs()] == ["module: hello", "context: hello", "thread: hello"]
    assert crew.client.ask("echoer", "hello", timeout_s=10) == "heard hello"
    file = str(crew.write("steps:\n  - {id: a, agent: hand, task: echo, with: {value: 1}}"))

    counted = command("metrics", url=hardened.url("monitor"), folder=crew.folder)
    assert 'runs_finished_total{' in counted.stdout, "the first who asks has everything counted" + counted.stderr

    by_client = [
        ["runs"], ["agents"], ["events"], ["show", run.id], ["logs", run.id], ["metrics"], ["dead"], ["handoffs"],
        ["schedule", file, "--cron", "* * * * *", "--name", "often"], ["schedules"], ["unschedule", "often"],
        ["register", "desk"], ["send", "desk", "x"], ["inbox", "desk", "--ack"], ["unregister", "desk"],
        ["broadcast", "hello"], ["handoff", "hand", "--task", "echo", "--with", '{"value": 1}', "--wait"],
        ["cancel", crew.submit("steps:\n  - {id: a, wait: {for: 1h}}").id],
    ]  # fmt: skip
    by_monitor = [*by_client[:4], *by_client[5:8], ["schedules"], ["top", "--json"]]
    for role, commands in (("client", by_client), ("monitor", by_monitor)):
        for words in commands:
            done = command(*words, url=hardened.url(role), folder=crew.folder)
            assert done.returncode == 0, (role, words, done.stderr)
    _look_at_flower(crew, hardened.url("monitor"), run.id)

    # Workers ask for the server's settings, which only the admin may see, and go on with a warning. Flower would put
    # back what has waited for its acknowledgement for a day, which workers do.
    assert hardened.denied() <= {(user_of("worker"), "config|get"), (user_of("monitor"), "unacked_mutex")}


def test_a_broker_apart_works_with_the_same_accounts(hardened: Hardened, tmp_path: Path) -> None:
    """Then Celery publishes what the scripts of the store send elsewhere."""
    with hardened.client("admin") as admin:
        admin.acl_log_reset()
    apart = Team(tmp_path, url=hardened.url("client"), broker_url=hardened.url("client"))
    apart.environment |= dict.fromkeys(("ORCHESTRATOR_URL", "ORCHESTRATOR_BROKER_URL"), hardened.url("worker"))
    try:
        apart.start_worker("hand", "echoer", concurrency=1)
        assert apart.run(WORKFLOW).status() is RunState.SUCCEEDED
        assert apart.client.ask("echoer", "hello", timeout_s=10) == "heard hello"
    finally:
        apart.close()
    assert hardened.denied() <= {(user_of("worker"), "config|get")}


def test_the_keeper_of_a_hardened_server_repairs_and_fires(hardened: Hardened, tmp_path: Path) -> None:
    """A worker is killed in its step, a schedule is due, a message is past its time: all of it under the accounts."""
    crew = Team(tmp_path, url=hardened.url("client"), lease_s=1.0)
    crew.environment["ORCHESTRATOR_URL"] = hardened.url("worker")
    with hardened.client("admin") as admin:
        admin.acl_log_reset()
    try:
        pid = crew.start_worker("hand", concurrency=1)
        gate = crew.new_file()
        run = crew.submit(f"steps: [{{id: a, agent: hand, task: hold, with: {{until: '{gate}'}}}}]")
        crew.wait_for_start(run, "a")
        crew.client.office.directory.register("desk")
        gone = crew.client.send("desk", "too late", delivery_options=DeliveryOptions(ttl_seconds=1))
        crew.client.schedule(crew.write(DAILY))
        rewind(crew, "test", 1000)
        crew.kill_worker(pid)
        crew.start_worker("hand", concurrency=1)
        gate.touch()
        assert run.wait(30).state is RunState.SUCCEEDED
        wait_until(lambda: crew.client.schedules()[0].last_run, what="the scheduled run", timeout_s=20)
        gone.wait("expired", timeout_s=20)
    finally:
        crew.client.unschedule("test")
        crew.close()
    assert hardened.denied() <= {(user_of("worker"), "config|get")}


def test_a_client_cannot_call_on_workers_to_stop(hardened: Hardened, crew: Team) -> None:
    """Workers listen to Celery's broadcasts, because Flower asks by them; a client's account cannot broadcast."""
    shutdown = json.dumps({"body": "e30=", "headers": {}, "properties": {}, "content-type": "application/json"})
    with hardened.client("client") as client:
        for channel in ("/0.celery.pidbox", "/0.celeryev/worker.heartbeat"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.publish(channel, shutdown)
        for key in ("hand.reply.celery.pidbox", "_kombu.binding.celery.pidbox"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.lpush(key, shutdown)
    app = Celery(broker=hardened.url("client"))
    with pytest.raises(Exception, match=r"(?i)permission"):
        app.control.broadcast("shutdown", connection=app.connection(transport_options={"max_retries": 1}))
    assert crew.run("steps: [{id: a, agent: hand, task: echo, with: {value: 1}}]").status() is RunState.SUCCEEDED


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _look_at_flower(crew: Team, url: str, run_id: str) -> None:
    port = free_port()
    with (crew.folder / "flower.log").open("wb") as log:
        flower = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "flower", "--port", str(port)], cwd=crew.folder,
            env={**crew.environment, "ORCHESTRATOR_URL": url}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    link = crew.home / "flower.url"
    try:
        wait_until(lambda: link.exists() and listens(port), what="Flower", timeout_s=30)
        with httpx.Client(follow_redirects=True, timeout=10) as browser:
            assert browser.get(link.read_text().strip()).status_code == 200
            for page in ("/workers", "/tasks", "/workflows", f"/workflows/{run_id}"):
                assert browser.get(f"http://127.0.0.1:{port}{page}").status_code == 200, page
            wait_until(
                lambda: "hand." in browser.get(f"http://127.0.0.1:{port}/api/workers?refresh=true").text,
                what="the workers' answers", timeout_s=20,
            )  # fmt: skip
        assert "Failed to capture events" not in (crew.folder / "flower.log").read_text()
    finally:
        flower.terminate()
        flower.wait(20)


def refused(client: redis.Redis, text: str) -> None:
    """By the account; the server itself, before it looks at that, allows nobody DEBUG and MODULE."""
    with pytest.raises(redis.ResponseError, match=r"(?i)no permissions|(DEBUG|MODULE) command not allowed"):
        client.execute_command(*text.split())


@pytest.mark.hostile("R-02")
def test_no_account_but_the_admin_s_reaches_beyond_its_work(case: Case, hardened: Hardened) -> None:
    for role in set(ROLES) - {"admin"}:
        with hardened.client(role) as client:
            for text in (*FORBIDDEN, *OUTSIDE):
                refused(client, text)
    with hardened.client("monitor") as monitor:
        for text in ("SET o:keeper x", "DEL o:runs", "LPUSH agent.writer x", "HDEL unacked x", "DEL unacked"):
            refused(monitor, text)
    with hardened.client("client") as client:
        for text in ("HGETALL unacked", "RPOP agent.writer", "DEL agent.writer", "LTRIM agent.writer 1 0"):
            refused(client, text)
    assert (user_of("client"), "flushall") in hardened.denied()
    with redis.Redis(port=hardened.server.port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.get("o:runs")


def test_the_monitor_steers_nothing(hardened: Hardened, crew: Team) -> None:
    run = crew.submit("steps:\n  - {id: a, wait: {for: 1h}}")
    for words in (["cancel", run.id], ["send", "echoer", "x"]):
        done = command(*words, url=hardened.url("monitor"), folder=crew.folder)
        assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr
        assert "does not permit it" in done.stderr
    assert run.status() is not RunState.CANCELLED
    run.cancel()


def test_a_worker_without_the_functions_says_who_loads_them(hardened: Hardened, tmp_path: Path) -> None:
    with hardened.client("admin") as admin:
        admin.function_flush()
    done = command("runs", url=hardened.url("client"), folder=tmp_path)
    command("doctor", "--load", url=hardened.url("admin"), folder=tmp_path)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "`orchestrator doctor --load` as the server's admin" in done.stderr
    assert command("runs", url=hardened.url("client"), folder=tmp_path).returncode == 0


def test_the_accounts_are_for_this_user_only_and_are_not_overwritten(tmp_path: Path) -> None:
    done = command("doctor", "--harden", "--output", "a", url="redis://127.0.0.1:1", folder=tmp_path)
    files = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "a").iterdir()}
    assert (done.returncode, files) == (0, {"users.acl": 0o600, "server.conf": 0o600, "passwords": 0o600})
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    secrets = [line.split()[1] for line in (tmp_path / "a" / "passwords").read_text().splitlines()]
    assert not any(secret in (tmp_path / "a" / "users.acl").read_text() for secret in secrets)
    again = command("doctor", "--harden", "--output", "a", url="redis://127.0.0.1:1", folder=tmp_path)
    assert again.returncode == 2
    assert "there already" in again.stderr


@pytest.mark.hostile("R-04")
@pytest.mark.parametrize(
    ("kind", "version", "told"),
    [
        ("redis", "7.2.10", "CVE-2025-49844"), ("redis", "8.2.1", "CVE-2026-23479"),
        ("redis", "7.0.15", "CVE-2025-21605"), ("valkey", "8.1.3", "CVE-2025-49844"),
        ("valkey", "9.0.1", "CVE-2025-67733"), ("valkey", "9.1.0", "CVE-2026-56684"),
        ("valkey", "9.0.2", "CVE-2026-27623"),
        ("redis", "7.2.16", ""), ("redis", "8.10.1", ""), ("redis", "8.12.0", ""), ("valkey", "9.1.2", ""),
    ],
)  # fmt: skip
def test_a_version_with_known_holes_is_named(case: Case, kind: str, version: str, told: str) -> None:
    finding = judge_patches(kind, version)
    assert finding.status == ("warn" if told else "ok")
    assert told in finding.detail
    assert KNOWN_ON in finding.detail


def test_strict_makes_a_warning_a_failure(tmp_path: Path) -> None:
    with Server(tmp_path / "fresh", tcp=True) as server:
        done = command("doctor", url=server.url, folder=tmp_path)
        strict = command("doctor", "--strict", url=server.url, folder=tmp_path)
    assert "workers: none online" in done.stdout
    assert (done.returncode, strict.returncode) == (0, 1)


@pytest.mark.hostile("R-05")
@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [
        ("appendonly", "no", "durability"), ("appendfsync", "no", "power cut"),
        ("maxmemory-policy", "allkeys-lru", "eviction"),
    ],
)  # fmt: skip
def test_a_server_that_loses_work_is_named(
    case: Case, hardened: Hardened, setting: str, value: str, check: str
) -> None:
    url = hardened.url("admin")
    with visit(url, deadline_s=5) as client:
        before = client.config_get(setting)[setting]
        client.config_set(setting, value)
        try:
            failed = [found.check for found in judge_settings(client, Settings(url=url)) if found.status == "fail"]
        finally:
            client.config_set(setting, before)
    assert failed == [check]


@pytest.mark.hostile("R-08")
@pytest.mark.parametrize("sent", [b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"*2\r\n$4\r\nECHO\r\n$536870912\r\n"])
def test_what_is_no_client_is_cut_off(case: Case, hardened: Hardened, sent: bytes) -> None:
    with hardened.client("admin") as admin:
        before = admin.info("memory")["used_memory"]
        with socket.create_connection(("127.0.0.1", hardened.server.port), timeout=10) as connection:
            connection.sendall(sent)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert not answer or answer.startswith(b"-")
        assert admin.info("memory")["used_memory"] - before < 4 << 20


@pytest.mark.hostile("R-10")
def test_an_installation_leaves_the_keys_of_others_alone(case: Case, hardened: Hardened, crew: Team) -> None:
    """No command purges or resets a database; what there is works on keys of the prefix, and on kombu's."""
    ours = ("o:", "agent.", "unacked", "_kombu.binding", "celeryev", "quarantine")
    with hardened.client("admin") as admin:
        admin.set("app:users", "1")
        crew.run(WORKFLOW)
        command("dead", "purge", "--all", url=hardened.url("client"), folder=crew.folder)
        strange = [key for key in admin.scan_iter() if not key.startswith(ours) and "celery.pidbox" not in key]
        assert strange == ["app:users"]
        assert admin.get("app:users") == "1"
        admin.delete("app:users")


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("redis://10.0.0.7:6379/0", "warn"), ("redis://redis:6379", "warn"), ("sentinel://a:26379,b:26379/m", "warn"),
        ("redis://127.0.0.1:6379", "ok"), ("redis+socket:///tmp/s", "ok"), ("rediss://redis.example:6380/0", "ok"),
        ("rediss://redis.example:6380/0?ssl_cert_reqs=none", "fail"),
        ("rediss://redis.example:6380/0?ssl_check_hostname=false", "fail"),
    ],
)  # fmt: skip
def test_a_way_that_others_can_listen_on_is_named(url: str, status: str) -> None:
    assert [finding.status for finding in judge_way(url)] == [status]


def test_what_is_stored_is_there_after_a_restart_and_a_stranger_stays_out(hardened: Hardened, tmp_path: Path) -> None:
    """Redis 7.0 reads its append-only file as the default user, and its EXEC leaves out what that one may not do."""
    (tmp_path / "w.yaml").write_text("name: w\nsteps: [{id: a, wait: {for: 1h}}]\n")
    run = command("run", "w.yaml", "--detach", "--json", url=hardened.url("client"), folder=tmp_path)
    run_id = json.loads(run.stdout)["run_id"]
    command("register", "desk", url=hardened.url("client"), folder=tmp_path)
    sent = command("send", "desk", "hello", url=hardened.url("client"), folder=tmp_path).stdout.strip()
    hardened.server.stop()
    hardened.server.launch()
    wait_until(hardened.answers, what="the server", timeout_s=20)
    shown = command("show", run_id, "--json", url=hardened.url("client"), folder=tmp_path)
    assert json.loads(shown.stdout)["run_id"] == run_id
    message = command("message", sent, "--json", url=hardened.url("client"), folder=tmp_path)
    assert message.returncode == 0, message.stderr
    with redis.Redis(port=hardened.server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(port=hardened.server.port, password="") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.execute_command("AUTH", "")
