"""What the tests of this folder share: a bundle with its references, and running it on a target.

What is expected comes from elsewhere than the firmware: the tensors from the tflite-micro wheel's
kernels, the frames from the normative Python codec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from isthmus.bundle import Bundle
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate
from isthmus_gen.targets import Target, load_target
from isthmus_gen.verification import References, make_references
from isthmus_gen.verify import Build, TargetResult, build_tree, verify_tree

#: Test pictures that every core is held to.
PICTURES = 64
CALIBRATION = 256


@dataclass
class Case:
    """A bundle, and the references of the first pictures of its test set, made once each."""

    bundle: Bundle
    data: Path
    made: dict[tuple[int, int], References] = field(default_factory=dict)

    def references(self, count: int, rung: int = 0) -> References:
        """Inputs, golden tensors and reference frames of ``count`` pictures."""
        if (count, rung) not in self.made:
            self.made[count, rung] = make_references(self.bundle, self.data, count, rung)
        return self.made[count, rung]


Make = Callable[..., Case]
"""``make("stage2", levels=(4, 8), ...)``: the network cut there, other options as given."""


@dataclass(frozen=True)
class Network:
    """A trained network with its calibration and test sets; ``make`` generates each bundle once."""

    model: Path
    calibration: Path
    test: Path
    tmp_path_factory: pytest.TempPathFactory
    made: dict[str, Case] = field(default_factory=dict)

    def make(self, cut: str, **options: Any) -> Case:
        """The case of a cut; ``options`` are those of ``isthmus generate``."""
        key = f"{cut} {sorted(options.items())}"
        if key not in self.made:
            values = {
                "model": self.model,
                "cut": cut,
                "calibration": self.calibration,
                "out": self.tmp_path_factory.mktemp("bundle") / "bundle",
                "limit": CALIBRATION,
            }
            self.made[key] = Case(generate(make_options({**values, **options})).bundle, self.test)
        return self.made[key]


@dataclass(frozen=True)
class Bench:
    """Builds and runs cases on targets; objects are kept in ``work_dir`` between tests.

    ``require(target, compiler, emulator)`` skips or fails where a tool is missing.
    """

    work_dir: Path
    require: Callable[[Target, str, str], None]

    def build(self, case: Case, name: str, compiler: str, emulator: str) -> Build:
        """The tree of a case, built for a target."""
        target = load_target(name)
        self.require(target, compiler, emulator)
        return build_tree(
            case.bundle.firmware, target, self.work_dir, compiler=compiler, emulator=emulator
        )

    def verify(
        self, case: Case, name: str, compiler: str, emulator: str, *, count: int, rung: int = 0
    ) -> TargetResult:
        """Runs ``count`` pictures and compares them with the references."""
        target = load_target(name)
        self.require(target, compiler, emulator)
        references = case.references(count, rung)
        floats = case.bundle.profile.tensor.dtype != "int8"
        inputs = references.tensors if floats else references.inputs
        return verify_tree(
            case.bundle.firmware,
            target,
            inputs.reshape(count, -1),
            references.tensors.reshape(count, -1),
            references.frames,
            self.work_dir,
            rungs=rung,
            compiler=compiler,
            emulator=emulator,
        )

    def hold(
        self, case: Case, name: str, compiler: str, emulator: str, *, count: int, rung: int = 0
    ) -> TargetResult:
        """``verify``, and no element, no byte and no compiler's warning may differ from none."""
        result = self.verify(case, name, compiler, emulator, count=count, rung=rung)
        shown = "\n".join(result.notes)
        assert (result.mismatches_front, result.mismatches_bytes) == (0, 0), shown
        assert result.status == "ok", shown
        assert result.inputs == count
        assert "warning:" not in shown, shown
        return result
