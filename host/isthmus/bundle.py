"""A bundle on disk: the directory that ``isthmus generate`` writes.

profile.json    the contract (isthmus.profile), canonical JSON
manifest.json   the profile's digest and a SHA-256 of every other file
front.tflite    the int8 front half (front_float.tflite where the device runs floats)
back.*          the back half
firmware/       the C tree
vectors/        inputs, tensors, levels, frames and final states for bring-up
restorer.*      what makes features better on the host, where asked for; no part of the digest
picture.*       a decoder from features to the input's picture, where asked for; likewise
labels.txt      the names of the classes, where given; no part of the digest (isthmus.labels)
model/          the whole network, for evaluation
target.toml     the target it was made for
report.json     how it was made
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.codec.packets import check_packets
from isthmus.errors import BundleEditedError, BundleFormatError, BundleMissingError
from isthmus.files import is_inside, open_inside, read_text_inside
from isthmus.profile import Profile

__all__ = ["MANIFEST", "PROFILE", "Bundle", "codec_name", "file_digest", "make_manifest"]

PROFILE = "profile.json"
MANIFEST = "manifest.json"


def codec_name(profile: Profile) -> str:
    """What a bundle's codec is called: "lightweight", "near-lossless" or "bottleneck".

    A learned bottleneck's frames are those of ``profile.codec``; what is sent is another tensor.
    """
    return "bottleneck" if "bottleneck" in profile.extra else profile.codec


def file_digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def make_manifest(profile: Profile, files: dict[str, bytes]) -> bytes:
    """The bytes of ``manifest.json`` for a bundle's files (paths with ``/``, relative)."""
    content = {
        "format": profile.format,
        "digest": profile.digest.hex(),
        "files": {name: file_digest(files[name]) for name in sorted(files)},
    }
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode("ascii")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its directory, profile and the digests of its files."""

    path: Path
    profile: Profile
    files: dict[str, str]

    @classmethod
    def open(cls, path: str | Path, *, check: bool = False) -> Bundle:
        """Opens the bundle in directory ``path``; with ``check`` every file is compared.

        BundleMissingError where there is none, BundleFormatError where it is not well formed,
        BundleEditedError where the profile (or, with ``check``, any file) was changed.
        """
        root = Path(path)
        if not root.is_dir():
            raise BundleMissingError(
                str(root), "is not a directory",
                remedy="give the directory that `isthmus generate` wrote",
            )  # fmt: skip
        profile = Profile.load(root / PROFILE)
        check_packets(profile)
        manifest = _read_manifest(root)
        if manifest["digest"] != profile.digest.hex():
            raise BundleEditedError(
                str(root / PROFILE),
                f"has digest {profile.digest.hex()[:12]}, the manifest says "
                f"{manifest['digest'][:12]}",
                remedy="generate the bundle again; edits belong into the options of `generate`",
            )
        bundle = cls(root, profile, dict(manifest["files"]))
        if check:
            bundle.check()
        return bundle

    def check(self) -> None:
        """BundleEditedError for the first file that is missing or was changed.

        Every file is compared with the manifest, and the halves with the profile: it names their
        digests, and its own digest is in every frame, while the manifest can be edited.
        BundleFormatError where something is not a regular file inside the bundle.
        """
        expected = [*self.files.items(), *self.halves.items()]
        for name, digest in expected:
            file = self.path / name
            try:
                with open_inside(self.path, name) as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise BundleEditedError(
                    str(file), f"cannot be read ({error.strerror})",
                    remedy="generate the bundle again",
                ) from error  # fmt: skip
            if found != digest:
                raise BundleEditedError(
                    str(file),
                    "was changed after it was generated",
                    remedy="generate the bundle again, or copy the tree before editing it",
                )

    def read(self, name: str, *, limit: int | None = None) -> bytes:
        """The bytes of one of the bundle's files, compared as :meth:`check` compares it.

        BundleFormatError where it has more than ``limit`` bytes.
        """
        file = self.path / name
        try:
            with open_inside(self.path, name) as stream:
                data = stream.read(-1 if limit is None else limit + 1)
        except OSError as error:
            raise BundleFormatError(str(file), f"cannot be read ({error.strerror})") from error
        if limit is not None and len(data) > limit:
            raise BundleFormatError(str(file), "is too long", allowed=f"<= {limit} bytes")
        found = file_digest(data)
        if self.files.get(name) != found or self.halves.get(name, found) != found:
            raise BundleEditedError(
                str(file), "was changed after it was generated", remedy="generate it again"
            )
        return data

    def read_addition(self, name: str, form: Any, *, limit: int) -> dict[str, Any]:
        """The JSON object of a file beside the profile: ``format`` is ``form``, and the profile's
        digest stands in it.

        BundleFormatError where it is not, BundleEditedError where it belongs to another profile.
        """
        where = str(self.path / name)
        try:
            content = json.loads(self.read(name, limit=limit))
        except (ValueError, RecursionError) as error:
            raise BundleFormatError(where, f"cannot be read ({error})") from error
        if not isinstance(content, dict) or content.get("format") != form:
            raise BundleFormatError(
                f"{where}: format", "is not this version's", allowed=repr(form),
                remedy="generate the bundle again with this version of Isthmus",
            )  # fmt: skip
        if content.get("profile") != self.profile.digest.hex():
            raise BundleEditedError(
                where, "belongs to another profile", remedy="generate the bundle again"
            )
        return content

    @property
    def halves(self) -> dict[str, str]:
        """SHA-256 of the front and back half by file name, as the profile states them."""
        out = {}
        for key in ("front", "back"):
            entry = self.profile.extra.get(key)
            if isinstance(entry, dict):
                name, digest = entry.get("file"), entry.get("sha256")
                if isinstance(name, str) and isinstance(digest, str):
                    out[name] = digest
        return out

    @property
    def firmware(self) -> Path:
        """The firmware tree."""
        return self.path / "firmware"


def _read_manifest(root: Path) -> dict[str, Any]:
    file = root / MANIFEST
    try:
        data = json.loads(read_text_inside(root, MANIFEST))
    except FileNotFoundError:
        raise BundleMissingError(
            str(file), "no such file", remedy="generate the bundle again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleFormatError(str(file), f"cannot be read ({error})") from error
    files = data.get("files") if isinstance(data, dict) else None
    named = isinstance(files, dict) and all(
        isinstance(name, str) and isinstance(value, str) and is_inside(name)
        for name, value in files.items()
    )
    if not named or not isinstance(data.get("digest"), str):
        raise BundleFormatError(str(file), "is not a manifest", remedy="generate the bundle again")
    return dict(data)
