"""Which context sets a rung gets, and where they start: trained on calibration levels.

Contexts from neighbours and channels are common in picture coding; their use for feature tensors
with starting states trained offline, and the way they are found here, are Isthmus's own. A choice
is made of the classes of the neighbours' levels and of the clusters of channels; each is judged by
the bits it takes for tensors that it was not trained on, and has to fit the memory allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from isthmus.binarisation import Binarisation, binarisation
from isthmus.codec.bound import RATES, neighbour_payload_max
from isthmus.decoder import make_codec
from isthmus.profile import Profile, TensorSpec
from isthmus.rung import MAX_CONTEXTS, Contexts, Rung

__all__ = [
    "CONTEXT_BYTES",
    "ContextDesign",
    "choose_neighbour_rate",
    "design_contexts",
    "neighbour_step",
]

Counts = npt.NDArray[np.float64]

#: Memory for contexts where neither target nor user says otherwise, bytes.
CONTEXT_BYTES = 4096
#: Channels are told apart up to this many; of more, those with like means are counted together.
_CHANNELS = 512
#: Observations that a set's more general parent counts for in its starting states.
_PRIOR = 6.0
#: A larger choice has to save this part of the bits.
_WORTH = 0.002
_CLUSTERS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128)
_LLOYD_ROUNDS = 8
_RATE_ELEMENTS = 1 << 15


@dataclass(frozen=True)
class ContextDesign:
    """A choice of context sets and their starts.

    initial       256 b + 128 for every context, in the order of the sets
    bits          bits per element of levels held out, at the starting states
    plain_bits    the same with one context set
    """

    contexts: Contexts
    initial: tuple[int, ...]
    bits: float
    plain_bits: float


@dataclass(frozen=True)
class _Choice:
    classes: tuple[int, ...]
    clusters: int

    @property
    def class_count(self) -> int:
        return max(self.classes) + 1

    def sets(self) -> int:
        return self.clusters * self.class_count**2


def neighbour_step(tensor: TensorSpec) -> int:
    """Elements between left neighbours: the channels where a row has positions, else 1."""
    return tensor.shape[-1] if len(tensor.shape) > 2 else 1


def design_contexts(
    tensor: TensorSpec,
    levels: int,
    tensors: Sequence[npt.NDArray[np.uint8]],
    *,
    context_bytes: int = CONTEXT_BYTES,
    restarts: float = 0.0,
) -> ContextDesign:
    """The context sets of scheme "neighbour" for a rung of ``levels``.

    ``tensors`` are calibration tensors as levels, uint8, of any shape with the tensor's elements in
    order; two at least are needed to judge a choice by data held out (one serves as both). The
    contexts of one rung take at most ``context_bytes``, two bytes each.

    ``restarts`` is the share of elements, 0..1, that slices or packets leave without a row above
    them: any row may be the first of a slice, and its statistics are not those of the tensor's
    first row.
    """
    form = binarisation(levels)
    step = max(1, min(neighbour_step(tensor), tensor.row_elements))
    channels = max(1, tensor.shape[-1] if tensor.elements else 1)
    stack = _stacked(tensor, tensors)
    groups = _channel_groups(stack, channels)
    limit = min(MAX_CONTEXTS, context_bytes // 2)
    count = partial(_count_restarted, restarts) if restarts else _count
    best = (np.inf, _Choice((0,) * (levels + 1), 1))
    plain = np.inf
    for classes in _class_maps(stack, levels, form):
        halves = [
            _bin_counts(count(stack[fold::2], classes, groups, step, levels), form)
            for fold in range(2)
        ]
        if len(stack) < 2:
            halves[1] = halves[0]
        for choice in _choices(classes, int(groups.max()) + 1, form, limit):
            bits = _held_out_bits(halves, choice, levels)
            if choice.sets() == 1:
                plain = min(plain, bits)
            if bits < best[0] * (1 - (_WORTH if choice.sets() > best[1].sets() else 0.0)):
                best = (bits, choice)
    found = _bin_counts(count(stack, best[1].classes, groups, step, levels), form)
    return _finish(found, best[1], groups, step, (best[0], plain))


def _stacked(tensor: TensorSpec, tensors: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Levels as uint8 [tensors, rows, row elements]."""
    shape = (len(tensors), max(1, tensor.rows), tensor.row_elements)
    if not tensors or not tensor.elements:
        return np.zeros((0, shape[1], max(1, shape[2])), dtype=np.uint8)
    return np.stack([each.reshape(shape[1:]) for each in tensors])


def _channel_groups(stack: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.intp]:
    """A group for each channel: its own, or one shared by those with like means."""
    if channels <= _CHANNELS or not stack.size:
        return np.arange(channels) if stack.size else np.zeros(channels, dtype=np.intp)
    order = np.argsort(stack.reshape(-1, channels).mean(axis=0), kind="stable")
    groups = np.empty(channels, dtype=np.intp)
    groups[order] = np.arange(channels) * _CHANNELS // channels
    return groups


def _class_maps(
    stack: npt.NDArray[np.uint8], levels: int, form: Binarisation
) -> Iterator[tuple[int, ...]]:
    """Class of each level; the last entry is that of a place outside the slice.

    Small N: every level a class. Otherwise level 0, and the others by equal shares of what occurs.
    Each with a class of its own for outside, and with level 0's; and one class for everything.
    """
    yield (0,) * (levels + 1)
    most = 255 // form.context_count
    shares = np.bincount(stack.reshape(-1), minlength=levels).astype(np.float64)[1:]
    total = max(float(shares.sum()), 1.0)
    middle = (np.cumsum(shares) - shares / 2) / total
    for count in (2, 3, 4, 5, 6):
        if count > min(levels, most) or (levels <= 5 and count != levels):
            continue
        rest = np.minimum(1 + (middle * (count - 1)).astype(int), count - 1)
        if count == levels:
            rest = np.arange(1, levels)
        _, numbers = np.unique(rest, return_inverse=True)
        classes = (0, *(int(number) + 1 for number in numbers))
        yield (*classes, 0)
        if max(classes) + 2 <= most:
            yield (*classes, max(classes) + 1)


def _choices(
    classes: tuple[int, ...], groups: int, form: Binarisation, limit: int
) -> Iterator[_Choice]:
    """Numbers of clusters that fit ``limit`` contexts, fewest first; each channel its own, too."""
    for clusters in sorted({*_CLUSTERS, groups}):
        choice = _Choice(classes, clusters)
        if clusters <= groups and choice.sets() * form.context_count <= max(
            limit, form.context_count
        ):
            yield choice


def _count(
    stack: npt.NDArray[np.uint8],
    classes: tuple[int, ...],
    groups: npt.NDArray[np.intp],
    step: int,
    levels: int,
) -> Counts:
    """Elements by (group, class above, class to the left, level): float64 [G, A, A, N]."""
    number = max(classes) + 1
    table = np.zeros((int(groups.max()) + 1) * number**2 * levels)
    if not stack.size:
        return table.reshape(-1, number, number, levels)
    lookup = np.asarray(classes, dtype=np.int32)
    column_group = groups[np.arange(stack.shape[2]) % len(groups)].astype(np.int32)
    part = max(1, (1 << 21) // max(1, stack[0].size))
    for first in range(0, len(stack), part):
        piece = stack[first : first + part]
        own = lookup[piece]
        up = np.full_like(own, classes[-1])
        up[:, 1:] = own[:, :-1]
        left = np.full_like(own, classes[-1])
        left[:, :, step:] = own[:, :, :-step]
        index = ((column_group * number + up) * number + left) * levels + piece
        table += np.bincount(index.reshape(-1), minlength=len(table))
    return table.reshape(-1, number, number, levels)


def _count_restarted(
    share: float,
    stack: npt.NDArray[np.uint8],
    classes: tuple[int, ...],
    groups: npt.NDArray[np.intp],
    step: int,
    levels: int,
) -> Counts:
    """The same, and every row once more as the first of a slice, counted for ``share``."""
    first = stack.reshape(-1, 1, stack.shape[2])
    alone = _count(first, classes, groups, step, levels)
    return _count(stack, classes, groups, step, levels) + share * alone


def _bin_counts(counts: Counts, form: Binarisation) -> Counts:
    """(zeros, ones) of every context of every set: float64 [G, sets, bins, 2]."""
    out = np.zeros((len(counts), counts.shape[1] * counts.shape[2], form.context_count, 2))
    flat = counts.reshape(len(counts), -1, form.levels)
    for level in range(form.levels):
        for context, bin_ in form.bins(level):
            out[:, :, context, bin_] += flat[:, :, level]
    return out


def _starts(counts: Counts) -> Counts:
    """P(one) of contexts [clusters, sets, bins] from their counts, rounded as the states are.

    A set seen seldom leans on the same set of all clusters, and that on all sets.
    """
    total = counts.sum(axis=(0, 1))
    parent = (total[:, 1] + 0.5) / (total.sum(axis=-1) + 1.0)
    sets = counts.sum(axis=0)
    parents = (sets[..., 1] + _PRIOR * parent) / (sets.sum(axis=-1) + _PRIOR)
    ones = (counts[..., 1] + _PRIOR * parents) / (counts.sum(axis=-1) + _PRIOR)
    out: Counts = (np.clip(np.floor(ones * 256), 0, 255) * 256 + 128) / 65536
    return out


def _bits(counts: Counts, ones: Counts) -> Counts:
    """Bits of [..., sets, bins, 2] counts under [..., sets, bins] probabilities of a one."""
    out: Counts = -(counts[..., 1] * np.log2(ones) + counts[..., 0] * np.log2(1 - ones))
    return out


def _cluster(counts: Counts, clusters: int) -> npt.NDArray[np.intp]:
    """A cluster for each group of channels, so that the groups' code is short.

    Lloyd's algorithm with code length as the distance, from groups in order of their first bin.
    """
    groups = len(counts)
    if clusters >= groups:
        return np.arange(groups)
    seen = counts[:, :, 0].sum(axis=1)
    order = np.argsort((seen[:, 1] + 0.5) / (seen.sum(axis=1) + 1.0), kind="stable")
    member = np.empty(groups, dtype=np.intp)
    member[order] = np.arange(groups) * clusters // groups
    flat = counts.reshape(groups, -1, 2)
    for _ in range(_LLOYD_ROUNDS):
        ones = _starts(_merged(counts, member, clusters)).reshape(clusters, -1)
        cost = -(flat[..., 1] @ np.log2(ones).T + flat[..., 0] @ np.log2(1 - ones).T)
        found = np.argmin(cost, axis=1)
        if len(np.unique(found)) < clusters or np.array_equal(found, member):
            break
        member = found
    return member


def _merged(counts: Counts, member: npt.NDArray[np.intp], clusters: int) -> Counts:
    """Counts of clusters: the sums of their groups'."""
    out = np.zeros((clusters, *counts.shape[1:]))
    np.add.at(out, member, counts)
    return out


def _held_out_bits(halves: list[Counts], choice: _Choice, levels: int) -> float:
    """Bits per element of each half under states trained on the other."""
    bits = 0.0
    for train, test in ((halves[0], halves[1]), (halves[1], halves[0])):
        member = _cluster(train, choice.clusters)
        ones = _starts(_merged(train, member, choice.clusters))
        bits += float(_bits(_merged(test, member, choice.clusters), ones).sum())
    # every element has a first unary bin
    elements = sum(float(half[:, :, 0].sum()) for half in halves)
    return bits / max(elements, 1.0)


def _finish(
    counts: Counts,
    choice: _Choice,
    groups: npt.NDArray[np.intp],
    step: int,
    bits: tuple[float, float],
) -> ContextDesign:
    """Clusters and starts of the choice from the counts of all tensors."""
    member = _cluster(counts, choice.clusters)
    ones = _starts(_merged(counts, member, choice.clusters))
    of_channel = member[groups]
    if choice.clusters == 1:
        of_channel = of_channel[:1]
    initial = np.floor(ones * 256).astype(int) * 256 + 128
    return ContextDesign(
        contexts=Contexts(step, tuple(int(c) for c in of_channel), choice.classes),
        initial=tuple(int(value) for value in initial.reshape(-1)),
        bits=bits[0],
        plain_bits=bits[1],
    )


def choose_neighbour_rate(
    tensor: TensorSpec,
    levels: int,
    design: ContextDesign,
    tensors: Sequence[npt.NDArray[np.uint8]],
) -> int:
    """The adaptation shift with the shortest code on some calibration tensors.

    At most 2^15 elements are looked at: the best rate depends on how the statistics drift, which a
    few tensors show.
    """
    bits = {}
    for rate in RATES:
        codec = make_codec(_rate_profile(tensor, levels, rate, design))
        count = max(1, _RATE_ELEMENTS // max(1, tensor.elements))
        bits[rate] = sum(len(codec.encode_levels(0, 0, each)) for each in tensors[:count])
    return min(RATES, key=lambda rate: bits[rate])


def _rate_profile(tensor: TensorSpec, levels: int, rate: int, design: ContextDesign) -> Profile:
    """A profile of float32 tensors with this coder, for levels."""
    steps = tuple(float(number) for number in range(levels))
    rung = Rung(
        levels=levels,
        clip=(0.0, steps[-1]),
        quantizer="uniform",
        thresholds=steps[1:],
        values=steps,
        rate=rate,
        initial=design.initial,
        table_i8=None,
        thresholds_i16=None,
        thresholds_f32=tuple(range(1, levels)),
        payload_max=neighbour_payload_max(levels, rate, tensor.elements),
        contexts=design.contexts,
    )
    spec = TensorSpec("levels", tensor.shape, "float32", 1.0, 0)
    return Profile(spec, (rung,), max(1, spec.rows))
