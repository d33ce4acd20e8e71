"""``isthmus manifests``: a bundle's server for Kubernetes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from isthmus.cli.console import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("manifests")(manifests)


def manifests(
    bundle: Annotated[Path, typer.Argument(help="The bundle that is to be served.")],
    kind: Annotated[str, typer.Option(help="ray (KubeRay's RayService) or kserve.")],
    image: Annotated[str, typer.Option(help="Image that holds isthmus[serve], or isthmus[ray].")],
    out: Annotated[
        Path | None, typer.Option(help="Directory for the files; without it they are printed.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of objects and model; default: the bundle's.")] = "",
    replicas_min: Annotated[int, typer.Option(help="Fewest replicas of the back half.")] = 1,
    replicas_max: Annotated[int, typer.Option(help="Most replicas of the back half.")] = 4,
    cpus: Annotated[str, typer.Option(help="CPUs of one pod of the back half.")] = "2",
    memory: Annotated[str, typer.Option(help="Memory of such a pod, Mi or Gi.")] = "4Gi",
    secret: Annotated[
        str, typer.Option(help="Secret with tokens (and token, for KServe); see docs/scale.md.")
    ] = "",
    allow_open: Annotated[
        bool, typer.Option("--allow-open", help="Serve whoever reaches the pods.")
    ] = False,
    claim: Annotated[
        str, typer.Option(help="PersistentVolumeClaim that holds the bundle; else one is made.")
    ] = "",
    ray_version: Annotated[str, typer.Option(help="Ray in the image; default: as tested.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write Kubernetes manifests that serve a bundle on Ray or KServe.

    \b
    Example:
        isthmus manifests digits --kind ray --image registry.example/isthmus:0.1 \\
            --secret isthmus-tokens --out deploy
    """
    from isthmus_gen.deploy import RAY_VERSION, Deployment, render_manifests, write_manifests

    options = Deployment(
        kind=kind,
        image=image,
        name=name,
        replicas_min=replicas_min,
        replicas_max=replicas_max,
        cpus=cpus,
        memory=memory,
        secret=secret,
        allow_open=allow_open,
        claim=claim,
        ray_version=ray_version or RAY_VERSION,
    )
    files = render_manifests(bundle, options)
    if out is None and not json:
        sys.stdout.write("---\n".join(files.values()))
        return
    written = [] if out is None else write_manifests(files, out)
    paths = [str(path) for path in written]

    def show(console: Console) -> None:
        for path in paths:
            console.print(f"wrote {path}", soft_wrap=True)

    Output(json).result({"files": paths or files}, show)
