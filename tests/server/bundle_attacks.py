"""Bundles that were made to do harm, with digests that hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from served import Served

from isthmus.bundle import file_digest, make_manifest
from isthmus.errors import IsthmusError
from isthmus.profile import Profile
from isthmus.server.config import load_config
from isthmus.server.fleet import Fleet


def forged(served: Served, out: Path, name: str, content: bytes, **more: bytes) -> Path:
    """A copy of the bundle with another back half ``name``, and digests that fit."""
    shutil.copytree(served.path, out)
    profile = served.decoder.profile
    data = json.loads(profile.canonical())
    data["extra"]["back"] = {
        **data["extra"]["back"], "file": name, "sha256": file_digest(content)
    }  # fmt: skip
    made = Profile.from_dict(data)
    files = {"front.tflite": (out / "front.tflite").read_bytes(), name: content, **more}
    files["profile.json"] = made.canonical()
    for file, text in files.items():
        (out / file).write_bytes(text)
    (out / "manifest.json").write_bytes(make_manifest(made, files))
    return out


def refusal(bundle: Path) -> IsthmusError:
    """The error with which a server refuses to start with the bundle."""
    with pytest.raises(IsthmusError) as caught:
        Fleet(load_config(None, bundles=[{"path": str(bundle)}]))
    return caught.value
