"""Makes the Python messages of host/isthmus/server/protocol from open_inference.proto.

    python tools/make_proto.py            # writes them
    python tools/make_proto.py --check    # says whether they are as it would write them

Needs grpcio-tools. What protoc writes is kept but for the pool that the messages are described in:
every client of the protocol describes its own ``inference.ModelInferRequest`` in the process's one
default pool, and the second to come is refused. Ours have a pool of their own, so that the server
can be imported beside any of them.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("isthmus/server/protocol/open_inference.proto")
SHARED_POOL = "_descriptor_pool.Default()"
OWN_POOL = "_descriptor_pool.DescriptorPool()"


def generate() -> dict[str, str]:
    """The files' text by name."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        status = protoc.main(
            [
                "protoc",
                f"-I{ROOT / 'host'}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                str(SOURCE),
            ]
        )
        if status != 0:
            raise SystemExit(f"protoc ended with status {status}")
        made = sorted((Path(folder) / SOURCE.parent).iterdir())
        texts = {file.name: file.read_text(encoding="utf-8") for file in made}
    module = "open_inference_pb2.py"
    if texts[module].count(SHARED_POOL) != 1:
        raise SystemExit(f"{module} does not name {SHARED_POOL} once: protoc has changed")
    texts[module] = texts[module].replace(SHARED_POOL, OWN_POOL)
    return texts


def main(arguments: list[str]) -> int:
    """0 if all is written or as it should be."""
    folder = ROOT / "host" / SOURCE.parent
    stale = []
    for name, text in generate().items():
        file = folder / name
        if arguments == ["--check"]:
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            file.write_text(text, encoding="utf-8")
            print(file.relative_to(ROOT))
    for name in stale:
        print(f"{name} is not what open_inference.proto gives: run tools/make_proto.py")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
