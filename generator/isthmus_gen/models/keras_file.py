"""Loading ``.keras`` and ``.h5`` files without running any code kept in them."""

from __future__ import annotations

import io
import json
import re
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

from isthmus.errors import ModelLoadError
from isthmus.optional import one_line, quiet_import, read_model_bytes

__all__ = ["keras_bytes", "load_keras"]

_EXTRA = 'pip install "isthmus[generate]"'


def load_keras(path: Path) -> Any:
    """The ``keras.Model`` of a file, uncompiled.

    ``safe_mode`` stays on, and a file with a Lambda layer is refused before Keras sees it (older
    Keras versions did not apply ``safe_mode`` to ``.h5``).
    Raises MissingExtraError, ModelFileError, ModelLoadError (which says what to do).
    """
    read_model_bytes(path, 1)
    keras = quiet_import("keras", _EXTRA)
    if keras.backend.backend() != "tensorflow":
        raise ModelLoadError(
            str(path),
            f"Keras runs on {keras.backend.backend()}",
            remedy="set KERAS_BACKEND=tensorflow: the converter reads TensorFlow graphs",
        )
    config = _config(path)
    if '"Lambda"' in config or '"__lambda__"' in config:
        raise ModelLoadError(
            str(path),
            "holds a Lambda layer, whose code would run while loading",
            remedy="replace it by a Keras layer or a keras.ops call and save again",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes on optimisers, which a trained network drops
            return keras.models.load_model(str(path), compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        what, remedy = _reason(error, config)
        raise ModelLoadError(str(path), what, remedy=remedy) from error


def keras_bytes(model: Any) -> bytes:
    """A model as the bytes of a ``.keras`` file, the same for the same model.

    A ``.keras`` file is a zip with dates of saving; here every date is the format's earliest.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras copies weights by a call numpy 2 deprecates
            model.save(path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode("utf-8")
    # Objects that layers share are numbered by their address; number them by appearance instead.
    config = members["config.json"].decode("utf-8")
    shared = dict.fromkeys(re.findall(r'"shared_object_id": (\d+)', config))
    order = {address: str(number) for number, address in enumerate(shared)}
    members["config.json"] = re.sub(
        r'(?<="shared_object_id": )\d+', lambda found: order[found[0]], config
    ).encode("utf-8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _config(path: Path) -> str:
    """The architecture of a Keras file as JSON text, read without Keras."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.dumps(json.loads(archive.read("config.json")))
        h5py = quiet_import("h5py", _EXTRA)
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
        if config is not None:
            return json.dumps(json.loads(config))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelLoadError(
            str(path),
            f"neither a .keras nor an .h5 model: {one_line(error)}",
            remedy="save it again: model.save('model.keras')",
        ) from error
    raise ModelLoadError(
        str(path),
        "holds weights but no architecture",
        remedy="save the whole model: model.save('model.keras')",
    )


def _reason(error: Exception, config: str) -> tuple[str, str]:
    """What is wrong with a file that Keras 3 refuses, and what to do about it."""
    text = str(error)
    if "groups" in text and "DepthwiseConv2D" in config:
        return (
            "an old file: its DepthwiseConv2D has the key 'groups', which Keras 3 refuses",
            "re-save it as a SavedModel with the Keras that wrote it (pip install tf_keras; "
            "tf_keras.models.load_model(FILE).export(DIR)) and give that folder",
        )
    named = re.search(r"(?:Could not locate \w+|Unknown \w+:) '([^']+)'", text)
    if named:
        return (
            f"holds the custom object {named[1]!r}, which Keras does not know",
            "export it where that class is defined (model.export(DIR)) and give that folder",
        )
    return (
        f"Keras cannot load it: {one_line(error)}",
        "save it again with Keras 3 as .keras, or export a SavedModel and give that folder",
    )
