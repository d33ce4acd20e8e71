"""Sizes: the budget, the stack's call graph, the ELF reader against pyelftools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from isthmus.errors import BudgetError
from isthmus_gen.targets import Target, load_target
from isthmus_gen.verify import Build, build_tree, check_budget
from isthmus_gen.verify.elf import ElfFile
from isthmus_gen.verify.stack import stack_report
from isthmus_gen.verify.toolchain import find_toolchain, run_tool


@pytest.fixture(scope="module")
def build(
    fake_firmware: Path, work_dir: Path, require_for: Callable[[Target, str, str], None]
) -> Build:
    """The stand-in, built for the M4."""
    target = load_target("cortex-m4f")
    require_for(target, "zig", "unicorn")
    return build_tree(fake_firmware, target, work_dir, compiler="zig", emulator="unicorn")


def _with(target: Target, **sizes: int) -> Target:
    assert target.memory is not None
    return target.model_copy(update={"memory": target.memory.model_copy(update=sizes)})


def test_a_tree_that_fits_exactly_passes(build: Build) -> None:
    assert build.flash_bytes is not None
    assert build.ram_bytes is not None
    assert build.stack_bytes is not None
    check_budget(
        build,
        _with(
            build.target,
            flash_bytes=build.flash_bytes,
            ram_bytes=build.ram_bytes + build.stack_bytes,
            stack_bytes=build.stack_bytes,
        ),
    )


@pytest.mark.parametrize("field", ["flash", "ram", "stack"])
def test_one_byte_over_is_refused(build: Build, field: str) -> None:
    assert build.target.memory is not None
    reserve = build.target.memory.stack_bytes
    need = {
        "flash": build.flash_bytes,
        "ram": (build.ram_bytes or 0) + reserve,
        "stack": build.stack_bytes,
    }[field]
    assert need is not None
    with pytest.raises(BudgetError) as caught:
        check_budget(build, _with(build.target, **{f"{field}_bytes": need - 1}))
    error = caught.value
    assert error.path == f"target.cortex-m4f.memory.{field}_bytes"
    assert str(need) in error.what
    assert error.allowed == f"{need - 1} bytes"
    assert "or take a larger target: cortex-m0plus, cortex-m3" in error.remedy


def test_a_large_tree_is_measured_though_it_does_not_fit(
    edited: Callable[[str, str, str], Path],
    tmp_path: Path,
    require_for: Callable[[Target, str, str], None],
) -> None:
    target = load_target("nucleo-f446re")
    require_for(target, "zig", "unicorn")
    tree = edited(
        "isth_front.h",
        "#define ISTH_FRONT_ARENA_BYTES 320",
        "#define ISTH_FRONT_ARENA_BYTES 200000",
    )
    build = build_tree(tree, target, tmp_path, compiler="zig", emulator="unicorn")
    assert build.ram_bytes == 200000 + 104 + 20
    with pytest.raises(BudgetError, match=r"needs 208316 bytes of RAM \(arena 200000,"):
        check_budget(build, target)


CHAIN = """
#include <stdint.h>
void sink(volatile uint8_t *p);
__attribute__((noinline)) void sink(volatile uint8_t *p) { *p = 1; }
static __attribute__((noinline)) void small(void) { volatile uint8_t a[64]; sink(a); }
static __attribute__((noinline)) void large(void) { volatile uint8_t a[512]; sink(a); }
int leaf(void);
int leaf(void) { return 1; }
int branches(int which);
int branches(int which) { if (which) { small(); } else { large(); } return which + leaf(); }
typedef int (*callback)(void);
extern int outside(void);
static int through(void) { volatile uint8_t a[2048]; sink(a); return a[0]; }
static const callback table[2] = {through, leaf};
int indirect(unsigned i);
int indirect(unsigned i) { return table[i & 1u]() + outside(); }
int again(int n);
__attribute__((noinline)) int again(int n) {
    volatile uint8_t a[16]; sink(a); return n > 0 ? again(n - 1) + a[0] : 0;
}
"""


@pytest.mark.parametrize("name", ["cortex-m4f", "cortex-m0plus", "rv32imac"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_the_deepest_chain_is_found(
    name: str,
    compiler: str,
    tmp_path: Path,
    require_for: Callable[[Target, str, str], None],
) -> None:
    target = load_target(name)
    require_for(target, compiler, "unicorn")
    source = tmp_path / "chain.c"
    source.write_text(CHAIN, encoding="utf-8")
    output = tmp_path / "chain.o"
    tools = find_toolchain(target, compiler)
    command = tools.compile_command(source, output, include=tmp_path, harness=False, defines=())
    done = run_tool(command, tmp_path)
    assert done.returncode == 0, done.stderr

    report = stack_report([output], ["branches"])
    assert 512 < report.deepest["branches"] < 600
    assert report.chains["branches"][:2] == ("branches", "large")
    assert (report.unknown, report.unbounded) == ((), ())

    report = stack_report([output], ["indirect"])
    assert 2048 < report.deepest["indirect"] < 2200
    assert report.unknown == ("outside",)

    report = stack_report([output], ["again"])
    assert report.unbounded == ("again",)
    assert report.bytes is None


def test_the_rare_part_of_a_function_is_no_call(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """gcc moves an unlikely branch to a section of its own, and jumps back from there."""
    gcc = require_tool("gcc")
    source = tmp_path / "rare.c"
    source.write_text(
        "extern void __attribute__((cold)) complain(int);\n"
        "int work(const int *x, int n);\n"
        "int work(const int *x, int n) {\n"
        "    volatile int room[64];\n"
        "    int sum = 0;\n"
        "    for (int i = 0; i < n; i++) {\n"
        "        if (x[i] < 0) { complain(i); complain(n); }\n"
        "        room[i & 63] = x[i];\n"
        "        sum += room[(i + 1) & 63];\n"
        "    }\n"
        "    return sum;\n"
        "}\n"
    )
    command = [gcc, "-O2", "-ffunction-sections", "-fstack-usage", "-c", "rare.c", "-o", "rare.o"]
    done = run_tool(command, tmp_path)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "rare.o"
    assert any(symbol.name == "work.cold" for symbol in ElfFile(output).symbols)
    report = stack_report([output], ["work"])
    assert report.unbounded == ()
    assert report.unknown == ("complain",)
    assert 256 <= report.deepest["work"] < 400


def test_the_elf_reader_agrees_with_pyelftools(build: Build) -> None:
    ours = ElfFile(build.elf)
    with build.elf.open("rb") as stream:
        theirs = ELFFile(stream)
        sections = [
            (s.name, s["sh_addr"], s["sh_size"], s["sh_flags"]) for s in theirs.iter_sections()
        ]
        assert [(s.name, s.address, s.size, s.flags) for s in ours.sections] == sections
        table = theirs.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        for name in ("harness_front", "harness_arena", "isth_encode_tensor"):
            (symbol,) = table.get_symbol_by_name(name)
            mine = ours.symbol(name)
            assert (mine.value, mine.size) == (symbol["st_value"], symbol["st_size"])
        layout = theirs.get_section_by_name(".text")
        offset = ours.symbol("harness_layout").value - layout["sh_addr"]
        assert ours.bytes_at("harness_layout") == layout.data()[offset : offset + 20]
