"""Estimated instructions beside counted ones: those kept in the results, and of another network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def test_the_table_is_that_of_the_results(data_dir: Path) -> None:
    """Fitted again, and each of four whole networks is met within 6 % on every core."""
    from benchmarks.front_cost import load_results
    from benchmarks.front_estimate import RESULTS, errors, fit

    from isthmus_gen.bottleneck.search.estimate_table import COEFFICIENTS

    results = load_results(RESULTS)
    fitted = fit(results)
    assert set(fitted) == set(COEFFICIENTS)
    for core, kernels in fitted.items():
        assert set(kernels) == set(COEFFICIENTS[core])
        for kernel, values in kernels.items():
            assert values == pytest.approx(COEFFICIENTS[core][kernel], abs=0.002)
    worst = {c: max(map(abs, row.values())) for c, row in errors(results, COEFFICIENTS).items()}
    assert len(worst) == 7
    assert max(worst.values()) < 0.06


@pytest.mark.parametrize("core", ["cortex-m4f", "cortex-m55"])
def test_a_network_that_was_not_fitted(
    core: str, repo_root: Path, require_tool: Callable[[str], str]
) -> None:
    """The digits network with units of four channels: counted by emulation, met within 15 %."""
    require_tool("arm-none-eabi-gcc")
    require_tool("qemu-system-arm")
    from isthmus_gen.bottleneck import insert
    from isthmus_gen.bottleneck.search import Candidate
    from isthmus_gen.bottleneck.search.cost import cost_of
    from isthmus_gen.models import load_model
    from isthmus_gen.targets import load_target

    model = load_model(repo_root / "examples" / "digits" / "digits.keras")
    rng = np.random.default_rng(1)
    inputs = [rng.uniform(0, 1, (1, *model.input_shape)).astype(np.float32) for _ in range(4)]
    inserted, candidate = insert(model, "stage1", 4, 2), Candidate("stage1", 4, 2)
    target = load_target(core)
    counted = cost_of(candidate, inserted, inputs, 4, target)
    estimated = cost_of(candidate, inserted, inputs, 4, target, count=False)
    assert (counted.counted, estimated.counted) == (True, False)
    assert counted.instructions is not None
    assert estimated.instructions is not None
    assert counted.ram == estimated.ram
    assert abs(estimated.instructions / counted.instructions - 1) < 0.15
    assert estimated.instructions != counted.instructions
