"""Files of networks, looked at before an engine opens them: data, which may come from anyone.

A network's file can say more than numbers: Keras layers hold Python code or read other files, ONNX
tensors may lie in files named by their path, TensorFlow Lite can carry TensorFlow's own operators
(which read and write files), archives and HDF5 files unpack to more than there is memory for. What
is needed for inference has none of this, so what has is refused: BundleFormatError.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from isthmus.errors import BundleFormatError, MissingExtraError
from isthmus.interpreters import tflite_schema
from isthmus.optional import one_line, quiet_import

__all__ = ["check_h5", "check_keras", "check_onnx", "check_tflite"]

_REMEDY = "save the back half again with built-in layers and operators only"
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = frozenset({_CONFIG, "metadata.json", _WEIGHTS})
_UNPACKED_MAX = 2 << 30
_UNPACKED_TIMES = 64
_ROOM = 1 << 20
_HDF5_OBJECTS = 1 << 20
_HDF5_DEPTH = 64
_HDF5_FILTERS = frozenset({1, 2, 3})  # deflate, shuffle, fletcher32: in the library itself

_ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError, RuntimeError,
    NotImplementedError,
)  # fmt: skip

#: Keras classes that run code kept in the file, or open files that its configuration names.
_CODE = frozenset({
    "Lambda", "__lambda__", "__typespec__", "FlaxLayer", "IndexLookup", "IntegerLookup", "JaxLayer",
    "StringLookup", "TFSMLayer", "TextVectorization", "TorchModuleWrapper",
})  # fmt: skip
#: Where the classes of a network for inference are defined, old names among them.
_CLASSES = (
    "keras.layers", "keras.models", "keras.initializers", "keras.regularizers", "keras.constraints",
    "keras.activations", "keras.dtype_policies", "keras.quantizers", "keras.ops",
    "keras.optimizers", "keras.losses", "keras.metrics", "keras.engine",
)  # fmt: skip
_FUNCTIONS = ("keras.activations", "keras.initializers", "keras.constraints", "keras.ops")


def check_tflite(content: bytes, where: str) -> None:
    """Refuses a ``.tflite`` with TensorFlow's own operators (``Flex...``)."""
    if content[4:8] != b"TFL3":
        return  # open_tflite says what it is not
    try:
        schema = tflite_schema()
    except MissingExtraError:
        return  # the engines that come without the schema come without these operators, too
    try:
        model = schema.Model.GetRootAs(content, 0)
        codes = [model.OperatorCodes(k).CustomCode() for k in range(model.OperatorCodesLength())]
    except (struct.error, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BundleFormatError(where, f"is no .tflite ({one_line(error)})") from None
    for code in codes:
        if code is not None and bytes(code).startswith(b"Flex"):
            name = bytes(code)[4:44].decode("latin-1")
            raise BundleFormatError(
                where, f"holds TensorFlow's operator {name!r}", allowed="TensorFlow Lite's own",
                remedy=_REMEDY,
            )  # fmt: skip


# Fields of the messages of onnx.proto that lead to tensors: {message: {field: message}}.
_ONNX: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def check_onnx(content: bytes, where: str) -> None:
    """Refuses an ``.onnx`` with tensors in other files: the engine opens any path they name."""
    if content[4:8] == b"ORTM":
        raise BundleFormatError(where, "is in ONNX Runtime's own format", allowed="ONNX")
    view = memoryview(content)
    waiting = [(view, "model")]
    while waiting:
        part, kind = waiting.pop()
        for field, value in _fields(part, where):
            if kind == "tensor" and (
                field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
            ):
                raise BundleFormatError(
                    where, "keeps tensors in other files", allowed="one file",
                    remedy="save it with its weights inside (onnx.save, save_as_external_data off)",
                )  # fmt: skip
            inner = _ONNX[kind].get(field)
            if inner is not None:
                if not isinstance(value, memoryview):
                    raise BundleFormatError(where, "is no ONNX (a message is no message)")
                waiting.append((value, inner))


def _fields(view: memoryview, where: str) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: numbers, and bytes where they have a length."""
    at, size = 0, len(view)
    while at < size:
        key, at = _varint(view, at, where)
        wire = key & 7
        value: int | memoryview = 0
        if wire == 0:
            value, at = _varint(view, at, where)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(view, at, where)
            value = view[at : at + length]
            at += length
        else:
            raise BundleFormatError(where, f"is no ONNX (wire type {wire})")
        if at > size:
            raise BundleFormatError(where, "is no ONNX (it ends within a field)")
        yield key >> 3, value


def _varint(view: memoryview, at: int, where: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BundleFormatError(where, "is no ONNX (a number has no end)")


def check_keras(content: bytes, where: str) -> None:
    """Refuses a ``.keras`` that holds code, other files, or more than it should unpack to."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive.infolist(), len(content), where)
            config, weights = archive.read(_CONFIG), archive.read(_WEIGHTS)
    except _ARCHIVE_ERRORS as error:
        raise BundleFormatError(where, f"is no .keras archive ({one_line(error)})") from None
    _check_config(config, where)
    _check_hdf5(weights, where, legacy=False)


def check_h5(content: bytes, where: str) -> None:
    """The same for a network in Keras's old format, one HDF5 file."""
    _check_hdf5(content, where, legacy=True)


def _check_members(members: list[zipfile.ZipInfo], size: int, where: str) -> None:
    names = [member.filename for member in members]
    strange = [name for name in names if name not in _MEMBERS]
    if strange or len(set(names)) != len(names):
        what = f"has the member {strange[0]!r:.60}" if strange else "has a member twice"
        raise BundleFormatError(where, what, allowed=", ".join(sorted(_MEMBERS)), remedy=_REMEDY)
    unpacked = sum(member.file_size for member in members)
    most = min(_UNPACKED_MAX, _ROOM + _UNPACKED_TIMES * size)
    if unpacked > most:
        raise BundleFormatError(where, f"unpacks to {unpacked} bytes", allowed=f"<= {most}")


def _check_config(config: bytes | str, where: str) -> None:
    try:
        found = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(where, f"has no readable configuration ({error})") from None
    if isinstance(found, dict):
        found.pop("compile_config", None)  # how it was trained: not read
    waiting = [found]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            if "class_name" in node:
                _check_node(node, where)
            waiting += node.values()


def _check_node(node: dict[str, Any], where: str) -> None:
    """One object of a Keras configuration."""
    name, module = node["class_name"], node.get("module")
    registered = node.get("registered_name")
    if not isinstance(name, str) or name in _CODE:
        raise BundleFormatError(
            where, f"holds a {name!r:.60}, which runs code or opens files of its own choice",
            allowed="layers that compute", remedy=_REMEDY,
        )  # fmt: skip
    function = name == "function"
    known = module in (None, "builtins") if function else module in (None, "keras")
    if not known and isinstance(module, str):
        public = module.replace("keras.src.", "keras.", 1)
        roots = _FUNCTIONS if function else _CLASSES
        known = any(public == root or public.startswith(f"{root}.") for root in roots)
    if not known or (registered is not None and (not isinstance(registered, str))):
        raise BundleFormatError(
            where, f"names {module!r:.60}.{name:.60}", allowed="what Keras itself defines",
            remedy=_REMEDY,
        )  # fmt: skip
    if isinstance(registered, str) and ">" in registered:
        raise BundleFormatError(
            where, f"needs the custom object {registered!r:.60}",
            allowed="what Keras itself defines", remedy=_REMEDY,
        )  # fmt: skip


def _check_hdf5(content: bytes, where: str, *, legacy: bool) -> None:
    """Links and data inside the file alone, and no more of it than the file's size explains."""
    h5py = quiet_import("h5py", 'pip install "isthmus[generate]"')
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _check_objects(h5py, file, len(content), where)
            if legacy:
                config = file.attrs.get("model_config")
                if not isinstance(config, str | bytes):
                    raise BundleFormatError(where, "holds no network", remedy=_REMEDY)
                _check_config(config, where)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise BundleFormatError(where, f"is no HDF5 file ({one_line(error)})") from None


def _check_objects(h5py: Any, file: Any, size: int, where: str) -> None:
    waiting = [(file["/"], 0)]
    count, total = 0, 0
    most = min(_UNPACKED_MAX, _ROOM + _UNPACKED_TIMES * size)
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            count += 1
            if count > _HDF5_OBJECTS or depth > _HDF5_DEPTH:
                raise BundleFormatError(where, "has groups without end")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise BundleFormatError(
                    where, f"has the link {name!r:.60}", allowed="data of its own", remedy=_REMEDY
                )
            one = group[name]
            if isinstance(one, h5py.Group):
                waiting.append((one, depth + 1))
            elif isinstance(one, h5py.Dataset):
                _check_dataset(one, name, where)
                total += one.size * one.dtype.itemsize
            if total > most:
                raise BundleFormatError(where, f"unpacks to {total} bytes", allowed=f"<= {most}")


def _check_dataset(data: Any, name: str, where: str) -> None:
    plan = data.id.get_create_plist()
    filters = {plan.get_filter(k)[0] for k in range(plan.get_nfilters())}
    if data.external or data.is_virtual or filters - _HDF5_FILTERS or data.dtype.kind in "OV":
        raise BundleFormatError(
            where, f"does not hold {name!r:.60} as plain numbers",
            allowed="arrays inside the file", remedy=_REMEDY,
        )  # fmt: skip
