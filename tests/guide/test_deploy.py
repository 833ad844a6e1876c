"""The files that people deploy with say what the code does."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator.agents.loading import load_agents
from orchestrator.errors import WorkflowInvalid
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow

ROOT = Path(__file__).parents[2]
COMPOSE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text("utf-8"))


def test_compose_has_one_service_for_each_agent() -> None:
    workers = {name for name, service in COMPOSE["services"].items() if service.get("command") == ["worker", name]}
    assert workers == set(load_agents(["workers"]).names)
    for name in workers:
        service = COMPOSE["services"][name]
        assert service["restart"] == "unless-stopped"
        assert "container_name" not in service, "a named container cannot be scaled"


def test_the_server_of_compose_keeps_its_data_and_asks_for_a_password() -> None:
    command = COMPOSE["services"]["redis"]["command"]
    fsync = "--appendfsync ${ORCHESTRATOR_DURABILITY:-always}"
    for words in ("--requirepass ${REDIS_PASSWORD", "--appendonly yes", fsync, "--maxmemory-policy noeviction"):
        assert words in command
    assert "ports" not in COMPOSE["services"]["redis"]
    for name, service in COMPOSE["services"].items():
        if name != "redis":
            assert service["environment"]["ORCHESTRATOR_DURABILITY"] == "${ORCHESTRATOR_DURABILITY:-always}", name


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
