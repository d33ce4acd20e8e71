"""The emitted tree against the one kept in git, file by file.

``pytest tests/tree --update-golden`` writes the kept files anew; the diff then shows the change.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tree_profiles import PROFILES, make_profile, tree_of

from isthmus import __version__
from isthmus_gen.emit import TreeInput, make_environment, render_tree
from isthmus_gen.emit.tree import RUNTIME_FILES

GOLDEN = Path(__file__).resolve().parent / "golden"
RUNTIME = Path(__file__).resolve().parents[2] / "templates" / "runtime"
COPIED = {f"src/{name}" for name in RUNTIME_FILES}


@pytest.mark.parametrize("name", PROFILES)
def test_golden_tree(name: str, update_golden: bool) -> None:
    made = {path: data for path, data in tree_of(name).items() if path not in COPIED}
    root = GOLDEN / name
    if update_golden:
        shutil.rmtree(root, ignore_errors=True)
        for path, data in made.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    kept = {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }
    assert kept, f"no golden tree at {root}: run pytest tests/tree --update-golden"
    assert sorted(kept) == sorted(made)
    for path, data in made.items():
        assert data.decode("ascii") == kept[path].decode("ascii"), path


@pytest.mark.parametrize("name", PROFILES)
def test_the_runtime_is_copied_byte_for_byte(name: str) -> None:
    made = tree_of(name)
    assert set(made) >= COPIED
    for path in COPIED:
        assert made[path] == (RUNTIME / Path(path).name).read_bytes()


@pytest.mark.parametrize("name", PROFILES)
def test_rendering_again_gives_the_same_bytes(name: str) -> None:
    first, second = tree_of(name), tree_of(name)
    assert first == second
    assert list(first) == sorted(first)


@pytest.mark.parametrize("name", PROFILES)
def test_banner(name: str) -> None:
    """Version, digest, target and how to make it again; no date, no path, no user."""
    digest = PROFILES[name].digest.hex()[:16]
    for path, data in tree_of(name).items():
        text = data.decode("ascii")
        assert not re.search(r"\b(19|20)\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b", text), path
        places = ("/home/", "/tmp/", str(Path(__file__).parents[2]), str(Path.home()) + "/")
        assert not any(place in text for place in places), path
        generated = path not in COPIED and not path.startswith("examples/")
        if generated and not path.endswith((".json", ".properties")):
            head = "\n".join(text.splitlines()[:5])
            assert f"Isthmus {__version__}" in head, path
            assert digest in head, path
            assert "cortex-m4f" in head, path
            assert "isthmus generate" in head, path


def test_names_in_comments_cannot_end_them() -> None:
    """A tensor's or target's name reaches comments; it stays inside."""
    profile = make_profile("int8", (4, 4), (4,), 4)
    spec = profile.tensor.__class__("*/ int x; /*\\", (4, 4), "int8", 0.03125, -128)
    rung = replace(profile.rungs[0], quantizer="*/ int z; /*")
    evil = profile.__class__(spec, (rung,), profile.slice_rows)
    files = render_tree(TreeInput(evil, "*/ int y; /*", "p"), make_environment())
    for name in ("src/isth.h", "src/isth_tables.c"):
        code = re.sub(r"/\*.*?\*/", "", files[name].decode("ascii"), flags=re.DOTALL)
        assert not re.search("int [xyz]", code), name


@pytest.mark.parametrize(
    ("preprocessing", "formula"),
    [
        ({"kind": "none"}, "(x)"),
        ({"kind": "unit"}, "(x / 255)"),
        ({"kind": "signed"}, "(x / 127.5 - 1)"),
        ({"kind": "affine", "scale": 0.5, "offset": -3.0}, "(x * 0.5 + -3.0)"),
    ],
)
def test_the_input_formula_is_in_the_header(preprocessing: dict[str, Any], formula: str) -> None:
    profile = make_profile("int8", (4, 4), (4,), 4)
    profile = replace(profile, extra={"input": {"preprocessing": preprocessing}})
    for has_front in (False, True):
        given = TreeInput(profile, "host", "p", {}, has_front)
        header = render_tree(given, make_environment())["src/isth.h"].decode("ascii")
        assert (f"round({formula} / ISTH_FRONT_INPUT_SCALE)" in header) == has_front


def test_a_name_that_is_not_ascii_is_written() -> None:
    profile = make_profile("int8", (4, 4), (4,), 4)
    spec = profile.tensor.__class__("étage/1", (4, 4), "int8", 0.03125, -128)
    files = render_tree(
        TreeInput(profile.__class__(spec, profile.rungs, 4), "host", "p"), make_environment()
    )
    assert files["src/isth.h"].decode("ascii")


@pytest.mark.parametrize("name", PROFILES)
def test_whitespace(name: str) -> None:
    for path, data in tree_of(name).items():
        text = data.decode("ascii")
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert "\r" not in text, path
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), path
        if path.endswith((".c", ".h")):
            assert "\t" not in text, path
            assert max(map(len, text.splitlines())) <= 100, path
