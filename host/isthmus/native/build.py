"""Builds the runtime's C for this machine, once, and loads it through cffi.

The sources are those that go into firmware. The library is kept in the user's cache directory
under a name made of a digest of sources, compiler and machine, so a changed source is never served
by an old build, nor one machine by another's.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import struct
import subprocess
import sys
import sysconfig
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from isthmus.errors import BuildError, ToolMissingError

__all__ = ["cache_dir", "compile_shared", "host_compiler", "load_library", "runtime_dir"]

_RUNTIME_SOURCES = (
    "isth_crc32.c",
    "isth_decode.c",
    "isth_encode.c",
    "isth_frame.c",
    "isth_quantise.c",
)
_RUNTIME_HEADERS = (
    "isth_status.h",
    "isth_codec.h",
    "isth_bins.h",
    "isth_config.h",
    "isth_decode_loops.h",
    "isth_encode_loops.h",
    "isth_encode_near.h",
    "isth_quantise.h",
)
_FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared")


def runtime_dir() -> Path:
    """Where the runtime's C sources are: a checkout's templates/runtime, else the wheel's copy."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    # An installed package has other people's folders above it: only a checkout's own may count.
    ours = package == checkout / "host" / "isthmus" and (checkout / "pyproject.toml").is_file()
    candidates = [checkout / "templates" / "runtime"] if ours else []
    for candidate in (*candidates, package / "_data" / "runtime"):
        if (candidate / "isth_codec.h").is_file():
            return candidate
    raise BuildError("isthmus", "the runtime's C sources are not installed", remedy="reinstall it")


def host_compiler() -> list[str]:
    """The C compiler for this machine: $CC, cc, gcc, clang, else ziglang's; ToolMissingError."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = name.split()
        if words and shutil.which(words[0]):
            return words
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise ToolMissingError(
        "C compiler",
        "none was found",
        allowed="$CC, cc, gcc, clang or the ziglang package",
        remedy='install a compiler or run: pip install "isthmus[native]"',
    )


def cache_dir() -> Path:
    """Directory for built libraries: $ISTHMUS_CACHE, else the platform's user cache.

    An account without a home gets a directory of its own that goes away with the process.
    """
    named = os.environ.get("ISTHMUS_CACHE")
    if named:
        return Path(named).resolve()
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base).resolve() / "isthmus"
    try:
        return Path.home().resolve() / ".cache" / "isthmus"
    except RuntimeError:
        return _private_dir()


@lru_cache(maxsize=1)
def _private_dir() -> Path:
    path = Path(tempfile.mkdtemp(prefix="isthmus-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path.resolve()


def compile_shared(
    sources: list[Path], includes: list[Path], headers: list[Path], *, flags: tuple[str, ...] = ()
) -> Path:
    """A shared library of C ``sources``, built once per content, flags, compiler and machine.

    Written beside its final name and renamed, so a broken build leaves nothing behind and two
    processes may build at once. BuildError carries the compiler's first message, or says that
    what lies in the cache may not be loaded.
    """
    command = host_compiler()
    machine = (sys.platform, platform.machine(), struct.calcsize("P"))
    found = (shutil.which(command[0]) or command[0], *command[1:])
    made_by = (found, _compiler_version(found))
    digest = hashlib.sha256(repr((made_by, _FLAGS, flags, machine)).encode())
    for file in [*sources, *headers]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    suffix = sysconfig.get_config_var("SHLIB_SUFFIX") or ".so"
    final = cache_dir() / f"{sources[0].stem}-{digest.hexdigest()[:24]}{suffix}"
    if not os.path.lexists(final):
        arguments = [*command, *_FLAGS, *flags, *(f"-I{path}" for path in includes)]
        _build([*arguments, *(str(path) for path in sources)], sources[0].name, final)
    _check_ours(final)
    return final


@lru_cache(maxsize=8)
def _compiler_version(command: tuple[str, ...]) -> str:
    """The first line of ``--version``: an updated compiler builds anew."""
    try:
        run = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise BuildError(
            command[0], f"cannot be run ({error.strerror})", remedy="set CC to a C compiler"
        ) from error
    return run.stdout.partition("\n")[0]


def _build(arguments: list[str], name: str, final: Path) -> None:
    """Runs the compiler with its output beside ``final``, and renames that."""
    try:
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(suffix=final.suffix, dir=final.parent)
        os.close(handle)
    except OSError as error:
        raise BuildError(
            str(final.parent), f"cannot be written ({error.strerror})",
            remedy="set ISTHMUS_CACHE to a directory that can",
        ) from error  # fmt: skip
    try:
        run = subprocess.run(
            [*arguments, "-o", made], capture_output=True, text=True, errors="replace", check=False
        )
        if run.returncode != 0:
            first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr)
            raise BuildError(name, first.strip() or "the compiler failed")
        Path(made).chmod(0o644)  # whatever the umask: others may read it, nobody may change it
        Path(made).replace(final)
    except OSError as error:
        raise BuildError(
            str(final), f"cannot be built ({error.strerror})", remedy="check $CC and ISTHMUS_CACHE"
        ) from error
    finally:  # an interrupt leaves nothing behind either
        Path(made).unlink(missing_ok=True)


def _check_ours(library: Path) -> None:
    """BuildError where somebody else could have put ``library`` there: loading it runs it."""
    remedy = "remove it, or set ISTHMUS_CACHE to a directory of your own"
    try:
        file, folder = library.lstat(), library.parent.stat()
    except OSError as error:
        raise BuildError(
            str(library), f"cannot be read ({error.strerror})", remedy=remedy
        ) from error
    if not hasattr(os, "geteuid"):
        return
    if not stat.S_ISREG(file.st_mode):
        raise BuildError(str(library), "is not a regular file", remedy=remedy)
    if file.st_uid not in (os.geteuid(), 0):
        raise BuildError(str(library), f"belongs to user {file.st_uid}", remedy=remedy)
    if file.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BuildError(str(library), "can be written by others", remedy=remedy)
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        raise BuildError(str(library.parent), "can be written by others", remedy=remedy)


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
    includes, headers = [runtime, own], [*headers, own / "isth_host.h"]
    ffi = cffi.FFI()
    ffi.cdef(
        _declarations(runtime / "isth_status.h", runtime / "isth_codec.h", own / "isth_host.h")
    )
    library = compile_shared(sources, includes, headers)
    try:
        return ffi, ffi.dlopen(str(library))
    except OSError:
        # cut short by a full disk, or made for another machine: once more
        with contextlib.suppress(OSError):
            library.unlink()
    library = compile_shared(sources, includes, headers)
    try:
        return ffi, ffi.dlopen(str(library))
    except OSError as error:
        raise BuildError(
            str(library), f"was built and cannot be loaded ({' '.join(str(error).split())})",
            remedy="set CC to a compiler for this machine, and ISTHMUS_CACHE to a directory that "
            "programs may run from",
        ) from error  # fmt: skip
