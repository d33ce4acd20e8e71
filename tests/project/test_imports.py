"""Who may import whom: read from the sources, so that a rule holds on paths no test runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST = ROOT / "host" / "isthmus"
GENERATOR = ROOT / "generator" / "isthmus_gen"

INTERPRETERS = {"ai_edge_litert", "tflite_runtime", "tflite_micro", "onnxruntime"}
#: Parts of the generator that load networks or train them.
TRAINING = {"models", "picture", "restoration"}
TENSORFLOW = {"tensorflow", "keras", "tf_keras"}
#: Slow to import or large: only inside functions.
HEAVY = INTERPRETERS | TENSORFLOW | {"matplotlib", "sklearn", "unicorn"}

#: The host's modules in layers: each may import those of its own layer's number and below.
HOST_LAYERS = {
    "errors": 0,
    "files": 1,
    "optional": 1,
    "binarisation": 1,
    "fields": 1,
    "grids": 2,
    "rung": 2,
    "trained": 2,
    "interpreters": 1,
    "model_files": 2,
    "profile": 2,
    "codec": 3,
    "bundle": 3,
    "labels": 4,
    "native": 4,
    "conceal": 4,
    "conceal_slices": 5,
    "restore_net": 3,
    "restore": 4,
    "picture": 4,
    "decoder": 5,
    "backhalf": 5,
    "seal": 4,
    "server": 6,
    "cli": 7,
}

#: Parts of the generator that others build on, and what these must therefore not import.
GENERATOR_BELOW = {
    "models": {"calibrate", "front", "emit", "verify", "evaluate", "pipeline", "cli"},
    "calibrate": {"models", "front", "emit", "verify", "evaluate", "pipeline", "cli"},
    "front": {"calibrate", "verify", "evaluate", "pipeline", "cli"},
    "emit": {"models", "calibrate", "verify", "evaluate", "pipeline", "cli"},
    "verify": {"evaluate", "pipeline", "cli"},
    "ladder": {"front", "emit", "verify", "restoration", "pipeline", "cli"},
    "restoration": {"calibrate", "front", "emit", "verify", "evaluate", "pipeline", "cli"},
    "picture": {"calibrate", "front", "emit", "verify", "evaluate", "pipeline", "cli"},
    "bottleneck": {"pipeline", "cli"},
    "evaluate": {"bottleneck", "cli"},
    "pipeline": {"cli"},
    "data": {"models", "calibrate", "front", "emit", "verify", "evaluate", "pipeline", "cli"},
    "digits": {"models", "calibrate", "front", "emit", "verify", "evaluate", "pipeline", "cli"},
}


@dataclass(frozen=True)
class Import:
    """One imported name: the full dotted module, and whether it runs when the module is loaded."""

    file: Path
    line: int
    module: str
    at_load: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.module}"


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _walk(node: ast.AST, at_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = at_load
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = False
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            inside = False
        yield child, inside
        yield from _walk(child, inside)


def imports_of(file: Path) -> Iterator[Import]:
    """Every import of a file, relative ones resolved."""
    source_root = HOST.parent if HOST in file.parents else GENERATOR.parent
    package = list(file.relative_to(source_root).parent.parts)
    for node, at_load in _walk(ast.parse(file.read_text(encoding="utf-8")), True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield Import(file, node.lineno, module, at_load)
            for alias in node.names:
                # `from isthmus import cli` names a module too.
                yield Import(file, node.lineno, f"{module}.{alias.name}", at_load)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield Import(file, node.lineno, str(node.args[0].value), at_load)


def tree(root: Path) -> list[Import]:
    files = sorted(root.rglob("*.py"))
    assert files, f"no sources under {root}"
    return [found for file in files for found in imports_of(file)]


HOST_IMPORTS = tree(HOST)
GENERATOR_IMPORTS = tree(GENERATOR)


def top(module: str) -> str:
    return module.partition(".")[0]


def part_of(file: Path, root: Path) -> str:
    """The module or folder directly under the package that a file belongs to."""
    return file.relative_to(root).parts[0].removesuffix(".py")


def listed(found: list[Import]) -> str:
    return "\n".join(sorted({str(entry) for entry in found}))


def test_host_never_imports_the_generator() -> None:
    assert not listed([i for i in HOST_IMPORTS if top(i.module) in ("isthmus_gen", "jinja2")])


def test_interpreters_are_imported_in_the_adapter_alone() -> None:
    wrong = [
        found
        for found in HOST_IMPORTS + GENERATOR_IMPORTS
        if top(found.module) in INTERPRETERS and found.file != HOST / "interpreters.py"
    ]
    assert not listed(wrong)


def test_tensorflow_is_imported_by_the_adapter_the_models_and_the_training_alone() -> None:
    wrong = [
        found
        for found in HOST_IMPORTS + GENERATOR_IMPORTS
        if top(found.module) in TENSORFLOW
        and found.file != HOST / "interpreters.py"
        and not {GENERATOR / part for part in TRAINING} & set(found.file.parents)
    ]
    assert not listed(wrong)


def test_heavy_packages_are_imported_inside_functions() -> None:
    wrong = [
        found
        for found in HOST_IMPORTS + GENERATOR_IMPORTS
        if found.at_load and top(found.module) in HEAVY
    ]
    assert not listed(wrong)


def test_every_host_module_has_its_layer() -> None:
    parts = {part_of(found.file, HOST) for found in HOST_IMPORTS} - {"__init__"}
    assert parts <= set(HOST_LAYERS), "name the layer of a new module in HOST_LAYERS"


def test_host_layers_import_downwards() -> None:
    wrong = []
    for found in HOST_IMPORTS:
        here = part_of(found.file, HOST)
        names = found.module.split(".")
        if here not in HOST_LAYERS or names[0] != "isthmus" or len(names) < 2:
            continue
        if names[1] in HOST_LAYERS and HOST_LAYERS[names[1]] > HOST_LAYERS[here]:
            wrong.append(found)
    assert not listed(wrong)


def test_generator_parts_import_downwards() -> None:
    wrong = [
        found
        for found in GENERATOR_IMPORTS
        if found.module.startswith("isthmus_gen.")
        and found.module.split(".")[1] in GENERATOR_BELOW.get(part_of(found.file, GENERATOR), set())
    ]
    assert not listed(wrong)


def test_generator_uses_neither_server_nor_command_line_of_the_host() -> None:
    wrong = [
        found
        for found in GENERATOR_IMPORTS
        if found.module.startswith(("isthmus.server", "isthmus.cli"))
        and part_of(found.file, GENERATOR) not in ("cli", "demo")
    ]
    assert not listed(wrong)


def test_templates_are_rendered_by_the_renderers_alone() -> None:
    wrong = [
        found
        for found in GENERATOR_IMPORTS
        if top(found.module) == "jinja2"
        and part_of(found.file, GENERATOR) != "emit"
        and found.file != GENERATOR / "front" / "render.py"
    ]
    assert not listed(wrong)


def modules_under(root: Path, *, leave_out: tuple[str, ...]) -> list[str]:
    names = []
    for file in sorted(root.rglob("*.py")):
        parts = list(file.relative_to(root.parent).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        name = ".".join(parts)
        if not any(name == skip or name.startswith(f"{skip}.") for skip in leave_out):
            names.append(name)
    return names


def loaded_by(modules: list[str]) -> set[str]:
    """The top-level names in sys.modules of a fresh interpreter that imported ``modules``."""
    program = (
        "import sys\n"
        f"sys.path[:0] = [{str(HOST.parent)!r}, {str(GENERATOR.parent)!r}]\n"
        "before = set(sys.modules)\n"
        + "".join(f"import {name}\n" for name in modules)
        + "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_the_host_needs_numpy_and_cffi_alone() -> None:
    modules = modules_under(HOST, leave_out=("isthmus.cli", "isthmus.server"))
    assert "isthmus.decoder" in modules
    others = loaded_by(modules) - set(sys.stdlib_module_names) - {"isthmus"}
    assert others <= {"numpy", "cffi", "_cffi_backend", "pycparser"}


def test_the_generator_loads_nothing_heavy() -> None:
    modules = modules_under(GENERATOR, leave_out=())
    assert "isthmus_gen.data" in modules
    assert not loaded_by(modules) & HEAVY


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import tensorflow", [("tensorflow", True)]),
        ("def f():\n    import tensorflow", [("tensorflow", False)]),
        ("if TYPE_CHECKING:\n    import keras", [("keras", False)]),
        ("try:\n    import keras\nexcept ImportError:\n    pass", [("keras", True)]),
        ("importlib.import_module('keras')", [("keras", True)]),
        ("from . import cli", [("isthmus", True), ("isthmus.cli", True)]),
    ],
)
def test_the_reader_of_imports_itself(
    monkeypatch: pytest.MonkeyPatch, source: str, expected: list[tuple[str, bool]]
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: source)
    found = imports_of(HOST / "some.py")
    assert [(entry.module, entry.at_load) for entry in found] == expected
