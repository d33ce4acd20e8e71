"""Kubernetes manifests: the kept files, the schemas, and that what they name is what is there.

``pytest tests/tree --update-golden`` writes the kept files anew.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifest_schemas import INFERENCE_SERVICE, POD_FIELDS_OF_KSERVE, RAY_SERVICE
from tree_profiles import PROFILES

from isthmus.bundle import make_manifest
from isthmus.cli.app import run
from isthmus.errors import OptionError, OutputError
from isthmus_gen.cli import register
from isthmus_gen.deploy import KINDS, RAY_VERSION, Deployment, render_manifests, write_manifests

GOLDEN = Path(__file__).resolve().parent / "golden" / "manifests"
KUBERNETES = "1.30"
IMAGE = "registry.example/team/isthmus:0.1"
CASES = {
    "ray": Deployment("ray", IMAGE, allow_open=True),
    "kserve": Deployment("kserve", IMAGE, secret="isthmus-tokens"),
    "ray_secret": Deployment(
        "ray", f"{IMAGE}@sha256:{'0' * 64}", name="night-watch", secret="isthmus-tokens",
        claim="models", replicas_min=2, replicas_max=9, cpus="3", memory="512Mi",
    ),
    "kserve_open": Deployment("kserve", IMAGE, name="x", allow_open=True, claim="models"),
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one profile; manifests look at no other file of it."""
    path = tmp_path_factory.mktemp("bundles") / "Door Bell"
    path.mkdir()
    profile = PROFILES["int8_sliced"]
    content = {"profile.json": profile.canonical()}
    (path / "profile.json").write_bytes(content["profile.json"])
    (path / "manifest.json").write_bytes(make_manifest(profile, content))
    return path


@pytest.fixture(scope="module")
def yaml(require_package: Callable[[str], None]) -> Any:
    """PyYAML, which comes with the schemas' package."""
    require_package("yaml")
    import yaml

    return yaml


@pytest.fixture(params=sorted(CASES))
def made(request: pytest.FixtureRequest, bundle: Path, yaml: Any) -> dict[str, Any]:
    """The objects of a case, by file."""
    files = render_manifests(bundle, CASES[request.param])
    return {name: yaml.safe_load(text) for name, text in files.items()}


def pods(made: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every pod as (what it is, metadata, spec)."""
    if "rayservice.yaml" in made:
        cluster = made["rayservice.yaml"]["spec"]["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            template = group["template"]
            yield (
                template["metadata"]["labels"]["app.kubernetes.io/component"],
                template["metadata"],
                template["spec"],
            )
    else:
        for role in ("transformer", "predictor"):
            component = made["inferenceservice.yaml"]["spec"][role]
            spec = {key: component[key] for key in POD_FIELDS_OF_KSERVE}
            yield role, {}, spec


@pytest.mark.parametrize("kind", KINDS)
def test_kept_files(kind: str, bundle: Path, update_golden: bool) -> None:
    root = GOLDEN / kind
    files = render_manifests(bundle, CASES[kind])
    if update_golden:
        write_manifests(files, root)
    kept = {path.name: path.read_text(encoding="utf-8") for path in sorted(root.iterdir())}
    assert kept == dict(sorted(files.items()))


def test_objects_fit_their_schemas(
    made: dict[str, Any], require_package: Callable[[str], None]
) -> None:
    for package in ("kubernetes_validate", "jsonschema"):
        require_package(package)
    import jsonschema
    import kubernetes_validate

    schemas = {"RayService": RAY_SERVICE, "InferenceService": INFERENCE_SERVICE}
    for content in made.values():
        if content["kind"] in schemas:
            schema = schemas[content["kind"]]
            jsonschema.Draft202012Validator.check_schema(schema)
            jsonschema.validate(content, schema)
        else:
            kubernetes_validate.validate(content, KUBERNETES, strict=True)
    for name, metadata, spec in pods(made):
        pod = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec
        }  # fmt: skip
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_schemas_refuse_what_is_misspelt(bundle: Path, yaml: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    files = render_manifests(bundle, CASES["ray"])
    content = yaml.safe_load(files["rayservice.yaml"].replace("maxReplicas", "maxReplica"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, RAY_SERVICE)
    files = render_manifests(bundle, CASES["kserve"])
    content = yaml.safe_load(files["inferenceservice.yaml"].replace("volumes:", "volume:"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, INFERENCE_SERVICE)


def test_yaml_says_what_it_seems_to_say(bundle: Path, yaml: Any) -> None:
    """What is read, written and read again is the same: no key twice, no value of another type."""

    class Strict(yaml.SafeLoader):  # type: ignore[misc,name-defined]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key) for key, _ in node.value]
            assert len(set(keys)) == len(keys), f"a key twice: {keys}"
            return super().construct_mapping(node, deep)

    for case in CASES.values():
        for text in render_manifests(bundle, case).values():
            content = yaml.load(text, Strict)  # Strict is a safe loader
            assert yaml.safe_load(yaml.safe_dump(content)) == content
            assert text.endswith("\n")
            assert not any(line != line.rstrip() for line in text.splitlines())


def test_pods_may_do_no_more_than_they_need(made: dict[str, Any]) -> None:
    """The Pod Security Standard "restricted", and a root file system that cannot be written."""
    for _, _, spec in pods(made):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
            volumes = {volume["name"] for volume in spec["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
            assert writable <= {"tmp", "shm"}


def test_what_pods_name_is_there(made: dict[str, Any]) -> None:
    config = made["config.yaml"]
    for role, _, spec in pods(made):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
        claim = volumes["bundles"]["persistentVolumeClaim"]["claimName"]
        if "volume.yaml" in made:
            assert claim == made["volume.yaml"]["metadata"]["name"]
        else:
            assert claim == "models"
        (container,) = spec["containers"]
        if role in ("transformer", "predictor"):
            assert container["command"][2].endswith(f"--config /etc/isthmus/{role}.toml")
            assert f"{role}.toml" in config["data"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[probe]["httpGet"]["path"] in (
                    "/v2/health/ready",
                    "/v2/health/live",
                )


def test_the_server_takes_its_configuration(made: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    from isthmus.server.access import check_exposure
    from isthmus.server.config import load_config

    for name, text in made["config.yaml"]["data"].items():
        file = tmp_path / name
        file.write_text(text)
        config = load_config(file)
        check_exposure(config)
        (served,) = config.bundles
        assert served.path == Path("/bundles") / served.name
        instance = made["config.yaml"]["metadata"]["labels"]["app.kubernetes.io/instance"]
        assert served.name == instance
        if name == "transformer.toml":
            assert config.backend is not None
            assert config.backend.url == f"http://{served.name}-predictor"
            secret = "tokens_file" in tomllib.loads(text)["security"]
            assert (config.backend.token_file is not None) == secret
        elif name == "predictor.toml":
            assert config.http.features


@pytest.mark.parametrize("case", ["ray", "ray_secret"])
def test_serve_takes_the_application(
    case: str, bundle: Path, yaml: Any, tmp_path: Path, require_package: Callable[[str], None]
) -> None:
    require_package("ray")
    from ray.serve.schema import ServeDeploySchema

    from isthmus.server import ray_app

    options = CASES[case]
    files = render_manifests(bundle, options)
    spec = yaml.safe_load(files["rayservice.yaml"])["spec"]
    deploy = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (one,) = deploy.applications
    assert one.import_path == f"{ray_app.__name__}:{ray_app.application.__name__}"
    file = tmp_path / "server.toml"
    file.write_text(yaml.safe_load(files["config.yaml"])["data"]["server.toml"])
    assert one.args == {"config": "/etc/isthmus/server.toml"}
    assert ray_app.application({"config": str(file)}) is not None
    workers = spec["rayClusterConfig"]["workerGroupSpecs"][0]
    # a replica takes one CPU, and so does the ingress
    bounds = {"minReplicas": options.replicas_min, "maxReplicas": options.replicas_max}
    for field, replicas in bounds.items():
        room = workers[field] * int(options.cpus)
        assert replicas + 1 <= room < replicas + 1 + int(options.cpus)


def test_the_version_of_ray_is_the_locked_one(repo_root: Path) -> None:
    lock = (repo_root / "requirements" / "dev.lock").read_text(encoding="utf-8")
    assert f"\nray=={RAY_VERSION} " in lock


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"kind": "helm"}, "--kind"),
        ({"name": "Upper"}, "--name"),
        ({"name": "a" * 41}, "--name"),
        ({"name": "-a"}, "--name"),
        ({"image": "a b"}, "--image"),
        ({"image": 'a"\nx: y'}, "--image"),
        ({"image": "a\n"}, "--image"),
        ({"cpus": "0"}, "--cpus"),
        ({"cpus": "500m"}, "--cpus"),
        ({"memory": "4GB"}, "--memory"),
        ({"secret": "a_b"}, "--secret"),
        ({"claim": "a.b"}, "--claim"),
        ({"ray_version": "2"}, "--ray-version"),
        ({"replicas_min": 0}, "--replicas-min"),
        ({"replicas_min": 5}, "--replicas-min"),
        ({"replicas_max": 10_001}, "--replicas-min"),
        ({"allow_open": False}, "--secret"),
    ],
)
def test_values_that_are_refused(bundle: Path, change: dict[str, Any], path: str) -> None:
    with pytest.raises(OptionError) as caught:
        render_manifests(bundle, replace(CASES["ray"], **change))
    assert caught.value.path == path


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError):
        write_manifests({"a.yaml": "a: 1\n"}, file)


class _Entry:
    """The generator's commands, whether or not they are installed in this environment."""

    name = "gen"

    @staticmethod
    def load() -> Any:
        return register


def test_the_command(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    yaml: Any,
) -> None:
    monkeypatch.setattr("isthmus.cli.app.entry_points", lambda group: [_Entry])
    arguments = ["manifests", str(bundle), "--kind", "kserve", "--image", IMAGE, "--allow-open"]
    assert run(arguments) == 0
    shown = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [one["kind"] for one in shown] == [
        "PersistentVolumeClaim", "ConfigMap", "InferenceService",
    ]  # fmt: skip
    out = tmp_path / "out"
    assert run([*arguments, "--out", str(out), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [yaml.safe_load(Path(file).read_text()) for file in files] == shown
    assert run(arguments[:-1]) == OptionError.exit_code
    assert "--allow-open" in capsys.readouterr().err
