"""The profiles of the C fuzzers, as C: the tables that the project's own emitter writes.

Each profile becomes one C file that includes its emitted ``isth_tables.c`` under names of its own
and describes it to the harness (fuzz_harness.h). Nothing here knows the fields of a table.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for source in ("host", "generator", "tests/codec"):
    if str(ROOT / source) not in sys.path:
        sys.path.insert(0, str(ROOT / source))

from codec_near_profiles import near_profile  # noqa: E402
from codec_profiles import make_profile  # noqa: E402

from isthmus.binarisation import binarisation  # noqa: E402
from isthmus.codec.bound import neighbour_payload_max  # noqa: E402
from isthmus.profile import Contexts, Packets, Profile  # noqa: E402


def neighbour(profile: Profile, step: int, clusters: tuple[int, ...], classes: int) -> Profile:
    """``profile`` in scheme "neighbour", with states all over their range, the ends included."""
    rungs = []
    count = profile.slice_elements(0)
    for rung in profile.rungs:
        # of few levels each is a class of its own; where there are more the last ones share one
        inside = max(1, min(classes - 1, rung.levels))
        numbers = [min(level, inside - 1) for level in range(rung.levels)]
        contexts = Contexts(step, clusters, (*numbers, inside if classes > 1 else 0))
        total = contexts.sets * binarisation(rung.levels).context_count
        states = [(0, 255, 37 * i % 256, 128)[i % 4] for i in range(total)]
        longest = neighbour_payload_max(rung.levels, rung.rate, count)
        rungs.append(
            dataclasses.replace(
                rung,
                contexts=contexts,
                initial=tuple(256 * state + 128 for state in states),
                payload_max=longest,
            )
        )
    return dataclasses.replace(profile, rungs=tuple(rungs))


def unlikely(profile: Profile) -> Profile:
    """Each bin at the end that makes a one expensive: data that turn a slice flat at once."""
    rungs = [
        dataclasses.replace(rung, initial=(128,) * len(rung.initial)) for rung in profile.rungs
    ]
    return dataclasses.replace(profile, rungs=tuple(rungs))


def packets(profile: Profile, unit: int, most: int) -> Profile:
    """``profile`` in packets of at most ``most`` bytes."""
    return dataclasses.replace(profile, packets=Packets(most, unit))


def ladder(profile: Profile) -> Profile:
    """Budgets and ratios by which a rung is chosen."""
    ratios = [4096 - 900 * index for index in range(len(profile.rungs))]
    rungs = [
        dataclasses.replace(
            rung,
            budget_start=60 - 20 * index,
            size_ratios=tuple(4096 * ratio // ratios[index] for ratio in ratios),
        )
        for index, rung in enumerate(profile.rungs)
    ]
    return dataclasses.replace(profile, rungs=tuple(rungs))


_PLAIN = (
    make_profile(2, (40,)),
    make_profile(4, (4, 4, 3), slice_rows=2),
    make_profile((3, 4), (6, 7), slice_rows=2),
    make_profile((17, 200, 16), (5, 4, 2), rate=7),
    make_profile(5, (0,)),
    make_profile(9, (3, 1), slice_rows=1, rate=6),
    make_profile(8, (2, 3, 2, 3), dtype="float32", slice_rows=1),
    make_profile((2, 3, 5, 7, 11, 13, 16, 256), (3, 5), dtype="int16", rate=6),
    make_profile(256, (24,), dtype="int8", rate=7),
    make_profile(255, (7, 3), dtype="float32", slice_rows=3),
    make_profile(16, (1, 9), dtype="int16"),
    # contexts at either end of their range: the longest and the shortest codes there are
    make_profile(4, (8, 4), initial=(65408, 65408, 65408)),
    make_profile(4, (8, 4), initial=(128, 128, 128), slice_rows=5),
    make_profile(33, (5, 2, 2), slice_rows=2, rate=5, dtype="int8"),
    make_profile(129, (3, 4), dtype="int16", slice_rows=2),
    make_profile(3, (3, 0), slice_rows=1),
)
_NEIGHBOURS = (
    neighbour(make_profile(4, (4, 4, 3)), 3, (0, 1, 0), 4),
    neighbour(make_profile(4, (5, 3, 2), slice_rows=2), 2, (0,), 3),
    unlikely(neighbour(make_profile(16, (5, 4, 2), slice_rows=4, rate=7), 2, (0, 1), 5)),
    unlikely(neighbour(make_profile(9, (3, 1, 40)), 40, tuple(i % 3 for i in range(40)), 4)),
    neighbour(make_profile(2, (40,), rate=6), 1, (0,), 3),
    neighbour(make_profile(3, (4, 6), slice_rows=3, dtype="float32"), 1, (0, 1, 2, 3, 4, 5), 4),
    neighbour(make_profile(5, (5, 6)), 6, (0, 1), 1),
    neighbour(make_profile(7, (3, 0)), 1, (0,), 3),
    ladder(neighbour(make_profile((256, 17, 4), (4, 2, 4), rate=6), 4, (1, 0, 0, 2), 5)),
    unlikely(neighbour(make_profile((200, 16), (4, 3, 2), dtype="int16"), 2, (0, 0), 6)),
)
_PACKETS = (
    packets(make_profile(4, (6, 6)), 3, 20),
    packets(make_profile(2, (1, 300), initial=(128,)), 1, 33),
    packets(neighbour(make_profile(4, (4, 4, 3)), 3, (0, 1, 0), 4), 3, 20),
    packets(unlikely(neighbour(make_profile(16, (4, 4, 2), rate=7), 2, (0, 1), 5)), 2, 26),
    ladder(
        packets(neighbour(make_profile((8, 4, 2), (4, 4, 4)), 4, (0, 1, 1, 0), 3), 4, 23),
    ),
    packets(unlikely(neighbour(make_profile(33, (3, 3, 3), dtype="float32"), 3, (0,), 4)), 9, 51),
    packets(make_profile(255, (4, 5), dtype="int16", rate=6), 5, 20),
)

_SPIKES = {"kind": "spike", "channels": 40}
_NEAR = (
    near_profile(2, (4, 4, 3), seed=1),
    near_profile((0, 9), (5, 3, 2), slice_rows=2, seed=2),
    near_profile(9, (3, 1, 40), seed=3, **_SPIKES),
    near_profile(0, (4, 40), slice_rows=3, seed=4, dtype="int16", **_SPIKES),
    near_profile(127, (40,), zero=127, seed=5, kind="even"),
    near_profile(1, (4, 3, 2), seed=6, dtype="float32", grids=True, kind="escape", own=4),
    near_profile(60, (3, 0), seed=7),
    ladder(near_profile((1, 4, 20), (4, 2, 4), seed=8, kind="steep")),
    near_profile(2, (6, 6), unit=3, packet_bytes=24, seed=9),
    near_profile(0, (3, 40), unit=40, seed=10, **_SPIKES),
    ladder(near_profile((2, 9, 40), (4, 4, 4), unit=4, packet_bytes=23, seed=11)),
)

FUZZ_C_PROFILES = (
    *_PLAIN,
    *_NEIGHBOURS,
    *_PACKETS,
    *_NEAR,
    make_profile(4, (256, 1), slice_rows=1),
)
"""Every number of levels with a form of its own, ranks 1 to 4, slices 1 to 256, all dtypes, all
schemes, packets; the last one is the slow one (fuzz_choose)."""

_CALLS = {
    "isth_encode_tensor",
    "isth_encode_budget",
    "isth_slice_begin",
    "isth_slice_push",
    "isth_slice_finish",
}
_KINDS = {"int8": "FUZZ_I8", "int16": "FUZZ_I16", "float32": "FUZZ_F32"}

_UNIT = """\
{renames}
#include "{folder}/isth_tables.c"
#include "fuzz_harness.h"

static isth_status encode(void *memory, unsigned rung, uint16_t sequence, const void *tensor,
                          uint8_t *out, size_t capacity, size_t *length) {{
    return isth_encode_tensor(memory, rung, sequence, tensor, out, capacity, length);
}}

static isth_status budget(void *memory, uint16_t sequence, const void *tensor, uint8_t *out,
                          size_t most, size_t *length, unsigned *rung) {{
    return isth_encode_budget(memory, sequence, tensor, out, most, length, rung);
}}

static isth_status begin(void *memory, unsigned rung, uint16_t sequence, unsigned slice,
                         uint8_t *out, size_t capacity) {{
    return isth_slice_begin(memory, rung, sequence, slice, out, capacity);
}}

static isth_status push(void *memory, const void *values, size_t count) {{
    return isth_slice_push(memory, values, count);
}}

static isth_status finish(void *memory, size_t *length) {{
    return isth_slice_finish(memory, length);
}}

const fuzz_profile fuzz_{folder} = {{
    &isth_tables, {kind}, sizeof(isth_element), ISTH_ELEMENTS, ISTH_WORKSPACE_WORDS,
    ISTH_FRAME_BYTES_MAX, ISTH_SLICE_BYTES_MAX, {bins}u, sizeof(isth_encoder_memory),
    encode, budget, begin, push, finish,
}};
"""


def bins_max(profile: Profile) -> int:
    """The most bins that one element of any rung can take (docs/BITSTREAM.md, chapter 5).

    None near-lossless, where symbols are coded (chapter 13).
    """
    if profile.scheme == "trained":
        return 0
    forms = [binarisation(rung.levels) for rung in profile.rungs]
    return max(form.classes - 1 + form.suffix_bits for form in forms)


def _unit(folder: str, profile: Profile, header: str) -> str:
    """One profile's C file; its public names get the folder's name behind them."""
    names = {*re.findall(r"^(?:isth_status|size_t|void) (isth_\w+)\(", header, re.MULTILINE)}
    assert names >= _CALLS, names
    renames = "".join(
        f"#define {name} {name}_{folder}\n" for name in sorted({*names, "isth_tables"})
    )
    return _UNIT.format(
        renames=renames, folder=folder, kind=_KINDS[profile.tensor.dtype], bins=bins_max(profile)
    )


def write_profiles(path: Path) -> list[Path]:
    """Writes tables and descriptions below ``path``; the C files to compile."""
    from isthmus_gen.emit import TreeInput, make_environment, render_tree

    environment = make_environment()
    made = []
    for number, profile in enumerate(FUZZ_C_PROFILES):
        # the runtime answers for profiles that a reader accepts, and for no others
        assert Profile.from_dict(json.loads(profile.canonical())).digest == profile.digest
        folder = f"p{number:02d}"
        files = render_tree(TreeInput(profile, "host", "fuzz"), environment)
        (path / folder).mkdir(parents=True, exist_ok=True)
        for name in ("isth.h", "isth_tables.c"):
            (path / folder / name).write_bytes(files[f"src/{name}"])
        unit = path / f"{folder}.c"
        unit.write_text(_unit(folder, profile, files["src/isth.h"].decode("ascii")), "ascii")
        made.append(unit)
    externs = "".join(f"extern const fuzz_profile fuzz_{unit.stem};\n" for unit in made)
    rows = "".join(f"    &fuzz_{unit.stem},\n" for unit in made)
    table = path / "profiles.c"
    table.write_text(
        f'#include "fuzz_harness.h"\n\n{externs}\n'
        f"const fuzz_profile *const fuzz_profiles[] = {{\n{rows}}};\n"
        f"const size_t fuzz_profile_count = {len(made)}u;\n",
        "ascii",
    )
    return [*made, table]
