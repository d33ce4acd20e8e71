"""Sealing in C: the hash's own vectors, Python's bytes, and what is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
from codec_backends import sanitised_flags
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import hmac as openssl_hmac

from isthmus.errors import SealError
from isthmus.native.build import compile_shared, runtime_dir
from isthmus.seal import TAG_BYTES, open_seal, seal

RUNTIME = runtime_dir()
SOURCES = [RUNTIME / "isth_seal.c", RUNTIME / "isth_sha256.c"]
HEADERS = [RUNTIME / name for name in ("isth_status.h", "isth_sha256.h", "isth_seal.h")]
OK, E_BUFFER, E_STATE, E_ARGUMENT = 0, 14, 15, 16
END = 1 << 48

#: FIPS 180-4's examples (csrc.nist.gov, SHA256.pdf) and NIST's byte-oriented short messages.
SHA256 = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq":
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmn"
    b"opqrsmnopqrstnopqrstu":
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    bytes.fromhex("d3"): "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
    b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
}  # fmt: skip
#: RFC 4231, section 4: key, data, tag. Case 5 shows its first 16 bytes alone.
HMAC = [
    (b"\x0b" * 20, b"Hi There",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50,
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50,
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
    (b"\xaa" * 131,
     b"This is a test using a larger than block-size key and a larger than block-size data. "
     b"The key needs to be hashed before being used by the HMAC algorithm.",
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
]  # fmt: skip


def declarations() -> str:
    """The headers as cffi reads them; the one macro that declares a size is put in."""
    text = "\n".join(header.read_text(encoding="ascii") for header in HEADERS)
    text = re.sub(r"^#ifdef __cplusplus\n.*?^#endif\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    return text.replace("ISTH_SHA256_BYTES", "32")


@pytest.fixture(scope="module")
def c() -> tuple[Any, Any]:
    """(ffi, library) of the sources that go into a tree."""
    ffi = cffi.FFI()
    ffi.cdef(declarations())
    flags = ("-O2", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    if "clang" in subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout:
        flags = ("-O2", "-fsanitize=undefined", "-fsanitize-trap=undefined")
    return ffi, ffi.dlopen(str(compile_shared(SOURCES, [RUNTIME], HEADERS, flags=flags)))


class Sealer:
    """isth_sealer, and what it gives for a unit."""

    def __init__(
        self, c: tuple[Any, Any], key: bytes, device: int, first: int, end: int, tag: int
    ) -> None:
        self.ffi, self.lib = c
        self.place = self.ffi.new("isth_sealer *")
        self.begun = self.lib.isth_seal_init(self.place, key, len(key), device, first, end, tag)

    def sign(self, unit: bytes, *, at: int = 12, capacity: int | None = None) -> tuple[int, bytes]:
        """Signs ``unit`` lying ``at`` bytes into the output; checks that nothing beyond changed."""
        room = len(unit) + 44 if capacity is None else capacity
        buffer = self.ffi.new("uint8_t[]", b"\xa5" * (max(room, at + len(unit)) + 64))
        self.ffi.memmove(buffer + at, unit, len(unit))
        before = bytes(self.ffi.buffer(buffer))
        length = self.ffi.new("size_t *", 99)
        status = self.lib.isth_sign(self.place, buffer + at, len(unit), buffer, room, length)
        after = bytes(self.ffi.buffer(buffer))
        if status != OK:
            assert after == before
            return status, length[0].to_bytes(8, "little")
        beyond = max(length[0], at + len(unit))
        assert after[beyond:] == before[beyond:]
        return status, after[: length[0]]


@pytest.mark.parametrize("message", SHA256, ids=lambda message: f"{len(message)} bytes")
def test_sha256_of_fips_180_4(c: tuple[Any, Any], message: bytes) -> None:
    ffi, lib = c
    digest = ffi.new("uint8_t[32]")
    lib.isth_sha256(message, len(message), digest)
    assert bytes(digest).hex() == SHA256[message]


def test_sha256_of_every_length_and_address(c: tuple[Any, Any]) -> None:
    """All remainders of a block twice over, at all four alignments."""
    ffi, lib = c
    data = np.random.default_rng(1).bytes(400)
    place = ffi.new("uint8_t[]", data)
    digest = ffi.new("uint8_t[32]")
    for size in range(200):
        for start in (0, 1, 2, 3):
            lib.isth_sha256(place + start, size, digest)
            assert bytes(digest) == hashlib.sha256(data[start : start + size]).digest()


@pytest.mark.parametrize(("key", "data", "tag"), HMAC)
def test_hmac_of_rfc_4231(c: tuple[Any, Any], key: bytes, data: bytes, tag: str) -> None:
    ffi, lib = c
    state, made = ffi.new("isth_hmac_key *"), ffi.new("uint8_t[32]")
    lib.isth_hmac_key_init(state, key, len(key))
    for _ in range(2):  # the key's state serves any number of messages
        lib.isth_hmac(state, data, len(data), made)
        assert bytes(made).hex()[: len(tag)] == tag


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000])
def test_keys_of_any_length(c: tuple[Any, Any], size: int) -> None:
    ffi, lib = c
    key, data = np.random.default_rng(size).bytes(size), b"message"
    state, made = ffi.new("isth_hmac_key *"), ffi.new("uint8_t[32]")
    lib.isth_hmac_key_init(state, key, size)
    lib.isth_hmac(state, data, len(data), made)
    assert bytes(made) == hmac.new(key, data, "sha256").digest()


@pytest.mark.parametrize("tag_bytes", TAG_BYTES)
def test_c_seals_as_python_does(c: tuple[Any, Any], tag_bytes: int) -> None:
    rng = np.random.default_rng(tag_bytes)
    for size in [*range(1, 140), 244, 1100, 5000]:
        key = rng.bytes(int(rng.integers(16, 80)))
        device = int(rng.integers(0, 1 << 32))
        counter = int(rng.integers(0, END - 2))
        unit = rng.bytes(size)
        sealer = Sealer(c, key, device, counter, END, tag_bytes)
        assert sealer.begun == OK
        for step in range(2):
            status, made = sealer.sign(unit)
            assert status == OK
            assert made == seal(key, device, counter + step, unit, tag_bytes)
            if tag_bytes:
                assert open_seal(key, made).unit == unit


def vectors(name: str) -> list[dict[str, Any]]:
    file = Path(__file__).resolve().parents[1] / "vectors" / "seal" / f"{name}.json"
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="ascii"))
    assert len(found) >= 4
    return found


@pytest.mark.parametrize("case", vectors("seals"), ids=lambda case: f"{len(case['sealed']) // 2}")
def test_the_vectors_in_c_python_and_openssl(c: tuple[Any, Any], case: dict[str, Any]) -> None:
    key, unit, sealed = (bytes.fromhex(case[name]) for name in ("key", "unit", "sealed"))
    device, counter, tag_bytes = (case[name] for name in ("device", "counter", "tag_bytes"))
    assert Sealer(c, key, device, counter, END, tag_bytes).sign(unit) == (OK, sealed)
    assert seal(key, device, counter, unit, tag_bytes) == sealed
    body = (
        struct.pack("<BBIIH", 0x18, tag_bytes, device, counter & 0xFFFFFFFF, counter >> 32) + unit
    )
    state = openssl_hmac.HMAC(key, hashes.SHA256())
    state.update(body)
    assert sealed == body + state.finalize()[:tag_bytes]


@pytest.mark.parametrize("case", vectors("errors"), ids=lambda case: case["why"])
def test_the_bad_vectors_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(SealError) as caught:
        open_seal(bytes.fromhex(case["key"]), bytes.fromhex(case["sealed"]))
    assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", vectors("keys"), ids=lambda case: str(case["device"]))
def test_the_keys_in_c(c: tuple[Any, Any], case: dict[str, Any]) -> None:
    """HKDF is two HMACs for one block: extract with the salt, expand with info and 1."""
    ffi, lib = c
    state, made = ffi.new("isth_hmac_key *"), ffi.new("uint8_t[32]")
    secret = bytes.fromhex(case["secret"])
    lib.isth_hmac_key_init(state, b"isthmus device key 1", 20)
    lib.isth_hmac(state, secret, len(secret), made)
    lib.isth_hmac_key_init(state, made, 32)
    lib.isth_hmac(state, struct.pack("<IB", case["device"], 1), 5, made)
    assert bytes(made).hex() == case["key"]


@pytest.mark.parametrize("at", [0, 1, 11, 12, 13, 20, 300])
def test_a_unit_may_lie_anywhere(c: tuple[Any, Any], at: int) -> None:
    unit = np.random.default_rng(5).bytes(100)
    status, made = Sealer(c, bytes(32), 7, 5, END, 8).sign(unit, at=at)
    assert (status, made) == (OK, seal(bytes(32), 7, 5, unit))


def test_a_short_buffer_says_the_size_and_uses_no_counter(c: tuple[Any, Any]) -> None:
    sealer = Sealer(c, bytes(16), 7, 5, END, 12)
    for capacity in (0, 1, 12, 33):
        assert sealer.sign(b"0123456789", at=100, capacity=capacity) == (
            E_BUFFER, (34).to_bytes(8, "little"),
        )  # fmt: skip
    assert sealer.sign(b"0123456789", capacity=34) == (
        OK, seal(bytes(16), 7, 5, b"0123456789", 12),
    )  # fmt: skip


def test_counters_end_where_they_were_allowed_to(c: tuple[Any, Any]) -> None:
    lib = c[1]
    sealer = Sealer(c, bytes(16), 7, 100, 102, 8)
    assert [sealer.sign(b"u")[0] for _ in range(4)] == [OK, OK, E_STATE, E_STATE]
    assert lib.isth_seal_extend(sealer.place, 101) == E_ARGUMENT
    assert lib.isth_seal_extend(sealer.place, END + 1) == E_ARGUMENT
    assert sealer.sign(b"u")[0] == E_STATE
    assert lib.isth_seal_extend(sealer.place, 103) == OK
    assert sealer.sign(b"u") == (OK, seal(bytes(16), 7, 102, b"u"))
    assert sealer.sign(b"u") == (E_STATE, bytes(8))
    last = Sealer(c, bytes(16), 7, END - 1, END, 8)
    assert last.sign(b"u") == (OK, seal(bytes(16), 7, END - 1, b"u"))
    assert last.sign(b"u")[0] == E_STATE


@pytest.mark.parametrize(
    ("key_bytes", "first", "end", "tag_bytes"),
    [
        (15, 0, END, 8), (0, 0, END, 8), (16, 2, 1, 8), (16, 0, END + 1, 8), (16, 0, END, 7),
        (16, 0, END, 9), (16, 0, END, 1), (16, 0, END, 33), (16, 0, END, 256 + 8),
    ],
)  # fmt: skip
def test_a_bad_start_sticks(
    c: tuple[Any, Any], key_bytes: int, first: int, end: int, tag_bytes: int
) -> None:
    sealer = Sealer(c, bytes(key_bytes), 7, first, end, tag_bytes)
    assert sealer.begun == E_ARGUMENT
    assert [sealer.sign(b"u") for _ in range(2)] == [(E_ARGUMENT, bytes(8))] * 2


def test_nothing_is_no_unit(c: tuple[Any, Any]) -> None:
    """An encoder's error leaves a length of 0: signing that must not look like a success."""
    assert Sealer(c, bytes(16), 7, 0, END, 8).sign(b"") == (E_ARGUMENT, bytes(8))


def test_a_size_that_would_wrap_is_refused(c: tuple[Any, Any]) -> None:
    ffi, lib = c
    sealer = Sealer(c, bytes(16), 7, 0, END, 8)
    length = ffi.new("size_t *", 9)
    out = ffi.new("uint8_t[64]")
    huge = (1 << 8 * ffi.sizeof("size_t")) - 5
    assert lib.isth_sign(sealer.place, out, huge, out, huge, length) == E_ARGUMENT
    assert length[0] == 0


def test_without_a_tag_no_key_is_read(c: tuple[Any, Any]) -> None:
    ffi, lib = c
    place, length, out = ffi.new("isth_sealer *"), ffi.new("size_t *"), ffi.new("uint8_t[20]")
    assert lib.isth_seal_init(place, ffi.NULL, 0, 7, 5, END, 0) == OK
    assert lib.isth_sign(place, b"unit", 4, out, 20, length) == OK
    assert bytes(out)[: length[0]] == seal(b"", 7, 5, b"unit", 0)


def test_a_signer_of_ones_own(c: tuple[Any, Any]) -> None:
    """A secure element stands behind a function; the bytes are the same."""
    ffi, lib = c
    key = bytes(range(32))
    element = ffi.new("int *", 5)
    seen = []

    @ffi.callback("isth_mac")
    def mac(context: Any, data: Any, size: int, tag: Any) -> None:
        seen.append(ffi.cast("const int *", context)[0])
        tag[0:32] = hmac.new(key, bytes(ffi.buffer(data, size)), "sha256").digest()

    place, length, out = ffi.new("isth_sealer *"), ffi.new("size_t *"), ffi.new("uint8_t[50]")
    assert lib.isth_seal_init_mac(place, mac, element, 7, 5, END, 16) == OK
    assert lib.isth_sign(place, b"unit", 4, out, 50, length) == OK
    assert bytes(out)[: length[0]] == seal(key, 7, 5, b"unit", 16)
    assert seen == [5]


def test_an_external_compression_function(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """ISTH_SHA256_EXTERNAL leaves isth_sha256_blocks to the program: here one that counts."""
    gcc, nm = require_tool("gcc"), require_tool("nm")
    without = tmp_path / "external.o"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{RUNTIME}"]
    source = RUNTIME / "isth_sha256.c"
    subprocess.run([gcc, *flags, "-DISTH_SHA256_EXTERNAL", "-c", source, "-o", without], check=True)
    symbols = subprocess.run([nm, without], capture_output=True, text=True, check=True).stdout
    assert "U isth_sha256_blocks" in symbols
    assert "round_constants" not in symbols
    (tmp_path / "main.c").write_text(MAIN)
    words = [gcc, *flags, tmp_path / "main.c", without]
    subprocess.run([*words, "-o", tmp_path / "main"], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", SHA256[b"abc"][:8]]


MAIN = """
#include <stdio.h>
#include "isth_sha256.h"
static unsigned calls;
/* an accelerator that knows the hash of "abc" */
void isth_sha256_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
    calls += (unsigned)blocks;
    state[0] = data[0] == 'a' ? 0xba7816bfu : 0u;
}
int main(void) {
    uint8_t digest[32];
    isth_hmac_key key;
    isth_sha256((const uint8_t *)"abc", 3, digest);
    isth_hmac_key_init(&key, digest, 32);
    printf("%u %02x%02x%02x%02x\\n", calls, digest[0], digest[1], digest[2], digest[3]);
    return 0;
}
"""


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_no_undefined_behaviour_and_no_address_error(
    compiler: str, tmp_path: Path, require_tool: Callable[[str], str],
    require_package: Callable[[str], None],
) -> None:  # fmt: skip
    """Every unit length up to three blocks, in a buffer that ends where the sealed unit does."""
    if compiler == "zig":
        require_package("ziglang")
        words = [sys.executable, "-m", "ziglang", "cc", "-fsanitize=undefined"]
        words += ["-fsanitize-trap=undefined", "-O1"]
    else:
        words = [require_tool("gcc"), *sanitised_flags()]
    (tmp_path / "main.c").write_text(EXACT)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    subprocess.run(
        [*words, *strict, f"-I{RUNTIME}", tmp_path / "main.c", *SOURCES, "-o", tmp_path / "main"],
        check=True,
    )
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


EXACT = """
#include <stdlib.h>
#include "isth_seal.h"
int main(void) {
    static const uint8_t key[16] = {1};
    size_t size;
    for (size = 1; size < 200; size++) {
        isth_sealer sealer;
        size_t length = 0;
        size_t room = size + ISTH_SEAL_BYTES(32);
        uint8_t *out = calloc(room, 1);
        if (out == NULL) { return 2; }
        if (isth_seal_init(&sealer, key, sizeof key, 0xFFFFFFFFu, ISTH_SEAL_COUNTER_END - 1u,
                           ISTH_SEAL_COUNTER_END, 32) != ISTH_OK ||
            isth_sign(&sealer, out + ISTH_SEAL_HEADER_BYTES, size, out, room, &length) != ISTH_OK ||
            length != room) {
            return 1;
        }
        free(out);
    }
    return 0;
}
"""
