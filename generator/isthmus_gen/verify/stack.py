"""The deepest stack of a function, from the compiler's frame sizes and the objects' call graph.

Frame sizes come from ``-fstack-usage`` (gcc and clang write the same lines), calls from the
relocations of the objects, which were compiled with one function a section. A reference through
a table of function pointers counts as a call, so the figure is an upper bound; what it leaves out
(functions of the compiler's library, whose frames no compiler states) is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus_gen.verify.elf import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    STT_FUNC,
    STT_SECTION,
    ElfFile,
    Symbol,
)

__all__ = ["StackReport", "stack_report"]

_Node = tuple[int, int] | str


@dataclass(frozen=True)
class StackReport:
    """``deepest`` in bytes for each entry; ``unknown``: functions whose frame is not known."""

    deepest: dict[str, int]
    chains: dict[str, tuple[str, ...]]
    unknown: tuple[str, ...]
    unbounded: tuple[str, ...]

    @property
    def bytes(self) -> int | None:
        """The larger of the entries, or None where recursion or a dynamic frame has no bound."""
        if self.unbounded or not self.deepest:
            return None
        return max(self.deepest.values())


@dataclass
class _Graph:
    frames: dict[_Node, int]
    names: dict[_Node, str]
    calls: dict[_Node, set[_Node]]
    entries: dict[str, _Node]
    dynamic: set[str]


def stack_report(objects: Sequence[Path], entries: Sequence[str]) -> StackReport:
    """The report for ``entries`` over ``objects``, each with its ``.su`` file beside it."""
    graph = _read(objects)
    deepest: dict[str, int] = {}
    chains: dict[str, tuple[str, ...]] = {}
    unknown: set[str] = set()
    unbounded: set[str] = set()
    memo: dict[_Node, tuple[int, tuple[str, ...]]] = {}
    for entry in entries:
        start = graph.entries.get(entry)
        if start is not None:
            depth, chain = _deepest(graph, start, (), memo, unknown, unbounded)
            deepest[entry], chains[entry] = depth, chain
    return StackReport(deepest, chains, tuple(sorted(unknown)), tuple(sorted(unbounded)))


def _deepest(
    graph: _Graph,
    node: _Node,
    above: tuple[_Node, ...],
    memo: dict[_Node, tuple[int, tuple[str, ...]]],
    unknown: set[str],
    unbounded: set[str],
) -> tuple[int, tuple[str, ...]]:
    """Depth in bytes below ``node`` and the names on the way; the graph is shallow."""
    if node in memo:
        return memo[node]
    if node in above:
        unbounded.add(graph.names.get(node, str(node)))
        return 0, ()
    if isinstance(node, str):
        unknown.add(node)
        return 0, (node,)
    name = graph.names.get(node)
    if name in graph.dynamic:
        unbounded.add(str(name))
    best: tuple[int, tuple[str, ...]] = (0, ())
    for callee in sorted(graph.calls.get(node, set()), key=str):
        if callee != node or name is not None:  # a table that refers to itself is no call
            found = _deepest(graph, callee, (*above, node), memo, unknown, unbounded)
            best = max(best, found, key=lambda item: item[0])
    chain = ((name,) if name else ()) + best[1]
    memo[node] = (graph.frames.get(node, 0) + best[0], chain)
    return memo[node]


def _read(objects: Sequence[Path]) -> _Graph:
    graph = _Graph({}, {}, {}, {}, set())
    files = [ElfFile(path) for path in objects]
    parts = {part: whole for i, file in enumerate(files) for part, whole in _cold_parts(i, file)}
    for i, (path, file) in enumerate(zip(objects, files, strict=True)):
        usage = _usage(path.with_suffix(".su"), graph.dynamic)
        for symbol in file.symbols:
            if not symbol.section:
                continue
            node = (i, symbol.section)
            if symbol.is_global:
                graph.entries.setdefault(symbol.name, node)
            if symbol.kind == STT_FUNC:
                # clones (name.part.0, name.constprop.1) are listed under the name or the clone
                base = symbol.name.split(".")[0]
                frame = usage.get(symbol.name, usage.get(base, 0))
                graph.names[node] = symbol.name
                graph.frames[node] = max(graph.frames.get(node, 0), frame)
    for i, file in enumerate(files):
        for relocation in file.relocations():
            symbol = relocation.symbol
            callee: _Node
            if symbol.section:
                if not file.sections[symbol.section].flags & SHF_ALLOC:
                    continue
                callee = (i, symbol.section)
            elif symbol.kind == STT_SECTION or not symbol.name:
                continue
            else:
                callee = graph.entries.get(symbol.name, symbol.name)
            caller: _Node = (i, relocation.section)
            if caller in parts or callee in parts:
                caller, callee = parts.get(caller, caller), parts.get(callee, callee)
                if caller == callee:
                    continue  # jumps there and back
            if _is_jump_table(file, relocation.section, symbol):
                continue
            if callee != caller or symbol.kind == STT_FUNC:
                graph.calls.setdefault(caller, set()).add(callee)
    return graph


def _cold_parts(index: int, file: ElfFile) -> list[tuple[_Node, _Node]]:
    """Sections in which gcc keeps the rare part of a function, and that function's own section.

    The part has the function's frame and jumps back into it, which is no call.
    """
    functions = {s.name: s.section for s in file.symbols if s.kind == STT_FUNC and s.section}
    pairs = [(s, functions.get(name.partition(".cold")[0])) for name, s in functions.items()]
    return [((index, part), (index, whole)) for part, whole in pairs if whole and whole != part]


def _is_jump_table(file: ElfFile, section: int, symbol: Symbol) -> bool:
    """True for a constant that names a place inside a function, not a function."""
    if not symbol.section or symbol.kind == STT_FUNC:
        return False
    from_data = not file.sections[section].flags & SHF_EXECINSTR
    return from_data and bool(file.sections[symbol.section].flags & SHF_EXECINSTR)


def _usage(path: Path, dynamic: set[str]) -> dict[str, int]:
    """Frame size in bytes by function; names whose frame has no bound go to ``dynamic``."""
    frames: dict[str, int] = {}
    if not path.exists():
        return frames
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        place, size, kind = line.split("\t")[:3]
        name = place.rsplit(":", 1)[-1]
        frames[name] = max(frames.get(name, 0), int(size))
        if kind == "dynamic":
            dynamic.add(name)
    return frames
