"""A trained network with its bottleneck as one ``.keras`` file that says how it was made.

The file is a plain Keras network, without objects of its own; the account is one more member of the
zip, which Keras does not look at. Same network and account, same bytes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from isthmus.errors import ModelFileError, ModelLoadError, OptionError, OutputError
from isthmus_gen.emit.writer import check_file
from isthmus_gen.models.keras_file import keras_bytes

__all__ = ["ACCOUNT", "check_out", "read_account", "trained_bytes", "write_trained"]

#: The member that says how the network was made: JSON.
ACCOUNT = "isthmus.json"
_FIELDS = {
    "format": int, "model": str, "model_sha256": str, "cut": str, "channels": int, "stride": int,
    "plan": dict, "data": str, "inputs": int, "preprocessing": dict, "training": dict,
    "figures": dict,
}  # fmt: skip
_REMEDY = "give a file that `isthmus bottleneck` wrote"


def trained_bytes(network: Any, account: dict[str, Any]) -> bytes:
    """The ``keras.Model`` as a file that holds ``account``."""
    out = io.BytesIO(keras_bytes(network))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        text = json.dumps(account, indent=1, sort_keys=True) + "\n"
        archive.writestr(zipfile.ZipInfo(ACCOUNT, (1980, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def read_account(path: Path) -> dict[str, Any]:
    """How the network of a file was made. ModelFileError, or ModelLoadError for another file."""
    if not path.is_file():
        raise ModelFileError(str(path), "no such file", remedy=_REMEDY)
    try:
        with zipfile.ZipFile(path) as archive:
            account = json.loads(archive.read(ACCOUNT))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ModelLoadError(
            str(path), "does not say how its bottleneck was trained", remedy=_REMEDY
        ) from error
    if not isinstance(account, dict) or not all(
        isinstance(account.get(name), kind) for name, kind in _FIELDS.items()
    ):
        raise ModelLoadError(str(path), f"{ACCOUNT} in it is not well formed", remedy=_REMEDY)
    return account


def check_out(path: Path) -> None:
    """OptionError or OutputError where a trained network could not be written to ``path``."""
    if path.suffix != ".keras":
        raise OptionError("--out", f"is {path.name!r:.60}", allowed="the path of a .keras file")
    check_file(path, "--out")


def write_trained(path: Path, content: bytes) -> None:
    """Written aside, then renamed. OutputError where it cannot be."""
    target = path.resolve()
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(target)
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written ({error.strerror})", remedy="choose another --out"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
