"""Manifests for Kubernetes: a bundle served by KubeRay's RayService or KServe's InferenceService.

Text from templates; nothing is sent to a cluster. Equal options and bundles give equal bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.bundle import Bundle
from isthmus.errors import OptionError, OutputError
from isthmus_gen.emit import make_environment

__all__ = ["KINDS", "RAY_VERSION", "Deployment", "render_manifests", "write_manifests"]

#: Each kind's files in the order in which they are applied, with their templates.
_FILES = {
    "ray": (
        ("volume.yaml", "volume.yaml.j2"),
        ("config.yaml", "ray_config.yaml.j2"),
        ("rayservice.yaml", "rayservice.yaml.j2"),
    ),
    "kserve": (
        ("volume.yaml", "volume.yaml.j2"),
        ("config.yaml", "kserve_config.yaml.j2"),
        ("inferenceservice.yaml", "inferenceservice.yaml.j2"),
    ),
}
KINDS = tuple(_FILES)
#: The version that Isthmus is tested with; images must hold the one that is named.
RAY_VERSION = "2.60.0"

#: Names of objects, short enough for what the operators append to them.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9]([A-Za-z0-9._:/@-]{0,253}[A-Za-z0-9])?")
_CPUS = re.compile(r"[1-9][0-9]{0,3}")
_MEMORY = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi)")
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")
_REPLICAS_MAX = 10_000


@dataclass(frozen=True)
class Deployment:
    """What the manifests say.

    image         holds isthmus[serve], for Ray isthmus[ray]
    name          of the objects, the model and the bundle's folder; "" takes the bundle's directory
    replicas_min  of the back half; ``cpus`` and ``memory`` are those of one of its pods
    secret        a Secret with the keys ``tokens`` (one a line) and, for KServe, ``token`` (one of
                  them); without it ``allow_open`` must be said
    claim         a PersistentVolumeClaim that is there; "" renders one
    """

    kind: str
    image: str
    name: str = ""
    replicas_min: int = 1
    replicas_max: int = 4
    cpus: str = "2"
    memory: str = "4Gi"
    secret: str = ""
    allow_open: bool = False
    claim: str = ""
    ray_version: str = RAY_VERSION


def render_manifests(bundle: str | Path, options: Deployment) -> dict[str, str]:
    """The files by name, in the order in which they are applied.

    OptionError for a value that a manifest cannot hold, BundleError for the bundle.
    """
    opened = Bundle.open(bundle, check=True)
    name = options.name or _default_name(opened.path)
    _check(options, name)
    environment = make_environment()
    context = _context(opened, options, name)
    out = {}
    for file, template in _FILES[options.kind]:
        if file == "volume.yaml" and options.claim:
            continue
        text: str = environment.get_template(f"deploy/{template}").render(o=context)
        out[file] = text.lstrip("\n")
    return out


def write_manifests(files: Mapping[str, str], out: Path) -> list[Path]:
    """Writes the files into the directory ``out``, over earlier ones; OutputError."""
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = out / name
            path.write_text(text, encoding="utf-8", newline="\n")
            written.append(path)
    except OSError as error:
        raise OutputError(
            str(out), f"cannot be written ({error.strerror})", remedy="choose another --out"
        ) from error
    return written


def _default_name(path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().name.lower()).strip("-")
    return name if _NAME.fullmatch(name) else "isthmus"


def _check(options: Deployment, name: str) -> None:
    if options.kind not in KINDS:
        raise OptionError("--kind", f"is {options.kind!r:.40}", allowed=", ".join(KINDS))
    checks = (
        ("--name", name, _NAME, "1 to 40 of a-z, 0-9 and -, a letter first"),
        ("--image", options.image, _IMAGE, "an image's reference"),
        ("--cpus", options.cpus, _CPUS, "a whole number"),
        ("--memory", options.memory, _MEMORY, "such as 512Mi or 4Gi"),
        ("--ray-version", options.ray_version, _VERSION, "such as 2.60.0"),
        ("--secret", options.secret or "a", _NAME, "a Secret's name"),
        ("--claim", options.claim or "a", _NAME, "a PersistentVolumeClaim's name"),
    )
    for option, value, pattern, allowed in checks:
        if not pattern.fullmatch(value):
            raise OptionError(option, f"is {value!r:.80}", allowed=allowed)
    if not 1 <= options.replicas_min <= options.replicas_max <= _REPLICAS_MAX:
        raise OptionError(
            "--replicas-min", f"is {options.replicas_min}, --replicas-max {options.replicas_max}",
            allowed=f"1 <= MIN <= MAX <= {_REPLICAS_MAX}",
        )  # fmt: skip
    if not options.secret and not options.allow_open:
        raise OptionError(
            "--secret", "is missing: the server would take frames from whoever reaches it",
            remedy="give a Secret with tokens, or say --allow-open",
        )  # fmt: skip


def _context(bundle: Bundle, options: Deployment, name: str) -> dict[str, Any]:
    """What the templates see. A Ray worker holds a replica for each CPU; the ingress takes one."""
    cpus = int(options.cpus)
    size = sum(file.stat().st_size for file in bundle.path.rglob("*") if file.is_file())
    return {
        "name": name,
        "image": options.image,
        "digest": bundle.profile.digest.hex(),
        "replicas_min": options.replicas_min,
        "replicas_max": options.replicas_max,
        "cpus": options.cpus,
        "memory": options.memory,
        "secret": options.secret,
        "claim_name": options.claim or f"{name}-bundles",
        "storage": f"{max(1, math.ceil(2 * size / (1 << 30)))}Gi",
        "ray_version": options.ray_version,
        "pods_min": math.ceil((options.replicas_min + 1) / cpus),
        "pods_max": math.ceil((options.replicas_max + 1) / cpus),
    }
