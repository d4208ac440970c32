"""The manifests are valid, and say what the commands, the pages and each other say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import latest_version, validate

from fastapi_events.cli import parser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "kubernetes"
MANIFESTS = [
    (f"{path.stem} {document['kind']}", document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
PODS = {
    name: document["spec"]["template"]["spec"]
    for name, document in MANIFESTS
    if "template" in document["spec"]
}
CONTAINERS = {
    f"{name} {container['name']}": (pod, container)
    for name, pod in PODS.items()
    for container in [*pod.get("initContainers", ()), *pod["containers"]]
}


SCALED_OBJECT: dict[str, Any] = {
    "type": "object", "required": ["apiVersion", "kind", "metadata", "spec"], "additionalProperties": False,
    "properties": {
        "apiVersion": {}, "kind": {"const": "ScaledObject"}, "metadata": {"required": ["name"]},
        "spec": {
            "type": "object", "required": ["scaleTargetRef", "triggers"], "additionalProperties": False,
            "properties": {
                "scaleTargetRef": {"type": "object", "required": ["name"]},
                "minReplicaCount": {"type": "integer"}, "maxReplicaCount": {"type": "integer"},
                "cooldownPeriod": {"type": "integer"},
                "triggers": {"type": "array", "minItems": 1, "items": {
                    "type": "object", "required": ["type", "metadata"],
                    "properties": {
                        "type": {"const": "prometheus"},
                        "metadata": {  # of which each value is text
                            "type": "object", "required": ["serverAddress", "query", "threshold"],
                            "additionalProperties": {"type": "string"},
                        },
                    },
                }},
            },
        },
    },
}  # fmt: skip
"""What is used here of KEDA's ScaledObject: https://keda.sh/docs/latest/reference/scaledobject-spec/."""


@pytest.mark.parametrize("document", [pytest.param(each, id=name) for name, each in MANIFESTS])
def test_a_manifest_is_valid(document: dict[str, Any]) -> None:
    if document["apiVersion"] == "keda.sh/v1alpha1":  # no part of Kubernetes: its schema is KEDA's
        jsonschema.validate(document, SCALED_OBJECT)
        return
    validate(document, latest_version(), strict=True)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_command_can_be_typed(name: str) -> None:
    command = CONTAINERS[name][1]["command"]

    if command[0] == "fastapi-events":
        parser().parse_args(command[1:])
    else:
        assert command[0] == "uvicorn"


@pytest.mark.parametrize("name", CONTAINERS)
def test_it_has_time_to_end_by_itself_before_it_is_killed(name: str) -> None:
    pod, container = CONTAINERS[name]
    command = container["command"]
    own = next((int(command[command.index(each) + 1]) for each in GRACES if each in command), 0)
    before = int(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0])[-1])

    if own:
        assert own + before < pod["terminationGracePeriodSeconds"]


GRACES = ("--grace", "--timeout-graceful-shutdown")


@pytest.mark.parametrize("name", CONTAINERS)
def test_probes_ask_a_port_that_is_there(name: str) -> None:
    container = CONTAINERS[name][1]
    ports = {each["name"] for each in container.get("ports", ())}

    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in container:
            assert container[probe]["httpGet"]["port"] in ports
            assert container[probe]["httpGet"]["path"].endswith("/livez" if probe[0] == "l" else "/readyz")


def test_workers_are_scaled_by_metrics_that_there_are() -> None:
    [scaled] = [each for _, each in MANIFESTS if each["kind"] == "ScaledObject"]
    [trigger] = scaled["spec"]["triggers"]
    page = (ROOT / "docs" / "metrics.md").read_text()
    workers = [each["metadata"]["name"] for _, each in MANIFESTS if each["kind"] == "Deployment"]

    assert scaled["spec"]["scaleTargetRef"]["name"] in workers
    metrics = re.findall(r"fastapi_events_\w+", trigger["metadata"]["query"])
    assert metrics
    assert all(f"| `{each}` |" in page for each in metrics)


def test_all_run_one_image_with_one_secret() -> None:
    assert len({container["image"] for _, container in CONTAINERS.values()}) == 1
    assert all(
        container["envFrom"] == [{"secretRef": {"name": "shop"}}] for _, container in CONTAINERS.values()
    )


def test_the_page_on_health_shows_the_same_worker() -> None:
    page = (ROOT / "docs" / "health.md").read_text()
    shown = re.search(r'```yaml title="worker.yaml"\n(.*?)```', page, re.DOTALL)
    assert shown is not None
    there = yaml.safe_load(shown[1])["spec"]["template"]["spec"]
    here = PODS["worker Deployment"]

    assert there["terminationGracePeriodSeconds"] == here["terminationGracePeriodSeconds"]
    for key, value in there["containers"][0].items():
        assert here["containers"][0][key] == value


def test_the_web_process_has_the_paths_that_probes_ask() -> None:
    web = (ROOT / "examples" / "dramatiq" / "app" / "web.py").read_text()

    assert 'app.mount("/health", health.app(' in web
