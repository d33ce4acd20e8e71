"""The near-lossless comparison in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.near_lossless_ours import OURS
from benchmarks.near_lossless_tensors import TASKS
from benchmarks.sections import markdown_table

if TYPE_CHECKING:
    from benchmarks.near_lossless import Sizes

__all__ = ["RIVALS", "section", "summary"]

#: Rivals in the order of the columns.
RIVALS = (
    "PNG",
    "JPEG-LS",
    "JPEG-LS NEAR=D",
    "WebP lossless",
    "JPEG XL effort 9",
    "JPEG XL effort 10",
    "HEVC lossless",
    "zstd -19",
    "zstd -19, dictionary",
    "LZMA",
)

_INTRODUCTION = """## Near-lossless coding beside lossless coders of pictures and bytes

Written by `python -m benchmarks.near_lossless`; the size of every tensor is in
`results/near_lossless.json`.

The int8 tensors of the front halves on real inputs (test inputs; settings are chosen on
calibration inputs), with a bound D on what a decoded value may be off. For D > 0 the tensor is put
on the grid of step 2 D + 1 through the zero point, and all code the same levels without loss;
JPEG-LS also codes the int8 values by its own NEAR = D, on its own grid. Every code was decoded and
gave its tensor back, or one within D.

- Pictures: grey, 8 bit, the channels in a grid 2^ceil(log2(C)/2) wide, one below the other, one
  beside the other, or each as one row; the layout, and for PNG whether rows are filtered, is the
  one that takes the fewest bytes on calibration tensors of that cut and bound. PNG: Pillow or none
  for the filters, deflate at its highest level. JPEG-LS: CharLS, without the SPIFF header that
  imagecodecs adds. WebP: Pillow, method 6, quality 100, exact. JPEG XL: libjxl, a bare codestream.
  HEVC: x265, lossless, 4:0:0, preset placebo; pictures less than 32 high or wide are padded to
  that by their last row and column. FLIF is missing: neither Debian nor imagecodecs packages it.
- Bytes: zstd without magic number, lengths and checksum; with a dictionary of 16 KiB trained on
  calibration tensors, where these are enough to train one; LZMA without a container. Elements by
  channel or by position.
- 50 test tensors of each cut. WebP is slow and codes every fifth of them, and so does JPEG XL of
  effort 9; neither gets channels as rows. Ratios are always taken on the tensors that both coded.
- bare: without what could be told once and for all: Isthmus's header, PNG's chunks and zlib's own
  bytes, the headers of JPEG-LS and of WebP, HEVC's parameter sets, and for JPEG XL, whose headers
  are no whole bytes, all that a picture of zeros of that size takes.
- MobileNetV1 (uint8) is missing: its file has no tensor at which it can be cut.
"""


def summary(sizes: list[Sizes]) -> list[dict[str, Any]]:
    """For each cut, bound and rival: the ratio of our bytes to its, and that of the worst tensor.

    ``ours`` names the coder that is compared, the first of ``OURS`` that was measured there.
    """
    rows = []
    for key, coders in _by_key(sizes).items():
        ours = next((coders[name] for name in OURS if name in coders), None)
        for name in (*OURS, *RIVALS):
            rival = coders.get(name)
            if ours is None or rival is None or rival is ours:
                continue
            rows.append({"task": key[0], "cut": key[1], "bound": key[2], "ours": ours.coder,
                         "rival": name, **_ratios(ours, rival)})  # fmt: skip
    return rows


def _ratios(ours: Sizes, rival: Sizes) -> dict[str, Any]:
    """Ratios of sums and of the worst tensor, of whole codes and of bare ones."""
    found: dict[str, Any] = {"tensors": len(rival.sizes)}
    mine = ours.sizes[:: rival.step]
    for name, a, b in (("whole", 0, 0), ("bare", ours.header, rival.header)):
        pairs = [(x - a, y - b) for x, y in zip(mine, rival.sizes, strict=True)]
        found[name] = round(sum(x for x, _ in pairs) / max(1, sum(y for _, y in pairs)), 4)
        found[f"{name}_worst"] = round(max(x / max(1, y) for x, y in pairs), 4)
        found[f"{name}_not_below"] = sum(x >= y for x, y in pairs)
    return found


def section(sizes: list[Sizes], missing: dict[str, str]) -> str:
    """The section of RESULTS.md."""
    rows = summary(sizes)
    parts = [_INTRODUCTION.strip()]
    if missing:
        parts.append("Absent in this run: " + ", ".join(sorted(missing)) + ".")
    if rows:
        parts += [_overall(rows), _table(rows)]
    parts.append(_bytes(sizes))
    return "\n\n".join(parts)


def _overall(rows: list[dict[str, Any]]) -> str:
    """Each rival over all cuts and bounds."""
    head = (
        "rival", "cuts and bounds", "tensors", "mean ratio", "worst cut", "worst tensor",
        "not below", "bare: mean", "worst cut", "worst tensor", "not below",
    )  # fmt: skip
    body = []
    for name in dict.fromkeys(row["rival"] for row in rows):
        mine = [row for row in rows if row["rival"] == name]
        cells = [name, str(len(mine)), str(sum(row["tensors"] for row in mine))]
        for form in ("whole", "bare"):
            ratios = [row[form] for row in mine]
            cells += [f"{sum(ratios) / len(ratios):.3f}", f"{max(ratios):.3f}"]
            cells.append(f"{max(row[f'{form}_worst'] for row in mine):.3f}")
            cells.append(str(sum(row[f"{form}_not_below"] for row in mine)))
        body.append(cells)
    ours = ", ".join(dict.fromkeys(row["ours"] for row in rows))
    return (
        f"Bytes of {ours} over bytes of each rival. mean ratio: the mean over cuts and bounds of"
        " the ratio of all bytes; worst: the largest ratio; not below: tensors for which the"
        f" rival's code is not longer.\n\n{markdown_table(head, body)}"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """Ratios for each cut and bound: of whole codes, and behind it that of the worst tensor."""
    names = [name for name in (*OURS, *RIVALS) if any(row["rival"] == name for row in rows)]
    head = ("cut", "D", *names)
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        line = cells.setdefault((f"{_title(row['task'])} {row['cut']}", row["bound"]), {})
        line[row["rival"]] = f"{row['whole']:.3f} ({row['whole_worst']:.3f})"
    body = [
        [cut, str(bound), *(line.get(name, "") for name in names)]
        for (cut, bound), line in cells.items()
    ]
    return (
        "Whole codes, ratio for the cut and in brackets that of the worst single tensor:\n\n"
        + markdown_table(head, body)
    )


def _bytes(sizes: list[Sizes]) -> str:
    """Mean bytes of a tensor, and of them what is bare, for each cut and bound."""
    found = _by_key(sizes)
    names = [name for name in (*OURS, *RIVALS) if any(name in c for c in found.values())]
    head = ("cut", "D", "elements", *names)
    body = []
    for (task, cut, bound), coders in found.items():
        shape = next(iter(coders.values())).shape
        line = [f"{_title(task)} {cut}", str(bound), "x".join(map(str, shape))]
        for name in names:
            one = coders.get(name)
            mean = 0.0 if one is None else sum(one.sizes) / len(one.sizes)
            line.append("" if one is None else f"{mean:,.0f} ({mean - one.header:,.0f})")
        body.append(line)
    return "Mean bytes of a tensor, and in brackets the bare ones:\n\n" + markdown_table(head, body)


def _by_key(sizes: list[Sizes]) -> dict[tuple[str, str, int], dict[str, Sizes]]:
    found: dict[tuple[str, str, int], dict[str, Sizes]] = {}
    for one in sizes:
        found.setdefault(one.key, {})[one.coder] = one
    return found


def _title(task: str) -> str:
    return next(one.title for one in TASKS if one.name == task).partition(",")[0]
