"""The manifests of deploy/kubernetes hold against the schemas of what they describe, and against the code."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
from ruamel.yaml import YAML

from orchestrator.agents.loading import load_agents
from orchestrator.cli import app
from orchestrator.metrics.formats import to_json
from orchestrator.metrics.server import CONTENT
from orchestrator.store.figures import Figures
from orchestrator.store.load import PRIORITIES, AgentLoad, Waiting

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
SCALED_OBJECT = json.loads(Path(__file__).with_name("scaled_object.schema.json").read_text("utf-8"))
AGENT = "writer"
VERSIONS = ("1.30", kubernetes_validate.latest_version())


def documents(name: str, agent: str = AGENT) -> list[dict[str, Any]]:
    """The documents of a file for one agent, as `sed` of its README makes it."""
    return list(YAML(typ="safe").load_all((FOLDER / name).read_text("utf-8").replace("AGENT", agent)))


def everything() -> Iterator[dict[str, Any]]:
    for file in sorted(FOLDER.glob("*.yaml")):
        yield from documents(file.name)


def of_kind(kind: str, name: str) -> dict[str, Any]:
    return next(found for found in everything() if (found["kind"], found["metadata"]["name"]) == (kind, name))


WORKLOADS = [found for found in everything() if found["kind"] in ("Deployment", "StatefulSet")]


@pytest.mark.parametrize("found", list(everything()), ids=lambda found: f"{found['kind']}-{found['metadata']['name']}")
def test_each_manifest_holds_against_its_schema(found: dict[str, Any]) -> None:
    if found["kind"] == "ScaledObject":
        jsonschema.validate(found, SCALED_OBJECT)
        # What it hands on to a HorizontalPodAutoscaler is one of Kubernetes' own.
        behavior = found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
        spec = {"scaleTargetRef": target, "maxReplicas": 1, "behavior": behavior}
        found = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {}, "spec": spec}
    for version in VERSIONS:
        kubernetes_validate.validate(found, version, strict=True)


def test_a_schema_refuses_a_key_that_is_not_there() -> None:
    deployment = of_kind("Deployment", "orchestrator-metrics")
    deployment["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("found", WORKLOADS, ids=lambda found: found["metadata"]["name"])
def test_each_workload_finds_its_pods_and_has_probes_and_limits(found: dict[str, Any]) -> None:
    template = found["spec"]["template"]
    assert found["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"] == found["metadata"]["labels"]
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    for container in template["spec"]["containers"]:
        assert {"startupProbe", "readinessProbe"} & container.keys()
        assert "limits" in container["resources"]
        for variable in container["env"]:
            if "valueFrom" in variable:
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "orchestrator"


def test_services_lead_to_pods_and_ports_that_are_there() -> None:
    for service in (of_kind("Service", "orchestrator-server"), of_kind("Service", "orchestrator-metrics")):
        pods = [found["spec"]["template"] for found in WORKLOADS]
        [pod] = [found for found in pods if found["metadata"]["labels"] == service["spec"]["selector"]]
        names = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    assert of_kind("StatefulSet", "orchestrator-server")["spec"]["serviceName"] == "orchestrator-server"
    for found in WORKLOADS:
        urls = [
            variable["value"]
            for container in found["spec"]["template"]["spec"]["containers"]
            for variable in container["env"]
            if variable["name"] == "ORCHESTRATOR_URL"
        ]
        assert all("@orchestrator-server:6379/" in url for url in urls)


def test_the_server_keeps_its_data_on_a_volume_and_never_drops_any() -> None:
    server = of_kind("StatefulSet", "orchestrator-server")["spec"]
    [container] = server["template"]["spec"]["containers"]
    words = " ".join(container["args"])
    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "--dir /data"):
        assert option in words
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data"]
    assert [claim["metadata"]["name"] for claim in server["volumeClaimTemplates"]] == ["data"]
    assert server["replicas"] == 1


@pytest.mark.parametrize("agent", load_agents(["workers"]).names)
def test_each_agent_of_the_package_has_workers_by_its_name(agent: str) -> None:
    [deployment] = documents("agent.yaml", agent)
    [scaled] = documents("autoscale.yaml", agent)
    kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"] == f"agent-{agent}"
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["worker", agent]
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60


def test_what_scales_is_a_number_that_metrics_serves() -> None:
    [scaled] = documents("autoscale.yaml")
    [trigger] = scaled["spec"]["triggers"]
    host, _, path = trigger["metadata"]["url"].removeprefix("http://").partition("/")
    service = of_kind("Service", "orchestrator-metrics")
    assert host == f"{service['metadata']['name']}.orchestrator.svc:{service['spec']['ports'][0]['port']}"
    assert f"/{path}" in CONTENT
    found: Any = to_json(Figures([AgentLoad(AGENT, 2, ("w",), {name: Waiting(steps=1) for name in PRIORITIES})]))
    for word in trigger["metadata"]["valueLocation"].split("."):
        found = found[word]
    assert found == 2 + len(PRIORITIES)


def test_the_commands_of_the_containers_and_of_their_probes_exist() -> None:
    root = typer.main.get_command(app.root)
    context = typer.Context(root)
    lines = [
        shlex.join(["orchestrator", *container["args"]])
        for found in WORKLOADS
        for container in found["spec"]["template"]["spec"]["containers"]
        if container["image"] == "agent-orchestrator" and "command" not in container
    ]
    [worker] = documents("agent.yaml")
    [container] = worker["spec"]["template"]["spec"]["containers"]
    scripts = [container[probe]["exec"]["command"][2] for probe in ("startupProbe", "livenessProbe")]
    lines += [script.split("|")[0].split(">")[0] for script in scripts]
    assert len(lines) == 5
    for line in lines:
        _, name, *words = shlex.split(line)
        known = {option for param in root.get_command(context, name).params for option in param.opts}  # type: ignore[attr-defined]
        assert {word for word in words if word.startswith("-")} <= known, line
