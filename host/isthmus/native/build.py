"""Builds the runtime's C for this machine, once, and loads it through cffi.

The sources are those that go into firmware. The library is kept in the user's cache directory
under a name made of the sources' digest, so a changed source is never served by an old build.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from isthmus.errors import BuildError, ToolMissingError

__all__ = ["cache_dir", "compile_shared", "host_compiler", "load_library", "runtime_dir"]

_RUNTIME_SOURCES = ("isth_crc32.c", "isth_decode.c", "isth_encode.c")
_RUNTIME_HEADERS = ("isth_status.h", "isth_codec.h", "isth_bins.h")
_FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared")


def runtime_dir() -> Path:
    """Where the runtime's C sources are: a checkout's templates/runtime, else the wheel's copy."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[3] / "templates" / "runtime", here.parents[1] / "_data/runtime"):
        if (candidate / "isth_codec.h").is_file():
            return candidate
    raise BuildError("isthmus", "the runtime's C sources are not installed", remedy="reinstall it")


def host_compiler() -> list[str]:
    """The C compiler for this machine: $CC, cc, gcc, clang, else ziglang's; ToolMissingError."""
    named = os.environ.get("CC")
    for name in (named, "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            return name.split()
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise ToolMissingError(
        "C compiler",
        "none was found",
        allowed="$CC, cc, gcc, clang or the ziglang package",
        remedy='install a compiler or run: pip install "isthmus[native]"',
    )


def cache_dir() -> Path:
    """Directory for built libraries: $ISTHMUS_CACHE, else the platform's user cache."""
    named = os.environ.get("ISTHMUS_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "isthmus"


def compile_shared(
    sources: list[Path], includes: list[Path], headers: list[Path], *, flags: tuple[str, ...] = ()
) -> Path:
    """A shared library of C ``sources``, built once per content (sources, headers, flags).

    Written beside its final name and renamed, so a broken build leaves nothing behind and two
    processes may build at once. BuildError carries the compiler's first message.
    """
    command = host_compiler()
    digest = hashlib.sha256(repr((command, _FLAGS, flags, sys.platform)).encode())
    for file in [*sources, *headers]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    suffix = sysconfig.get_config_var("SHLIB_SUFFIX") or ".so"
    final = cache_dir() / f"{sources[0].stem}-{digest.hexdigest()[:24]}{suffix}"
    if final.is_file():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=suffix, dir=final.parent)
    except OSError as error:
        raise BuildError(
            str(final.parent), f"cannot be written ({error.strerror})",
            remedy="set ISTHMUS_CACHE to a directory that can",
        ) from error  # fmt: skip
    os.close(handle)
    arguments = [*command, *_FLAGS, *flags, *(f"-I{path}" for path in includes)]
    arguments += [*(str(path) for path in sources), "-o", name]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        Path(name).unlink()
        first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr)
        raise BuildError(sources[0].name, first.strip() or "the compiler failed")
    Path(name).replace(final)
    return final


def _declarations(*headers: Path) -> str:
    """What cffi may read of our headers: everything but preprocessor lines and C++ guards."""
    lines = []
    for header in headers:
        guarded = False
        for line in header.read_text(encoding="utf-8").splitlines():
            if line.startswith("#ifdef __cplusplus"):
                guarded = True
            elif line.startswith("#endif") and guarded:
                guarded = False
            elif not line.startswith("#") and not guarded:
                lines.append(line)
    return "\n".join(lines)


@lru_cache(maxsize=1)
def load_library() -> tuple[Any, Any]:
    """(ffi, library) of the native codec, built on first use."""
    import cffi

    runtime = runtime_dir()
    own = Path(__file__).resolve().parent
    headers = [runtime / name for name in _RUNTIME_HEADERS]
    sources = [own / "isth_host.c", *(runtime / name for name in _RUNTIME_SOURCES)]
    library = compile_shared(sources, [runtime, own], [*headers, own / "isth_host.h"])
    ffi = cffi.FFI()
    ffi.cdef(
        _declarations(runtime / "isth_status.h", runtime / "isth_codec.h", own / "isth_host.h")
    )
    return ffi, ffi.dlopen(str(library))
