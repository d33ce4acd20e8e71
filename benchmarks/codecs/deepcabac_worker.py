"""The process in nncodec's own environment; see deepcabac.py. Needs numpy and nncodec alone.

Arrays go through its pipes as .npy files, each after its length in eight bytes.

A line "encode" is followed by levels uint8 [n, rows, columns], answered by lengths int64 [n] and
the codes uint8, end to end; "decode" by lengths and codes, answered by the levels.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any
from unittest.mock import MagicMock

import numpy as np


def write_array(pipe: IO[bytes], array: Any) -> None:
    """Sends an array."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    pipe.write(len(content.getvalue()).to_bytes(8, "little") + content.getvalue())


def read_array(pipe: IO[bytes]) -> Any:
    """Receives an array."""
    size = int.from_bytes(pipe.read(8), "little")
    return np.load(io.BytesIO(pipe.read(size)), allow_pickle=False)


def main() -> None:
    """Serve until the other side closes its end."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the package prints must not come between the arrays
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        # The package imports it for its applications alone; beside a torch that was built
        # otherwise (the CPU's) it cannot be loaded.
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms"):
            sys.modules[name] = MagicMock()
    from nncodec.tensor import decode, encode

    out.write(b"ready\n")
    out.flush()
    given = sys.stdin.buffer
    # The search for context parameters takes four times as long and saves half a percent.
    options = {"param_opt": False}
    while line := given.readline():
        if line == b"encode\n":
            levels = read_array(given)
            codes = [bytes(encode(one.astype(np.int32), options)) for one in levels]
            lengths = np.array([len(code) for code in codes], dtype=np.int64)
            write_array(out, lengths)
            write_array(out, np.frombuffer(b"".join(codes), dtype=np.uint8))
        else:
            lengths, content = read_array(given), read_array(given)
            ends = np.cumsum(lengths)
            found = [
                decode(bytearray(content[end - size : end].tobytes()))
                for end, size in zip(ends, lengths, strict=True)
            ]
            write_array(out, np.stack(found).astype(np.uint8))
        out.flush()


if __name__ == "__main__":
    main()
