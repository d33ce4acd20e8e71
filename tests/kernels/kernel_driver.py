"""Programs around driver.c: their C, their records, and what they answer.

A kernel is called through the parameters of its layer as the generator plans it: the calls are
written from the layers, so that a new field or a new kernel needs no change here.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from kernel_cases import Case

from isthmus_gen.front.layers import Layer, Ref, Struct, Value
from isthmus_gen.front.overlap import NOTHING
from isthmus_gen.front.rows import row_call
from isthmus_gen.resources import kernel_root, template_root

HERE = Path(__file__).resolve().parent
HARNESS = template_root() / "harness"
WHOLE, IN_PLACE, OVERLAP, ROWS, STEPS = range(5)
EDGES = 5  # nothing, input, constant, output, scratch
KINDS = ("", "differs", "wrote outside a block", "changed its input", "changed a constant")
_END = 0xFFFFFFFF
_RECORD_WORDS = 98_304


@functools.cache
def _text(name: str) -> str:
    return (kernel_root() / name).read_text()


def _numbers(value: Value) -> list[int]:
    if isinstance(value, Struct):
        return [n for part in value.values for n in _numbers(part)]
    return [value] if isinstance(value, int) else []


@dataclass(frozen=True)
class _Call:
    """A kernel with the form of its layer; ``by_number`` is one that takes rows by number."""

    kernel: str
    layer: Layer
    by_number: bool

    @property
    def key(self) -> str:
        """The same for all layers that this call serves."""
        text, _ = self._initialiser()
        return f"{self.kernel} {len(self.layer.inputs)} {bool(self.layer.scratch_bytes)} {text}"

    def _initialiser(self) -> tuple[str, int]:
        count = 0

        def word(value: Value) -> str:
            nonlocal count
            if isinstance(value, Struct):
                return "{" + ", ".join(map(word, value.values)) + "}"
            if isinstance(value, Ref):
                return f"a[{[array.suffix for array in self.layer.arrays].index(value.suffix)}]"
            count += 1
            return f"n[{count - 1}]"

        fields = [f".{name} = {word(value)}" for name, value in self.layer.params]
        return ", ".join(fields), count

    def text(self) -> str:
        """The call in C."""
        arguments = [f"x[{i}]" for i in range(len(self.layer.inputs))]
        arguments += ["y", *(["scratch"] if self.layer.scratch_bytes else [])]
        arguments += ["first", "rows"] if self.by_number else []
        struct, _ = self._initialiser()
        return (
            f"{{ const {self.layer.ctype} layer = {{{struct}}};\n"
            f"    {self.kernel}(&layer, {', '.join(arguments)}); }}\n"
        )


@dataclass
class Calls:
    """The calls that some cases need, and the kernels' files."""

    texts: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    headers: set[str] = field(default_factory=set)

    def number(self, call: _Call) -> int:
        """The number by which a record asks for ``call``."""
        self.texts.setdefault(call.key, call.text())
        self.files.update(name for name in call.layer.files if name.endswith(".c"))
        self.headers.update(
            name
            for name in call.layer.files
            if name.endswith(".h") and f"}} {call.layer.ctype};" in _text(name)
        )
        return list(self.texts).index(call.key)

    def header(self) -> str:
        """calls.h."""
        includes = "".join(f'#include "{name}"\n' for name in sorted(self.headers))
        cases = "".join(
            f"    case {i}: {text}    break;\n" for i, text in enumerate(self.texts.values())
        )
        return (
            f"{includes}static void isth_test_call(int32_t which, const int32_t *n, void **a,\n"
            "    int8_t **x, int8_t *y, int8_t *scratch, int32_t first, int32_t rows) {\n"
            "    (void)first; (void)rows; (void)scratch; (void)a;\n"
            f"    switch (which) {{\n{cases}    default: break;\n    }}\n}}\n"
        )

    def sources(self) -> list[Path]:
        """The kernels' own files of C."""
        return [kernel_root() / name for name in sorted(self.files)]


def _bytes(values: np.ndarray) -> bytes:
    data = np.ascontiguousarray(values).tobytes()
    return data + bytes(-len(data) % 4)


def _words(*values: int) -> bytes:
    return np.array(values, dtype=np.int64).astype(np.int32).tobytes()


def _counted(values: Sequence[int]) -> bytes:
    return _words(len(values), *values)


def _row_count(case: Case) -> int:
    shape = case.graph.tensors[case.layer.output].shape
    return shape[1] if len(shape) >= 3 else 1


def _parts(rng: np.random.Generator, rows: int) -> list[tuple[int, int]]:
    """Rows split at random, or one by one, in an order at random."""
    ends = [0, *(n for n in range(1, rows) if rng.random() < 0.5), rows]
    parts = [(first, end - first) for first, end in pairwise(ends)]
    return [parts[i] for i in rng.permutation(len(parts))]


def runs(case: Case, calls: Calls) -> list[bytes]:
    """Every way in which the generator may have the layer called, beginning with its kind."""
    layer, rng = case.layer, np.random.default_rng(case.number)
    whole = calls.number(_Call(layer.kernel, layer, False))
    ways = [_words(WHOLE, whole, edge) for edge in range(1, EDGES)]
    y_bytes = case.wanted.shape[1]
    for position, tensor in enumerate(layer.inputs):
        if not isinstance(tensor, int):
            continue
        alone = sum(other == tensor for other in layer.inputs) == 1
        if tensor in layer.in_place and y_bytes <= case.inputs[tensor].shape[1] and alone:
            ways.append(_words(IN_PLACE, whole, 0, position, 0))
        ways += [
            _words(OVERLAP, whole, 0, position, distance)
            for source, distance in layer.overlap
            if source == tensor and distance < NOTHING
        ]
    rows = _row_count(case)
    by_rows = row_call(layer, case.graph, rows) if rows > 1 else None
    if by_rows is None:
        return ways
    row_bytes = y_bytes // rows
    if by_rows.params is not None:
        form = Layer(**{**vars(layer), "params": by_rows.params})
        number = calls.number(_Call(by_rows.kernel, form, False))
        numbers = [n for _, value in by_rows.params for n in _numbers(value)]
        head = _words(STEPS, number, 0, by_rows.scratch_bytes, row_bytes, rows, *by_rows.steps)
        ways.append(head + _counted(numbers))
    form = Layer(**{**vars(layer), "kernel": f"{layer.kernel}_rows"})
    if any(f"{form.kernel}(" in _text(name) for name in layer.files if name.endswith(".h")):
        number = calls.number(_Call(form.kernel, form, True))
        singles = [(row, 1) for row in range(rows)]
        splits = [(layer.scratch_bytes, _parts(rng, rows))]
        if by_rows.params is None:
            splits.append((by_rows.scratch_bytes, singles))
        for scratch, parts in splits:
            flat = [n for part in parts for n in part]
            ways.append(_words(ROWS, number, 0, scratch, row_bytes, len(parts), *flat))
    return ways


def record(case: Case, calls: Calls) -> bytes:
    """A case and its runs as driver.c reads them; empty where it does not fit."""
    layer = case.layer
    suffixes = [array.suffix for array in layer.arrays]
    numbers = [n for _, value in layer.params for n in _numbers(value)]
    parts = [_words(case.number), _counted(numbers), _words(len(layer.arrays))]
    for array in layer.arrays:
        values = array.values.astype(np.int8 if array.ctype == "int8_t" else np.int32)
        parts += [_words(values.nbytes), _bytes(values)]
    inputs = [
        case.inputs[i].shape[1] if isinstance(i, int) else -1 - suffixes.index(i.suffix)
        for i in layer.inputs
    ]
    ways = runs(case, calls)
    samples = len(case.wanted)
    parts += [_words(case.wanted.shape[1], layer.scratch_bytes), _counted(inputs)]
    parts.append(_words(samples, len(ways)))
    for i in range(samples):
        parts += [_bytes(case.inputs[t][i]) for t in layer.inputs if isinstance(t, int)]
        parts.append(_bytes(case.wanted[i]))
    body = b"".join(parts)
    whole = _words(1 + len(body) // 4) + body + b"".join(ways)
    return _words(len(whole) // 4) + whole if len(whole) <= 4 * _RECORD_WORDS else b""


@dataclass(frozen=True)
class Answer:
    """What a program found: failures as sentences, and how much it looked at."""

    failures: tuple[str, ...]
    cases: int
    runs: int
    compared: int


def read_answer(data: bytes) -> Answer:
    """The answer in a program's output; a program that ended early has none (ValueError)."""
    words = np.frombuffer(data[: len(data) // 20 * 20], dtype="<u4").reshape(-1, 5).tolist()
    if not words or words[-1][0] != _END:
        raise ValueError(f"the program ended early, after {words}")
    failures = [
        f"case {number}, run {run}: {KINDS[kind]} at {at} (value {np.uint32(got).view(np.int32)})"
        for number, run, kind, at, got in words[:-1]
    ]
    _, cases, runs, compared, count = words[-1]
    if count > len(failures):
        failures.append(f"and {count - len(failures)} more")
    return Answer(tuple(failures), cases, runs, compared)


@dataclass(frozen=True)
class Batch:
    """Some cases for any number of programs."""

    calls: Calls
    data: bytes
    count: int


def batch(cases: Iterable[Case]) -> Batch:
    """The records of ``cases``, and the calls that they make."""
    calls = Calls()
    records = [record(case, calls) for case in cases]
    return Batch(calls, b"".join(records) + _words(0), sum(map(bool, records)))


def build_hosted(folder: Path, compiler: Sequence[str], flags: Sequence[str], calls: Calls) -> Path:
    """A program with an operating system; ``flags`` choose the tier and the blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    program, header = folder / "program", folder / "calls.h"
    if program.exists() and header.read_text() == calls.header():
        return program
    header.write_text(calls.header())
    includes = [f"-I{folder}", f"-I{kernel_root()}", f"-I{HARNESS}"]
    files = [HERE / "driver.c", HARNESS / "port_stdio.c", *calls.sources()]
    command = [*compiler, "-std=gnu99", *flags, *includes, *map(str, files), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def run_hosted(command: Sequence[str], data: bytes) -> Answer:
    """The answer of a program with an operating system."""
    done = subprocess.run(list(command), input=data, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(
            f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[-4000:]}"
        )
    return read_answer(done.stdout)
