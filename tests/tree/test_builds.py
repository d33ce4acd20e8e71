"""The tree in every build system it is made for, and what the objects hold."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tree_profiles import PROFILES

NAMES = ("digits", *PROFILES)
STRICT = [
    "-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion",
    "-Wsign-conversion", "-Wundef", "-Wstrict-prototypes", "-Wcast-qual", "-Werror",
]  # fmt: skip
ARM = ["-mcpu=cortex-m0plus", "-mthumb", "-ffunction-sections", "-fdata-sections"]
LIBRARY = {"memcpy", "memset", "memmove", "memcmp"}
# gcc's helpers for integer arithmetic that the core has no instruction for
INTEGER = re.compile(r"__aeabi_(l|ul|i|ui)\w+|__gnu_thumb1_case_\w+|__aeabi_(mem)\w+")

MAIN_C = """
#include "isth.h"
static isth_encoder_memory memory;
static uint8_t frame[ISTH_FRAME_BYTES_MAX];
static isth_element tensor[ISTH_ELEMENTS];
int main(void) {
    size_t length = 0;
    isth_status status =
        isth_encode_tensor(&memory, ISTH_RUNGS - 1u, 7, tensor, frame, sizeof frame, &length);
    return status == ISTH_OK && length > 0 ? 0 : 1;
}
"""
MAIN_CPP = (
    MAIN_C.replace("static isth_encoder", "#if ISTH_HAS_FRONT\nalignas(16) static unsigned char"
    " arena[ISTH_FRONT_ARENA_BYTES];\n#endif\nstatic isth_encoder")
    .replace("main(void) {", "main() {\n#if ISTH_HAS_FRONT\n    tensor[0] = *isth_front_run(arena);"
    "\n#endif")
    .replace('"isth.h"', '"isth.h"\n#if ISTH_HAS_FRONT\n#include "isth_front.h"\n#endif')
)  # fmt: skip


def _sources(tree: Path) -> list[Path]:
    found = sorted((tree / "src").glob("*.c"))
    assert found
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_cmake_subdirectory(
    name: str, generator: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    cmake = require_tool("cmake")
    require_tool("ninja" if generator == "Ninja" else "make")
    (tmp_path / "main.c").write_text(MAIN_C)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app C)\n"
        f'add_subdirectory("{tree(name)}" isthmus)\n'
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE isthmus)\n"
    )
    run([cmake, "-S", tmp_path, "-B", tmp_path / "b", "-G", generator])
    run([cmake, "--build", tmp_path / "b"])
    run([tmp_path / "b" / "app"])


def test_cmake_from_a_program_of_cpp_alone(
    tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    cmake = require_tool("cmake")
    require_tool("g++")
    (tmp_path / "main.cpp").write_text(MAIN_CPP)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(app CXX)\n"
        f'add_subdirectory("{tree("int8_sliced")}" isthmus)\n'
        "add_executable(app main.cpp)\ntarget_link_libraries(app PRIVATE isthmus)\n"
        'if(NOT PROJECT_NAME STREQUAL "app")\n  message(FATAL_ERROR "renamed")\nendif()\n'
    )
    run([cmake, "-S", tmp_path, "-B", tmp_path / "b"])
    run([cmake, "--build", tmp_path / "b"])
    run([tmp_path / "b" / "app"])


LOOPBACK_C = """
#include "isth.h"
static isth_encoder_memory memory;
static uint8_t frame[ISTH_FRAME_BYTES_MAX];
static isth_element tensor[ISTH_ELEMENTS];
static uint8_t levels[ISTH_ELEMENTS];
int main(void) {
    isth_slice_info info;
    size_t length = 0;
    unsigned i;
    for (i = 0; i < ISTH_ELEMENTS; i++) {
        tensor[i] = (isth_element)(i % 5u == 0u ? 100 : -128);
    }
    if (isth_encode_tensor(&memory, 0, 7, tensor, frame, sizeof frame, &length) != ISTH_OK ||
        isth_decode_levels(&isth_tables, frame, length, memory.workspace, ISTH_WORKSPACE_WORDS,
                           levels, sizeof levels, &info) != ISTH_OK || info.sequence != 7) {
        return 1;
    }
    for (i = 0; i < ISTH_ELEMENTS; i++) {
        if (levels[i] != levels[i % 5u == 0u ? 0u : 1u]) {
            return 2;
        }
    }
    return levels[0] > levels[1] ? 0 : 3;
}
"""


def test_loopback_on_the_device(tree: Any, run: Any, require_tool: Any, tmp_path: Path) -> None:
    """The tree decodes its own frames; a program that does not is linked without the decoder."""
    gcc = require_tool("gcc")
    root = tree("int8_sliced")
    words = [gcc, "-std=c99", "-Os", "-ffunction-sections", "-Wl,--gc-sections", f"-I{root}/src"]
    for name, text in (("loopback", LOOPBACK_C), ("plain", MAIN_C)):
        (tmp_path / f"{name}.c").write_text(text)
        run([*words, tmp_path / f"{name}.c", *_sources(root), "-o", tmp_path / name])
        run([tmp_path / name])
        symbols = run([require_tool("nm"), tmp_path / name])
        assert ("isth_decode_levels" in symbols) == (name == "loopback")
        assert "isth_link" not in symbols


def test_cmake_alone(tree: Any, run: Any, require_tool: Any, tmp_path: Path) -> None:
    cmake = require_tool("cmake")
    run([cmake, "-S", tree("int8_sliced"), "-B", tmp_path / "b"])
    run([cmake, "--build", tmp_path / "b"])
    assert list((tmp_path / "b").glob("libisthmus.a"))


@pytest.mark.parametrize("name", NAMES)
def test_makefile_fragment(
    name: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    (tmp_path / "main.c").write_text(MAIN_C)
    (tmp_path / "Makefile").write_text(
        f"include {tree(name)}/isthmus.mk\n"
        "app: main.c $(ISTHMUS_SRCS)\n\t$(CC) -std=c99 $(ISTHMUS_CFLAGS) -o $@ $^\n"
    )
    require_tool("cc")
    run([require_tool("make"), "-C", tmp_path, "app"])
    run([tmp_path / "app"])


@pytest.mark.parametrize("name", NAMES)
def test_cpp_sketch(name: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path) -> None:
    """As Arduino builds it: every .c in src as C, the sketch as C++, src the only include path."""
    gcc, gxx = require_tool("gcc"), require_tool("g++")
    (tmp_path / "sketch.cpp").write_text(MAIN_CPP)
    objects = []
    for source in _sources(tree(name)):
        objects.append(tmp_path / f"{source.stem}.o")
        run([gcc, "-c", f"-I{tree(name) / 'src'}", source, "-o", objects[-1]])
    words = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{tree(name) / 'src'}"]
    run([gxx, *words, tmp_path / "sketch.cpp", *objects, "-o", tmp_path / "sketch"])
    run([tmp_path / "sketch"])


_STUB_IDF = """
set(ESP_PLATFORM 1)
set(COMPONENT_LIB component)
function(idf_component_register)
    cmake_parse_arguments(GIVEN "" "" "SRCS;INCLUDE_DIRS" ${{ARGN}})
    foreach(file ${{GIVEN_SRCS}})
        message(STATUS "source=${{file}}")
    endforeach()
    message(STATUS "include=${{GIVEN_INCLUDE_DIRS}}")
endfunction()
function(target_compile_options target)
    message(STATUS "options=${{target}};${{ARGN}}")
endfunction()
include("{file}")
"""
_STUB_ZEPHYR = """
set(CONFIG_ISTHMUS y)
function(zephyr_library_named name)
    message(STATUS "library=${{name}}")
endfunction()
function(zephyr_include_directories)
    message(STATUS "include=${{ARGN}}")
endfunction()
function(zephyr_library_compile_options)
    message(STATUS "options=${{ARGN}}")
endfunction()
function(zephyr_library_sources)
    foreach(file ${{ARGN}})
        message(STATUS "source=${{file}}")
    endforeach()
endfunction()
include("{file}")
"""


@pytest.mark.parametrize("name", ["digits", "int8_sliced"])
@pytest.mark.parametrize("system", ["idf", "zephyr"])
def test_idf_and_zephyr(
    name: str, system: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    root = tree(name)
    file = root / ("CMakeLists.txt" if system == "idf" else "zephyr/CMakeLists.txt")
    script = tmp_path / "stub.cmake"
    script.write_text((_STUB_IDF if system == "idf" else _STUB_ZEPHYR).format(file=file))
    out = run([require_tool("cmake"), "-P", script])
    named = [(file.parent / line).resolve() for line in re.findall(r"source=(.*)", out)]
    assert named == [path.resolve() for path in _sources(root)]
    include = re.findall(r"include=(.*)", out)
    assert [(file.parent / line).resolve() for line in include] == [(root / "src").resolve()]
    assert "-O2" in out


def test_zephyr_is_off_until_configured(
    tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    file = tree("int8_sliced") / "zephyr/CMakeLists.txt"
    script = tmp_path / "stub.cmake"
    script.write_text(_STUB_ZEPHYR.format(file=file).replace("set(CONFIG_ISTHMUS y)", ""))
    assert "source=" not in run([require_tool("cmake"), "-P", script])


@pytest.mark.parametrize("name", NAMES)
def test_package_files(name: str, tree: Any) -> None:
    root = tree(name)
    library = json.loads((root / "library.json").read_text())
    assert library["headers"] == "isth.h"
    assert library["build"]["srcDir"] == library["build"]["includeDir"] == "src"
    lines = (root / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if line)
    wanted = {"name", "version", "author", "maintainer", "sentence", "category", "architectures"}
    assert wanted <= set(properties)
    assert properties["name"] == library["name"]
    assert properties["version"] == library["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", library["version"])
    assert (root / "src" / properties["includes"]).is_file()
    # boards with 16-bit integers are not among them
    assert {"samd", "stm32", "esp32"} <= set(properties["architectures"].split(","))
    assert {"ststm32", "espressif32"} <= set(library["platforms"])
    assert not {"*", "avr", "megaavr", "atmelavr"} & {
        *properties["architectures"].split(","), *library["platforms"]
    }  # fmt: skip
    module = (root / "zephyr" / "module.yml").read_text()
    assert "name: isthmus" in module
    assert "kconfig: zephyr/Kconfig" in module
    assert "config ISTHMUS" in (root / "zephyr" / "Kconfig").read_text()
    assert f'version: "{library["version"]}"' in (root / "idf_component.yml").read_text()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_no_warnings(
    name: str, compiler: str, tree: Any, run: Any, require_tool: Any, require_package: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    if compiler == "zig":
        require_package("ziglang")
        words = [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=all"]
    else:
        words = [require_tool("gcc")]
    root = tree(name)
    examples = sorted(root.glob("examples/*/main.c"))
    assert [file.parent.name for file in examples] == ["frames", "serial", "udp"]
    for source in [*_sources(root), *examples]:
        strict = [word for word in STRICT if source.parent.name == "src" or "pedantic" not in word]
        include = [f"-I{root / 'src'}", f"-I{source.parent}"]
        run([*words, *strict, *include, "-c", source, "-o", tmp_path / "o.o"])


@pytest.mark.parametrize("name", NAMES)
def test_source_has_no_heap_no_printing_no_floats(name: str, tree: Any) -> None:
    for file in sorted((tree(name) / "src").glob("*.[ch]")):
        code = re.sub(r"/\*.*?\*/|//[^\n]*|\"[^\"\n]*\"", "", file.read_text(), flags=re.DOTALL)
        banned = r"\b(malloc|calloc|realloc|free|alloca|printf|puts|setjmp|longjmp|double|goto)\b"
        assert not re.search(banned, code), file.name
        for line in re.findall(r".*\bfloat\b.*", code):
            # pointers to what the caller holds; arithmetic would need soft-float calls (see below)
            assert re.search(r"const float \*|typedef float isth_element;", line), (file.name, line)
        if PROFILES.get(name) is None or PROFILES[name].tensor.dtype != "float32":
            assert "typedef float" not in code


@pytest.mark.parametrize("name", NAMES)
def test_objects_hold_no_state_and_need_no_library(
    name: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    """On a core without any help: no .data, no .bss, no soft float, memcpy and its kin alone."""
    gcc = require_tool("arm-none-eabi-gcc")
    defined: set[str] = set()
    needed: set[str] = set()
    for source in _sources(tree(name)):
        made = tmp_path / f"{source.stem}.o"
        words = [*STRICT, *ARM, "-ffreestanding", f"-I{tree(name) / 'src'}"]
        run([gcc, *words, "-c", source, "-o", made])
        for line in run([require_tool("arm-none-eabi-nm"), made]).splitlines():
            *_, kind, symbol = line.split()
            assert kind not in "bBdDCgGsS", f"{source.name}: {symbol} can change"
            (needed if kind == "U" else defined).add(symbol)
        sizes = run([require_tool("arm-none-eabi-size"), made]).splitlines()[1].split()
        assert sizes[1:3] == ["0", "0"], f"{source.name}: .data or .bss"
    outside = needed - defined - LIBRARY
    assert not {symbol for symbol in outside if not INTEGER.fullmatch(symbol)}
    public = {symbol for symbol in defined if not symbol.startswith(("$", "isth_"))}
    assert not {symbol for symbol in public if symbol in needed}


_ASSERT = """
#include "isth.h"
/* the figure of docs/firmware.md on 32 bits, twice it on 64 */
typedef char memory_is_small[sizeof(isth_encoder_memory) <= 24u * sizeof(void *) ? 1 : -1];
typedef char contexts_are_few[ISTH_WORKSPACE_WORDS <= 7u ? 1 : -1];
"""


@pytest.mark.parametrize("compiler", ["gcc", "arm-none-eabi-gcc"])
def test_encoder_memory_of_scheme_paper_up_to_8_levels(
    compiler: str, tree: Any, run: Any, require_tool: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text(_ASSERT)
    flags = [] if compiler == "gcc" else ["-mcpu=cortex-m4", "-mthumb"]
    words = [require_tool(compiler), *flags, "-std=c99", "-c", tmp_path / "a.c"]
    for name in ("int16_flat", "float32"):
        run([*words, f"-I{tree(name) / 'src'}", "-o", tmp_path / "a.o"])


def test_another_abi_does_not_build(tree: Any, require_tool: Any, tmp_path: Path) -> None:
    import shutil
    import subprocess

    copy = tmp_path / "tree"
    shutil.copytree(tree("int8_sliced") / "src", copy)
    header = copy / "isth_codec.h"
    text = header.read_text()
    changed = re.sub(r"(#define ISTH_ABI) \d+", r"\1 99", text)
    assert changed != text
    header.write_text(changed)
    done = subprocess.run(
        [require_tool("gcc"), "-c", copy / "isth_tables.c", "-o", tmp_path / "o.o"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "another ABI" in done.stderr
