"""Concealment: cases by hand, slow counterparts written from the definitions, properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.conceal import METHODS, conceal
from isthmus.errors import DataDtypeError, DataShapeError, OptionError

NAN = float("nan")


def rows_of(values: list[list[float]]) -> npt.NDArray[np.float32]:
    """A tensor [rows, 1, channels]; what is missing is NaN, so that reading it shows."""
    return np.array(values, dtype=np.float32)[:, np.newaxis]


def test_zero_and_mean() -> None:
    x = rows_of([[1, 10], [NAN, NAN], [3, 30], [NAN, NAN], [8, 80]])
    known = ~np.isnan(x)
    assert conceal(x, known, "zero", zero=0.5)[1].tolist() == [[0.5, 0.5]]
    found = conceal(x, known, "mean")
    assert found[:, 0].tolist() == [[1, 10], [4, 40], [3, 30], [4, 40], [8, 80]]


def test_mean_of_a_channel_that_is_lost_whole() -> None:
    x = rows_of([[1, NAN], [5, NAN]])
    known = ~np.isnan(x)
    assert conceal(x, known, "mean")[:, 0, 1].tolist() == [3, 3]
    training = np.array([7, 9], np.float32)
    assert conceal(x, known, "mean", mean=training)[:, 0, 1].tolist() == [9, 9]


def test_nearest_row_and_the_upper_of_two() -> None:
    x = rows_of([[1, 10], [NAN, NAN], [NAN, NAN], [NAN, NAN], [2, 20], [NAN, NAN]])
    found = conceal(x, ~np.isnan(x), "nearest")[:, 0].tolist()
    assert found == [[1, 10], [1, 10], [1, 10], [2, 20], [2, 20], [2, 20]]


def test_nearest_keeps_the_column_and_falls_back_to_the_position() -> None:
    """Slices end anywhere in a row: column 2 has no row at all, so the position before it."""
    x = np.array([[1, 2, NAN, NAN], [NAN, NAN, NAN, 8]], np.float32)[:, :, np.newaxis]
    found = conceal(x, ~np.isnan(x), "nearest")[..., 0].tolist()
    # (0, 2): position 1 is one away; (1, 2): position 3 of its row is
    assert found == [[1, 2, 2, 8], [1, 2, 8, 8]]


def test_levels_stay_levels() -> None:
    levels = np.array([[3], [9], [1]], np.uint8)[:, np.newaxis]
    known = np.array([True, False, True])[:, np.newaxis, np.newaxis]
    assert conceal(levels, known, "nearest").ravel().tolist() == [3, 3, 1]
    assert conceal(levels, known, "zero", zero=2).dtype == np.uint8
    for method in ("mean", "fit", "caltec"):
        with pytest.raises(DataDtypeError, match="are levels"):
            conceal(levels, known, method)


def fit_by_definition(x: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """ "fit" for whole lost rows of [rows, positions, channels], element by element.

    The weights solve the normal equations of a process with correlation r^distance.
    """
    out = x.astype(np.float64)
    there = np.flatnonzero(known.all(axis=(1, 2)))
    for c in range(x.shape[2]):
        mean = x[there, :, c].mean(dtype=np.float64)
        pairs = [(r, r + 1) for r in there if r + 1 in there]
        above = np.array([x[a, :, c] - mean for a, _ in pairs], np.float64)
        below = np.array([x[b, :, c] - mean for _, b in pairs], np.float64)
        r = 2 * (above * below).sum() / ((above**2).sum() + (below**2).sum()) if pairs else 1.0
        r = min(max(r, 0.0), 0.999) ** (1 / 5)
        for row in range(x.shape[0]):
            if row in there:
                continue
            near = [*there[there < row][-1:], *there[there > row][:1]]
            matrix = np.array([[r ** abs(a - b) for b in near] for a in near])
            right = np.array([r ** abs(a - row) for a in near])
            weights = np.linalg.solve(matrix, right)
            for p in range(x.shape[1]):
                own = np.array([x[a, p, c] - mean for a in near])
                out[row, p, c] = mean + weights @ own
    return out


@pytest.mark.parametrize(
    "lost", [[3], [0, 1], [6, 7], [1, 2, 5], [0, 2, 4, 6], [1, 2, 3, 4, 5, 6, 7]]
)
def test_fit_is_the_least_squares_of_its_definition(lost: list[int]) -> None:
    rng = np.random.default_rng(len(lost))
    x = np.cumsum(rng.normal(size=(8, 5, 3)), axis=0).astype(np.float32) + 4
    known = np.ones(x.shape, np.bool_)
    known[lost] = False
    expected = fit_by_definition(x, known)
    found = conceal(np.where(known, x, np.float32(NAN)), known, "fit")
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_fit_by_hand() -> None:
    """Rows 0, 1, 3 of [2], [4], [0] in one position: mean 2, pair (0, 2): r is 0, so the mean."""
    x = rows_of([[2], [4], [NAN], [0]])
    assert conceal(x, ~np.isnan(x), "fit")[2, 0, 0] == 2
    # no two neighbours arrived: nothing contradicts r = 1, halfway between both rows
    y = rows_of([[2], [NAN], [4]])
    assert conceal(y, ~np.isnan(y), "fit")[1, 0, 0] == pytest.approx(3, abs=1e-6)


def channels_lost(shape: tuple[int, int, int], lost: list[tuple[int, int]], size: int) -> Any:
    known = np.ones(shape, np.bool_)
    for block, channel in lost:
        known[block * size : (block + 1) * size, :, channel] = False
    return known


def test_caltec_takes_the_line_of_the_best_channel() -> None:
    """Channel 0 is 2 times channel 1 plus 3; channel 2 is noise: the line is exact."""
    rng = np.random.default_rng(1)
    x = rng.integers(-8, 8, (8, 4, 3)).astype(np.float32)
    x[..., 0] = 2 * x[..., 1] + 3
    known = channels_lost((8, 4, 3), [(0, 0)], 4)
    found = conceal(np.where(known, x, np.float32(NAN)), known, "caltec")
    assert np.allclose(found, x, atol=1e-5)
    # without the good channel there it must do with the noise
    known = channels_lost((8, 4, 3), [(0, 0), (0, 1)], 4)
    found = conceal(np.where(known, x, np.float32(NAN)), known, "caltec")
    slope, start = np.polyfit(x[4:, :, 2].ravel(), x[4:, :, 0].ravel(), 1)
    assert np.allclose(found[:4, :, 0], slope * x[:4, :, 2] + start, atol=1e-4)


def test_caltec_fits_on_the_nearest_rows_that_arrived() -> None:
    """Blocks of 2 rows: 0 and 3 obey c = d, block 2 obeys c = -d; block 1 is next to 2, not 3."""
    d = np.arange(16, dtype=np.float32).reshape(8, 2)
    c = d.copy()
    c[4:6] = -d[4:6]
    x = np.stack([c, d], axis=-1)
    known = channels_lost((8, 2, 2), [(0, 0), (1, 0)], 2)
    found = conceal(np.where(known, x, np.float32(NAN)), known, "caltec", packet_rows=2)
    assert np.allclose(found[:4, :, 0], -d[:4], atol=1e-4)
    # the upper one of two at the same distance
    known = channels_lost((8, 2, 2), [(1, 0)], 2)
    found = conceal(np.where(known, x, np.float32(NAN)), known, "caltec", packet_rows=2)
    assert np.allclose(found[2:4, :, 0], d[2:4], atol=1e-4)


def test_caltec_of_flat_channels_and_a_short_last_block() -> None:
    """Against a channel without variance there is no slope: the mean of the nearest rows."""
    x = np.zeros((5, 3, 2), np.float32)
    x[:4, :, 0] = np.arange(12).reshape(4, 3)
    known = channels_lost((5, 3, 2), [(1, 0)], 4)
    assert conceal(x, known, "caltec")[4, :, 0].tolist() == [5.5] * 3
    # the short block is the nearest: c = 2 d + 10 on its one row, whatever the lost rows were
    x = np.arange(15, dtype=np.float32).reshape(5, 3)[..., np.newaxis].repeat(2, axis=-1)
    x[..., 0] = 2 * x[..., 1] + 10
    known = channels_lost((5, 3, 2), [(0, 0)], 4)
    assert np.allclose(conceal(x, known, "caltec"), x, atol=1e-4)


def test_caltec_is_fit_where_all_channels_are_lost() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((16, 4, 6)).astype(np.float32)
    known = np.ones(x.shape, np.bool_)
    known[6:9] = False
    assert np.array_equal(conceal(x, known, "caltec"), conceal(x, known, "fit"))


SHAPES = st.sampled_from([(5,), (6, 4), (7, 3, 4), (8, 8, 2), (4, 2, 3, 2), (9, 4, 1), (1, 1, 1)])


@settings(max_examples=150, deadline=None)
@given(
    SHAPES,
    st.sampled_from(METHODS),
    st.integers(0, 10**6),
    st.sampled_from(["run", "rows", "channels", "all", "none", "any"]),
)
def test_properties(shape: tuple[int, ...], method: str, seed: int, kind: str) -> None:
    """What arrived is untouched, the rest finite and inside a sane range; batches agree."""
    rng = np.random.default_rng(seed)
    batch = rng.random((3, *shape)).astype(np.float32) * 10
    known = masks(rng, shape, kind, 3)
    given_x = np.where(known, batch, np.float32(NAN))
    found = conceal(given_x, known, method, batch=True, packet_rows=int(rng.integers(1, 5)))
    again = conceal(given_x, known, method, batch=True, packet_rows=4)
    assert found.dtype == np.float32
    assert np.array_equal(found[known], batch[known])
    assert np.isfinite(found).all()
    for one, mask, together in zip(given_x, known, again, strict=True):
        assert np.array_equal(conceal(one, mask, method), together)
        if method in ("mean", "nearest", "zero"):
            inside = one[mask] if mask.any() else np.zeros(1)
            assert together.min() >= min(0, inside.min()) - 1e-4
            assert together.max() <= inside.max() + 1e-4


def masks(rng: Any, shape: tuple[int, ...], kind: str, count: int) -> npt.NDArray[np.bool_]:
    """[count, *shape]: runs in row-major order, whole rows, whole channels, all, none, any."""
    known = np.ones((count, *shape), np.bool_)
    for one in known:
        if kind == "run":
            begin, end = sorted(rng.integers(0, one.size + 1, 2))
            one.reshape(-1)[begin:end] = False
        elif kind == "rows":
            one[rng.random(shape[0]) < 0.5] = False
        elif kind == "channels":
            one[..., rng.random(shape[-1]) < 0.5] = False
        elif kind == "all":
            one[...] = False
        elif kind == "any":
            one[rng.random(shape) < 0.5] = False
    return known


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(5,), (6, 4), (6, 4, 3)])
def test_nothing_arrived(method: str, shape: tuple[int, ...]) -> None:
    x = np.full(shape, NAN, np.float32)
    known = np.zeros(shape, np.bool_)
    assert (conceal(x, known, method, zero=0.25) == 0.25).all()
    mean = np.arange(shape[-1], dtype=np.float32)
    expected = np.full(shape, 0.25) if method == "zero" else np.broadcast_to(mean, shape)
    assert np.array_equal(conceal(x, known, method, zero=0.25, mean=mean), expected)


@pytest.mark.parametrize("method", METHODS)
def test_no_elements(method: str) -> None:
    x = np.empty((0, 4, 2), np.float32)
    assert conceal(x, np.empty(x.shape, np.bool_), method).shape == x.shape


def test_one_mask_for_a_batch() -> None:
    rng = np.random.default_rng(3)
    x = rng.random((4, 6, 2, 3)).astype(np.float32)
    known = np.ones(x.shape[1:], np.bool_)
    known[2] = False
    found = conceal(x, known, "nearest", batch=True)
    assert np.array_equal(found[:, 2], x[:, 1])


def test_refused() -> None:
    x, known = np.zeros((4, 2), np.float32), np.ones((4, 2), np.bool_)
    with pytest.raises(OptionError, match="zero, mean, nearest, fit, caltec"):
        conceal(x, known, "median")
    with pytest.raises(DataShapeError, match=r"received: has shape \(4,\)"):
        conceal(x, known[:, 0], "mean")
    with pytest.raises(DataDtypeError, match="received: has dtype uint8"):
        conceal(x, known.astype(np.uint8), "mean")
    with pytest.raises(DataDtypeError, match="float64"):
        conceal(x.astype(np.float64), known, "mean")
    with pytest.raises(DataShapeError, match="mean: has shape"):
        conceal(x, known, "mean", mean=np.zeros(3, np.float32))
    with pytest.raises(OptionError, match="packet_rows: is 0"):
        conceal(x, known, "caltec", packet_rows=0)
    with pytest.raises(DataShapeError, match="rank 1 to 4"):
        conceal(np.zeros((), np.float32), np.ones((), np.bool_), "zero")
