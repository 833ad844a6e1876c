"""The files that people deploy with say what the code does."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest
import redis
from ruamel.yaml import YAML

from orchestrator.agents.loading import load_agents
from orchestrator.errors import WorkflowInvalid
from orchestrator.store.server_process import server_binary
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text("utf-8"))

_SERVER = list(YAML(typ="safe").load_all((ROOT / "deploy" / "kubernetes" / "server.yaml").read_text("utf-8")))[1]
KUBERNETES = _SERVER["spec"]["template"]["spec"]["containers"][0]


def test_compose_has_one_service_for_each_agent() -> None:
    workers = {name for name, service in COMPOSE["services"].items() if service.get("command") == ["worker", name]}
    assert workers == set(load_agents(["workers"]).names)
    for name in workers:
        service = COMPOSE["services"][name]
        assert service["restart"] == "unless-stopped"
        assert "container_name" not in service, "a named container cannot be scaled"


def test_the_server_of_compose_keeps_its_data_and_asks_for_a_password() -> None:
    service = COMPOSE["services"]["redis"]
    command = " ".join(service["command"])
    fsync = "--appendfsync ${ORCHESTRATOR_DURABILITY:-always}"
    for words in ('requirepass "$$REDIS_PASSWORD"', "--appendonly yes", fsync, "--maxmemory-policy noeviction"):
        assert words in command
    assert service["environment"]["REDIS_PASSWORD"].startswith("${REDIS_PASSWORD:?")
    assert "ports" not in COMPOSE["services"]["redis"]
    for name, service in COMPOSE["services"].items():
        if name != "redis":
            assert service["environment"]["ORCHESTRATOR_DURABILITY"] == "${ORCHESTRATOR_DURABILITY:-always}", name


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_the_server_gets_its_password_past_its_command_line(where: str, tmp_path: Path) -> None:
    password = "two words, #1"
    (tmp_path / "valkey-server").symlink_to(server_binary())
    (tmp_path / "docker-entrypoint.sh").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "docker-entrypoint.sh").chmod(0o700)
    script = KUBERNETES["args"][0] if where == "kubernetes" else COMPOSE["services"]["redis"]["command"][2]
    here = script.replace("$$", "$").replace("/data", str(tmp_path)).replace(
        " - <<END", f" --port 0 --unixsocket {tmp_path}/s --dir {tmp_path} - <<END"
    )  # fmt: skip
    names = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PASSWORD": password, "REDIS_PASSWORD": password}
    server = subprocess.Popen(["sh", "-c", here], env=os.environ | names, stdout=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "s").exists, what="the server", timeout_s=20)
        with redis.Redis(unix_socket_path=str(tmp_path / "s"), password=password) as client:
            assert client.ping()
            assert "noeviction" in str(client.config_get("maxmemory-policy"))
        with redis.Redis(unix_socket_path=str(tmp_path / "s")) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(server.pid)], capture_output=True, text=True)
        assert "two words" not in shown.stdout
    finally:
        server.terminate()
        server.wait(10)


def test_flower_of_compose_asks_for_a_password_and_listens_on_loopback() -> None:
    flower = COMPOSE["services"]["flower"]
    assert flower["environment"]["FLOWER_BASIC_AUTH"].startswith("admin:${FLOWER_PASSWORD:?")
    assert all(port.startswith("127.0.0.1:") for port in flower["ports"])


def test_celeryconfig_holds_settings_that_celery_knows() -> None:
    from celery.app.defaults import NAMESPACES, flatten

    known = {name for name, _ in flatten(NAMESPACES)}
    found = {name for name in runpy.run_path(str(ROOT / "celeryconfig.py")) if name.islower() and name[0] != "_"}
    assert found
    assert found <= known


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda file: file.name)
def test_the_workflows_that_come_with_it_are_valid(file: Path) -> None:
    try:
        compile_workflow(load_workflow(file), agents=load_agents(["workers"]).catalog())
    except WorkflowInvalid as error:
        pytest.fail(str(error))
