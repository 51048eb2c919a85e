"""The files of deployment/: instances and launchers by Dagster's own schema, manifests by the Kubernetes client's models."""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "deployment"
INSTANCES = {  # instance file -> a class that it must name
    "production/dagster.yaml": "QueuedRunCoordinator",
    "cluster/dagster.yaml": "RayRunLauncher",
    "local-cluster/dagster.yaml": "RayRunLauncher",
    "kubernetes/instance.yaml": "K8sRunLauncher",
}
MODELS = {
    "ServiceAccount": "V1ServiceAccount",
    "Role": "V1Role",
    "RoleBinding": "V1RoleBinding",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "Deployment": "V1Deployment",
    "Service": "V1Service",
}
NEEDS = "make setup-operations"


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """(file name, document) of every manifest that Kubernetes itself reads."""
    files = [file for file in sorted(DEPLOYMENT.glob("kubernetes/*.yaml")) if file.name not in ("kustomization.yaml", "instance.yaml")]
    return [(f"{file.name}: {document['kind']}", document) for file in files for document in yaml.safe_load_all(file.read_text())]


def unknown_to_the_client(document: dict[str, Any]) -> set[str]:
    """Dotted paths of the document that the client's models drop: fields that Kubernetes does not have, or not there."""
    client = pytest.importorskip("kubernetes.client", reason=NEEDS)
    api = client.ApiClient()
    model = api._ApiClient__deserialize(document, MODELS[document["kind"]])
    return set(paths(document)) - set(paths(api.sanitize_for_serialization(model)))


def paths(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from paths(item, f"{path}[{index}]")
    else:
        yield f"{path} = {node}"


@pytest.mark.parametrize(("name", "document"), manifests(), ids=[name for name, _ in manifests()])
def test_every_field_of_a_manifest_is_one_that_kubernetes_has(name: str, document: dict[str, Any]) -> None:
    assert unknown_to_the_client(document) == set()


def test_a_misspelled_field_of_a_manifest_would_be_found() -> None:
    document = next(document for _, document in manifests() if document["kind"] == "Deployment")
    document["spec"]["template"]["spec"]["serviceAcountName"] = document["spec"]["template"]["spec"].pop("serviceAccountName")
    assert unknown_to_the_client(document) == {".spec.template.spec.serviceAcountName = neuron-atlas"}


def configured_classes(file: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """(class, what Dagster's schema says of its configuration) for every class that an instance file names."""
    from dagster._config import process_config, resolve_to_config_type  # what Dagster itself calls when it loads an instance
    from dagster._core.instance.ref import InstanceRef

    shutil.copy(DEPLOYMENT / file, folder / "dagster.yaml")
    reference = InstanceRef.from_dir(str(folder))  # raises for a field that an instance does not have
    for data in (reference.run_launcher_data, reference.run_coordinator_data, reference.compute_logs_data, reference.storage_data):
        if data is not None:
            kind = getattr(importlib.import_module(data.module_name), data.class_name)
            yield data.class_name, process_config(resolve_to_config_type(kind.config_type()), data.config_dict)


@pytest.mark.parametrize(("file", "launcher"), INSTANCES.items())
def test_dagster_takes_an_instance_file_and_the_configuration_of_each_class_in_it(
    file: str, launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("dagster_ray", "dagster_k8s", "dagster_postgres"):
        pytest.importorskip(package, reason=NEEDS)
    for name in set(re.findall(r"env: (\w+)", (DEPLOYMENT / file).read_text())):
        monkeypatch.setenv(name, "5432")  # a text that is a number as well
    results = dict(configured_classes(file, tmp_path))
    assert launcher in results
    assert {name: result.errors for name, result in results.items() if not result.success} == {}


def test_a_wrong_field_of_the_launcher_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dagster_ray", reason=NEEDS)
    monkeypatch.setenv("NEURON_ATLAS_RAY_ADDRESS", "http://127.0.0.1:8265")
    (tmp_path / "one").mkdir()
    good = (DEPLOYMENT / "local-cluster" / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(good.replace("num_cpus:", "cpus:"))
    results = dict(configured_classes(str(tmp_path / "dagster.yaml"), tmp_path / "one"))
    assert not results["RayRunLauncher"].success


def test_every_run_of_every_deployment_with_several_workers_is_started_again_when_its_worker_dies() -> None:
    for file in ("cluster/dagster.yaml", "local-cluster/dagster.yaml", "kubernetes/instance.yaml"):
        instance = yaml.safe_load((DEPLOYMENT / file).read_text())
        assert instance["run_monitoring"]["enabled"], file
        assert instance["run_retries"]["enabled"], file
        assert instance["run_retries"]["max_retries"] >= 2, file
        assert not instance["run_retries"]["retry_on_asset_or_op_failure"], file


def test_the_manifests_fit_together(tmp_path: Path) -> None:
    documents = {(document["kind"], document["metadata"]["name"]): document for _, document in manifests()}
    launcher = yaml.safe_load((DEPLOYMENT / "kubernetes" / "instance.yaml").read_text())["run_launcher"]["config"]
    generated = yaml.safe_load((DEPLOYMENT / "kubernetes" / "kustomization.yaml").read_text())["configMapGenerator"]
    assert ("ServiceAccount", launcher["service_account_name"]) in documents
    assert {launcher["instance_config_map"], *launcher["env_config_maps"]} == {one["name"] for one in generated}
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in launcher["volumes"]}
    assert all(("PersistentVolumeClaim", claim) in documents for claim in claims)
    for kind, name in documents:
        if kind == "Deployment":
            containers = documents[kind, name]["spec"]["template"]["spec"]["containers"]
            secrets = {source["secretRef"]["name"] for source in containers[0]["envFrom"] if "secretRef" in source}
            assert secrets == set(launcher["env_secrets"])


def test_kustomize_builds_the_manifests() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    built = subprocess.run(["kubectl", "kustomize", str(DEPLOYMENT / "kubernetes")], capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(built.stdout))
    assert {document["metadata"]["namespace"] for document in documents} == {"neuron-atlas"}
    (instance,) = [document for document in documents if document["metadata"]["name"] == "neuron-atlas-instance"]
    assert yaml.safe_load(instance["data"]["dagster.yaml"])["run_launcher"]["class"] == "K8sRunLauncher"


def test_the_image_holds_what_its_file_copies_and_no_more() -> None:
    lines = (DEPLOYMENT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all(any(Path(name).match(pattern) for pattern in allowed) for name in copied)
