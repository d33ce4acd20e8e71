"""Device keys: HKDF against RFC 5869, the secret's file, and `isthmus key`."""

from __future__ import annotations

import hmac
import json
import os
import re
from pathlib import Path

import pytest

from isthmus.cli.app import run
from isthmus.errors import ConfigError, OptionError
from isthmus.server.keys import DeviceKeys, device_key, read_secret

#: RFC 5869, appendix A: input, salt, info, length, output.
RFC_5869 = [
    ("0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42,
     "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
    (bytes(range(0x50)).hex(), bytes(range(0x60, 0xB0)).hex(), bytes(range(0xB0, 0x100)).hex(), 82,
     "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e59"
     "0e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"),
    ("0b" * 22, "", "", 42,
     "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
]  # fmt: skip
SECRET = bytes(range(100, 132))


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 word for word, which shares nothing with cryptography's."""
    inner = hmac.new(salt or bytes(32), secret, "sha256").digest()
    out = block = b""
    number = 0
    while len(out) < length:
        number += 1
        block = hmac.new(inner, block + info + bytes((number,)), "sha256").digest()
        out += block
    return out[:length]


@pytest.mark.parametrize(("secret", "salt", "info", "length", "wanted"), RFC_5869)
def test_the_yardstick_is_rfc_5869(
    secret: str, salt: str, info: str, length: int, wanted: str
) -> None:
    made = hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), length)
    assert made.hex() == wanted


@pytest.mark.parametrize("device", [0, 1, 7, 258, 0x01020304, 0xFFFFFFFF])
@pytest.mark.parametrize("secret", [SECRET, b"sixteen bytes ok", b"x" * 4096])
def test_a_device_s_key(device: int, secret: bytes) -> None:
    wanted = hkdf(secret, b"isthmus device key 1", device.to_bytes(4, "little"), 32)
    assert device_key(secret, device) == wanted
    assert DeviceKeys(secret).key(device) == wanted


@pytest.mark.parametrize("device", [-1, 1 << 32])
def test_no_device_number(device: int) -> None:
    with pytest.raises(OptionError, match="device"):
        device_key(SECRET, device)


def test_the_cache_is_bounded() -> None:
    keys = DeviceKeys(SECRET, cache=3)
    made = {device: keys.key(device) for device in range(10)}
    assert len(set(made.values())) == 10
    assert {device: keys.key(device) for device in range(10)} == made
    assert len(keys._keys) == 3


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "fleet.secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (SECRET.hex().encode(), SECRET),
        (SECRET.hex().upper().encode() + b"\n", SECRET),
        (b" " + SECRET.hex()[:32].encode() + b"\r\n\t" + SECRET.hex()[32:].encode(), SECRET),
        (SECRET, SECRET),
        (b"a pass phrase, with its newline\n", b"a pass phrase, with its newline\n"),
        (b"00" * 16, bytes(16)),
    ],
)
def test_a_secret_is_hex_or_raw(content: bytes, secret: bytes, tmp_path: Path) -> None:
    path = secret_file(tmp_path, content)
    assert read_secret(path) == secret
    assert DeviceKeys.from_file(path).key(3) == device_key(secret, 3)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "has 0 bytes"), (b"fifteen bytes..", "has 15 bytes"),
        (b"00" * 15, "has 30 hexadecimal digits, 15 bytes"), (b"0" * 33, "33 hexadecimal digits"),
        (b"x" * 4097, "over 4096 bytes"),
    ],
)  # fmt: skip
def test_a_bad_secret_is_refused(content: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        read_secret(secret_file(tmp_path, content))
    if len(content) < 16:
        with pytest.raises(ConfigError):
            DeviceKeys(content)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601])
def test_a_file_that_others_can_use_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}") as caught:
        read_secret(secret_file(tmp_path, SECRET, mode))
    assert "chmod 600" in caught.value.remedy
    assert SECRET.hex() not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_secret(path)


def test_the_command_prints_hex_and_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = secret_file(tmp_path, SECRET)
    assert run(["key", "--secret-file", str(path), "--device", "7"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    wanted = device_key(SECRET, 7)
    assert first == f"/* device 7: {wanted.hex()} */"
    text = "\n".join(lines)
    assert text.startswith("static const uint8_t device_key[32] = {\n")
    assert bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2}),", text)) == wanted
    assert run(["key", "--secret-file", str(path), "--device", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"device": 7, "key": wanted.hex(), "c": text}


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--device", "7"], 2, "secret"), (["--secret-file", "none", "--device", "7"], 2, "none"),
        (["--secret-file", "s", "--device", "-1"], 2, "--device"),
        (["--secret-file", "s", "--device", "4294967296"], 2, "--device"),
    ],
)  # fmt: skip
def test_the_command_s_mistakes(
    arguments: list[str], code: int, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["key", *arguments]) == code
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert what in found.err
