"""Device keys: one for each device number, derived from the fleet's secret.

    key = HKDF-SHA256(secret, salt = "isthmus device key 1", info = device number as 4 bytes, LE)

A device holds its own key alone, so a device that is taken apart tells nothing of the others. The
server holds the secret and derives keys as devices come.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

from isthmus.errors import ConfigError, OptionError
from isthmus.optional import quiet_import
from isthmus.seal import DEVICE_MAX

__all__ = ["DEVICE_KEY_BYTES", "SECRET_BYTES_MIN", "DeviceKeys", "device_key", "read_secret"]

DEVICE_KEY_BYTES = 32
SECRET_BYTES_MIN = 16
_SECRET_FILE_MAX = 4096
_SALT = b"isthmus device key 1"
_HEX = frozenset(b"0123456789abcdefABCDEF")


def read_secret(path: Path) -> bytes:
    """The fleet's secret: a file of hexadecimal digits (white space is skipped), or of raw bytes.

    Raises ConfigError where the file cannot be read, is open to every user of the machine, or
    holds fewer than 16 bytes.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_SECRET_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read ({error.strerror})", remedy="name the fleet's secret file"
        ) from error
    if os.name == "posix" and mode & stat.S_IRWXO:
        raise ConfigError(
            str(path), f"has mode {stat.S_IMODE(mode):04o}: other users can use it",
            allowed="a file for its owner alone, or its group", remedy=f"chmod 600 {path}",
        )  # fmt: skip
    if len(content) > _SECRET_FILE_MAX:
        raise ConfigError(str(path), f"has over {_SECRET_FILE_MAX} bytes", allowed="a secret")
    digits = b"".join(content.split())
    as_hex = bool(digits) and _HEX.issuperset(digits)
    if as_hex and len(digits) % 2:
        raise ConfigError(
            str(path), f"has {len(digits)} hexadecimal digits", allowed="an even number"
        )
    secret = bytes.fromhex(digits.decode("ascii")) if as_hex else content
    if len(secret) < SECRET_BYTES_MIN:
        written = f"{len(digits)} hexadecimal digits, " if as_hex else ""
        raise ConfigError(
            str(path), f"has {written}{len(secret)} bytes", allowed=f"at least {SECRET_BYTES_MIN}",
            remedy=f"make one with: (umask 077; openssl rand -hex 32 > {path})",
        )  # fmt: skip
    return secret


def device_key(secret: bytes, device: int) -> bytes:
    """The 32-byte key of a device. Raises OptionError where ``device`` is no device number."""
    if not 0 <= device <= DEVICE_MAX:
        raise OptionError("device", f"is {device}", allowed=f"0..{DEVICE_MAX}")
    hashes, kdf = _cryptography()
    made = kdf.HKDF(
        algorithm=hashes.SHA256(),
        length=DEVICE_KEY_BYTES,
        salt=_SALT,
        info=device.to_bytes(4, "little"),
    ).derive(secret)
    return bytes(made)


class DeviceKeys:
    """The keys of a fleet, derived when they are first asked for; at most ``cache`` are kept.

    Safe to use from several threads.
    """

    def __init__(self, secret: bytes, *, cache: int = 10_000) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise ConfigError(
                "fleet secret", f"has {len(secret)} bytes", allowed=f"at least {SECRET_BYTES_MIN}"
            )
        _cryptography()  # a missing package is said at start, not at the first frame
        self._secret = secret
        self._cache = max(cache, 1)
        self._keys: dict[int, bytes] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_file(cls, path: Path, *, cache: int = 10_000) -> DeviceKeys:
        """The keys of the fleet whose secret is in ``path``; see :func:`read_secret`."""
        return cls(read_secret(path), cache=cache)

    def key(self, device: int) -> bytes:
        """The key of ``device``, 0 .. 2^32 - 1."""
        found = self._keys.get(device)
        if found is None:
            found = device_key(self._secret, device)
            with self._lock:
                while len(self._keys) >= self._cache:
                    del self._keys[next(iter(self._keys))]
                self._keys[device] = found
        return found


def _cryptography() -> tuple[Any, Any]:
    """The modules ``hashes`` and ``hkdf`` of cryptography; MissingExtraError without it."""
    remedy = 'pip install "isthmus[serve]"'
    base = "cryptography.hazmat.primitives"
    return quiet_import(f"{base}.hashes", remedy), quiet_import(f"{base}.kdf.hkdf", remedy)
