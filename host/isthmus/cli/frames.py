"""``isthmus encode``, ``decode`` and ``inspect``: frames on files."""

from __future__ import annotations

import math
import os
import secrets
import tokenize
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from isthmus.bundle import Bundle
from isthmus.cli.console import Output, table
from isthmus.cli.inspection import inspect_frame
from isthmus.decoder import CONCEALMENTS, Decoder, check_concealment
from isthmus.errors import (
    DataDtypeError,
    DataEmptyError,
    DataFileError,
    DataNotFiniteError,
    DataShapeError,
    OptionError,
    OutputError,
)

__all__ = ["register"]

BundleArgument = Annotated[Path, typer.Argument(help="A bundle, as `isthmus generate` writes it.")]
# numpy reads a header as a Python literal, and passes on whatever goes wrong with that
_NPY_ERRORS = (
    OSError, ValueError, EOFError, MemoryError, RecursionError, SyntaxError, TypeError,
    tokenize.TokenError,
)  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("encode")(encode)
    app.command("decode")(decode)
    app.command("inspect")(inspect)


def encode(
    bundle: BundleArgument,
    tensor: Annotated[Path, typer.Argument(help="A .npy of one feature tensor, or [n, ...].")],
    out: Annotated[Path, typer.Option(help="File of one frame, or a directory for several.")],
    rung: Annotated[int, typer.Option(help="Rung of the ladder.")] = 0,
    sequence: Annotated[int, typer.Option(help="Sequence number of the first frame.")] = 0,
    json: JsonOption = False,
) -> None:
    """Code feature tensors as the firmware codes them.

    \b
    Example:
        isthmus encode digits tensor.npy --out tensor.isth
    """
    decoder = Decoder(bundle)
    tensors = _read_tensors(tensor, decoder.profile.tensor.shape)
    if not 0 <= sequence <= 0xFFFF:
        raise OptionError("--sequence", f"is {sequence}", allowed="0..65535")
    several = tensors.ndim > len(decoder.profile.tensor.shape)
    batch = tensors if several else tensors[np.newaxis]
    if len(batch) == 0:
        raise DataEmptyError(str(tensor), "holds no tensor", remedy="give at least one")
    frames = [
        decoder.encode(one, rung=rung, sequence=(sequence + index) & 0xFFFF)
        for index, one in enumerate(batch)
    ]
    if several:
        for index, frame in enumerate(frames):
            _write(out / f"frame_{index:05d}.isth", frame)
    else:
        _write(out, frames[0])
    size = sum(len(frame) for frame in frames)
    bits = 8.0 * size / max(1, batch.size)
    data = {"frames": len(frames), "bytes": size, "bits_per_element": bits, "out": str(out)}
    Output(json).result(
        data,
        lambda console: console.print(
            f"{len(frames)} frame(s), {size} bytes, {bits:.3f} bits per element -> {out}"
        ),
    )


def decode(
    bundle: BundleArgument,
    frames: Annotated[list[Path], typer.Argument(help="Frame files.")],
    out: Annotated[Path, typer.Option(help="The .npy to write: float32 features.")],
    levels: Annotated[bool, typer.Option(help="Write uint8 levels, not features.")] = False,
    conceal: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Take frames with missing or damaged slices, too, and fill what is missing: "
            f"{', '.join(CONCEALMENTS)}.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Decode frames to features; a damaged frame is refused with its code, and nothing written.

    \b
    Example:
        isthmus decode digits tensor.isth --out features.npy
        isthmus decode digits received.isth --conceal auto --out features.npy
    """
    decoder = Decoder(bundle)
    if conceal is None:
        decoded = [decoder.decode(_read(path)) for path in frames]
    else:
        check_concealment(conceal, "--conceal")
        decoded = [decoder.decode_slices([_read(path)], conceal) for path in frames]
    arrays = [one.levels if levels else one.features for one in decoded]
    content = arrays[0] if len(arrays) == 1 else np.stack(arrays)
    _write_npy(out, content)
    data: dict[str, Any] = {
        "frames": len(decoded),
        "shape": list(content.shape),
        "rungs": [one.rung for one in decoded],
        "sequences": [one.sequence for one in decoded],
        "out": str(out),
    }
    line = f"{len(decoded)} frame(s) -> {out} {list(content.shape)}"
    if conceal is not None:
        missing = [0 if d.received is None else int((~d.received).sum()) for d in decoded]
        data["missing_elements"] = missing
        data["errors"] = [error.as_dict() for one in decoded for error in one.errors]
        line += f", {sum(missing)} of {content.size} elements concealed"
    Output(json).result(data, lambda console: console.print(line))


def inspect(
    frame: Annotated[Path, typer.Argument(help="A frame file.")],
    bundle: Annotated[Path | None, typer.Option(help="Decode it with this bundle, too.")] = None,
    json: JsonOption = False,
) -> None:
    """Explain a frame field by field; with a bundle, decode it and say what it holds.

    \b
    Example:
        isthmus inspect tensor.isth --bundle digits
    """
    opened = None if bundle is None else Bundle.open(bundle)
    report, error = inspect_frame(_read(frame), None if opened is None else opened.profile)

    def show(console: Console) -> None:
        rows = [
            (str(f["offset"]), str(f["bytes"]), str(f["field"]), str(f["value"]), str(f["meaning"]))
            for f in report["fields"]
        ]
        columns = [
            ("offset", "right"), ("bytes", "right"), ("field", "left"), ("value", "left"),
            ("meaning", "left"),
        ]  # fmt: skip
        console.print(table("", columns, rows))
        for line in report["summary"]:
            console.print(line)

    Output(json).result(report, show, error)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataFileError(
            str(path), f"cannot be read ({error.strerror})", remedy="give the path of a frame"
        ) from error


def _read_tensors(path: Path, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            _check_claim(file)
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except _NPY_ERRORS as error:
        raise DataFileError(
            str(path), f"cannot be read as .npy ({error})", remedy="write it with numpy.save"
        ) from error
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype not in (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.float32)):
        raise DataDtypeError(
            str(path), f"has dtype {array.dtype}", allowed="int8, int16, float32 or float64"
        )
    if array.shape != shape and array.shape[1:] != shape:
        raise DataShapeError(
            str(path), f"has shape {list(array.shape)}", allowed=f"{list(shape)} or [n, ...]"
        )
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise DataNotFiniteError(
            str(path), "holds NaN or infinity", remedy="repair the tensor first"
        )
    return array


def _check_claim(file: BinaryIO) -> None:
    """ValueError where a .npy says it holds more than it does: memory follows files, not claims."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version[0]}.{version[1]}, which no plain array needs")
    start = file.tell()
    need, held = math.prod(shape) * dtype.itemsize, file.seek(0, os.SEEK_END) - start
    if min(shape, default=0) < 0 or (need > held and not dtype.hasobject):
        raise ValueError(f"shape {shape} of {dtype} takes {need} bytes, the file holds {held}")
    file.seek(0)


def _write(path: Path, data: bytes) -> None:
    """Writes aside and renames; OutputError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        try:
            with aside.open("xb") as file:  # with the mode that the umask leaves, as any output
                file.write(data)
            aside.replace(path)
        finally:  # an interrupt leaves nothing behind either
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            str(path), f"cannot be written ({error.strerror})", remedy="choose another --out"
        ) from error


def _write_npy(path: Path, array: npt.NDArray[Any]) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array)
    _write(path, buffer.getvalue())
