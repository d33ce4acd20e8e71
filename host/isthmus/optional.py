"""Optional packages: importing them without their chatter, and reading what they are given."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.errors import MissingExtraError, ModelFileError

__all__ = [
    "engine_call",
    "one_line",
    "quiet_engines",
    "quiet_import",
    "quiet_stderr",
    "read_model_bytes",
]

_NOISE = (
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "INFO: Initialized TensorFlow Lite runtime.",
    "fully_quantize:",
    "I0000",
    "W0000",
    "E0000 00:00",
    "WARNING: All log messages before absl",
)
_STDERR_LOCK = threading.RLock()
_ENGINES_QUIET = threading.Event()


def quiet_import(module: str, remedy: str) -> Any:
    """Import an optional package, or raise MissingExtraError; see :func:`engine_call`."""
    known = sys.modules.get(module)  # None marks a module that must not be imported
    if known is not None:
        return known
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with engine_call(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(package, f"not usable: {one_line(error)}", remedy=remedy) from error


@contextlib.contextmanager
def quiet_stderr(*, everything: bool = False) -> Iterator[None]:
    """Hold back what C++ code writes to descriptor 2, and pass on all but its chatter.

    ``everything`` drops it all, for calls that put what matters into an exception.

    The engines offer no switch for their start-up lines. The lines are only held back, so a real
    message still appears; the lock keeps two threads from restoring each other's descriptor. The
    descriptor is the whole process's: this is for programs, not for what serves inside one.
    Nothing happens where there is no descriptor 2 or no room for a file.
    """
    with _STDERR_LOCK, contextlib.ExitStack() as stack:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            # first, so that no file of ours takes the number 2 where nothing is open there
            saved = os.dup(2)
            stack.callback(os.close, saved)
            held = stack.enter_context(tempfile.TemporaryFile())
        except (OSError, ValueError):
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            held.seek(0)
            text = held.read().decode("utf-8", "replace")
            kept = [line for line in text.splitlines(True) if not line.startswith(_NOISE)]
            if kept and not everything:
                with contextlib.suppress(OSError):
                    os.write(2, "".join(kept).encode("utf-8"))


@contextlib.contextmanager
def quiet_engines() -> Iterator[None]:
    """Inside, engines are imported and opened under :func:`quiet_stderr`.

    For programs that own their standard error, as the command line does. Without it an engine's
    start-up lines appear, and descriptor 2 is never touched.
    """
    before = _ENGINES_QUIET.is_set()
    _ENGINES_QUIET.set()
    try:
        yield
    finally:
        if not before:
            _ENGINES_QUIET.clear()


def engine_call() -> contextlib.AbstractContextManager[None]:
    """Around the import or the opening of an engine: quiet inside :func:`quiet_engines` alone."""
    return quiet_stderr() if _ENGINES_QUIET.is_set() else contextlib.nullcontext()


def read_model_bytes(path: Path, size: int = -1) -> bytes:
    """The first ``size`` bytes of a model file (all: -1), or ModelFileError."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ModelFileError(
            str(path), error.strerror or "cannot be read", remedy="check the path"
        ) from error


def one_line(error: Exception) -> str:
    """The first sentence of an engine's message, fit for a one-line error."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
