"""What a candidate takes of the device, before it is trained.

Its front half is built with untrained units, made int8 on a few inputs and planned as any other.
Memory and weights do not depend on what weights are; the instructions do so by less than a
thousandth, so they are counted on the untrained front half where a compiler and an emulator for the
target are installed, and estimated from the plan elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.codec.reference import frame_bytes_max
from isthmus.errors import ModelOperatorError, ToolMissingError
from isthmus.interpreters import TensorInfo, quantize
from isthmus.optional import quiet_import
from isthmus_gen.bottleneck.measure import make_profile
from isthmus_gen.bottleneck.search.candidates import Candidate
from isthmus_gen.bottleneck.search.estimate import coder_instructions, core_of, estimate
from isthmus_gen.bottleneck.search.estimate_table import COEFFICIENTS
from isthmus_gen.bottleneck.units import BOTTLENECK, Inserted
from isthmus_gen.front import FrontPlan, plan_front
from isthmus_gen.models.convert import int8_obstacle, keras_to_tflite
from isthmus_gen.targets import Target
from isthmus_gen.verify import front_cost

__all__ = ["Cost", "cost_of", "device_ram", "encoder_bytes_most", "front_tflite"]

Floats = npt.NDArray[np.float32]
_EXTRA = 'pip install "isthmus[generate]"'
#: Bytes of the runtime's ``isth_encoder`` with addresses of 32 and of 64 bits.
_ENCODER_BYTES = {32: 80, 64: 120}
_CLUSTERS_MOST = 128
_COUNTED_INPUTS = 1
_SAMPLES = 4


@dataclass(frozen=True)
class Cost:
    """On the device, for one input. Sizes in bytes.

    ram            arena + encoder + frame buffer
    arena          of the front half, by the project's own planner
    encoder        what the coder works in, with the most contexts that may be chosen
    frame          the longest frame that any tensor can make
    weights        and tables of the front half, in flash
    macs           multiply-accumulates of the front half
    instructions   of front half and coder, None where neither count nor estimate is to be had
    counted        whether the front half's were counted (else estimated)
    """

    ram: int
    arena: int
    encoder: int
    frame: int
    weights: int
    macs: int
    instructions: int | None
    counted: bool

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def cost_of(
    candidate: Candidate,
    inserted: Inserted,
    inputs: Sequence[Floats],
    levels: int,
    target: Target,
    *,
    count: bool = True,
    work: Path | None = None,
) -> Cost:
    """The cost of a candidate whose units are ``inserted``; ``inputs`` are float32 [1, ...].

    ``count`` False estimates instructions even where they could be counted; ``work`` keeps
    compiled objects. ModelOperatorError, with the candidate, where there is no int8 front half.
    """
    try:
        content = front_tflite(inserted, inputs)
        plan = plan_front(content)
    except ModelOperatorError as error:
        raise ModelOperatorError(
            f"{candidate}: {error.path}", error.what, allowed=error.allowed, remedy=error.remedy
        ) from error
    ram, encoder, frame = device_ram(plan, inserted.shape, levels, target)
    front = _counted(plan, content, inputs, target, work) if count else None
    core = core_of(target)
    counted, instructions = front is not None, front
    if core is not None:
        instructions = estimate(plan, COEFFICIENTS[core]) if front is None else front
        instructions += coder_instructions(int(np.prod(inserted.shape)), levels, core)
    return Cost(
        ram, plan.arena_bytes, encoder, frame, plan.constant_bytes, plan.macs, instructions, counted
    )  # fmt: skip


def front_tflite(inserted: Inserted, inputs: Sequence[Floats]) -> bytes:
    """Input to bottleneck as int8 ``.tflite``; ``inputs`` float32 [1, ...] set the ranges.

    ModelOperatorError where an operator has no int8 form.
    """
    keras = quiet_import("keras", _EXTRA)
    given = keras.Input(inputs[0].shape[1:], batch_size=1)
    whole = keras.Model(given, inserted.reduction(inserted.front(given)))

    def convert(some: Sequence[Floats] | None) -> bytes:
        return keras_to_tflite(
            whole, input_name="input", output_name=BOTTLENECK, representative=some
        )

    obstacle = int8_obstacle(convert(None))
    if obstacle:
        raise ModelOperatorError("cut", obstacle, remedy="search cuts before that operator")
    return convert(inputs)


def device_ram(
    plan: FrontPlan, shape: tuple[int, int, int], levels: int, target: Target
) -> tuple[int, int, int]:
    """Bytes of arena, encoder and frame buffer together, of the encoder, and of the buffer.

    How many contexts the coder has is chosen from trained features; here it is the most.
    """
    rng = np.random.default_rng(1)
    samples = rng.integers(0, levels, (_SAMPLES, *shape)).astype(np.float32)
    frame = frame_bytes_max(make_profile(shape, levels, samples, target=target.name))
    encoder = encoder_bytes_most(shape, levels, target)
    return plan.arena_bytes + encoder + frame, encoder, frame


def encoder_bytes_most(shape: tuple[int, int, int], levels: int, target: Target) -> int:
    """Bytes of ``isth_encoder_memory`` with the most contexts that may be chosen.

    A context, of two bytes, for each bin, group of channels, and pair of classes of two neighbours;
    a byte for each element of a row and each channel.
    """
    _, width, channels = shape
    sets = (levels + 1) ** 2 * min(channels, _CLUSTERS_MOST)
    contexts = min(target.codec.context_bytes // 2, sets * (levels - 1))
    words = contexts + (channels + width * channels + 1) // 2
    bits = 32 if target.bare or target.name == "armv7-linux" else 64
    size = _ENCODER_BYTES[bits] + 2 * words
    return -(-size // (bits // 8)) * (bits // 8)


def _counted(
    plan: FrontPlan, content: bytes, inputs: Sequence[Floats], target: Target, work: Path | None
) -> int | None:
    """Instructions of the front half by emulation; None without tools or counter."""
    info = TensorInfo(
        "input", plan.input.shape, np.dtype(np.int8), plan.input_scale, plan.input_zero_point
    )
    given = quantize(np.concatenate(list(inputs[:_COUNTED_INPUTS])), info).astype(np.int8)
    if not target.bare:
        return None
    try:
        return front_cost(content, target, given, work_dir=work).instructions
    except ToolMissingError:
        return None
