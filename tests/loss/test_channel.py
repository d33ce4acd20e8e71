"""The Gilbert-Elliott channel against its own chain's figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isthmus.errors import OptionError
from isthmus_gen.loss import GilbertElliott

CASES = [(0.01, 2.0), (0.05, 3.0), (0.1, 5.0), (0.2, 7.0), (0.3, 5.0), (0.5, 1.0)]
PACKETS = 400_000


@pytest.mark.parametrize(("loss", "burst"), CASES)
def test_transition_probabilities(loss: float, burst: float) -> None:
    """P(bad -> good) = 1 / B, P(good -> bad) = (1 / B) / (1 / p - 1); p is then stationary."""
    channel = GilbertElliott(loss, burst)
    assert channel.bad_to_good == pytest.approx(1 / burst, rel=1e-12)
    assert channel.good_to_bad == pytest.approx((1 / burst) / (1 / loss - 1), rel=1e-12)
    chain = np.array(
        [
            [1 - channel.good_to_bad, channel.good_to_bad],
            [channel.bad_to_good, 1 - channel.bad_to_good],
        ]
    )
    values, vectors = np.linalg.eig(chain.T)
    stationary = vectors[:, np.argmax(values)]
    assert (stationary / stationary.sum())[1] == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize(("loss", "burst"), CASES)
def test_frequencies(loss: float, burst: float) -> None:
    """Transitions are binomial: each count within 4.5 standard deviations of the chain's."""
    channel = GilbertElliott(loss, burst, seed=11)
    lost = channel.send(PACKETS)
    before, after = lost[:-1], lost[1:]
    for state, leave in ((False, channel.good_to_bad), (True, channel.bad_to_good)):
        there = int((before == state).sum())
        left = int(((before == state) & (after != state)).sum())
        bound = 4.5 * math.sqrt(there * leave * (1 - leave))
        assert abs(left - there * leave) <= bound
    # the share lost: its variance is that of a chain with second eigenvalue e, not a binomial's
    e = 1 - channel.good_to_bad - channel.bad_to_good
    deviation = math.sqrt(loss * (1 - loss) / PACKETS * (1 + e) / (1 - e))
    assert abs(lost.mean() - loss) <= 4.5 * deviation
    starts = int((after & ~before).sum())
    visits = lost.sum() / max(1, starts)
    assert visits == pytest.approx(burst, rel=4.5 / math.sqrt(starts))


def test_without_bursts_packets_are_independent() -> None:
    """B = 1 / (1 - p): the next packet's fate does not depend on the last one's."""
    channel = GilbertElliott(0.3, seed=4)
    assert channel.burst == pytest.approx(1 / 0.7)
    assert channel.good_to_bad == pytest.approx(0.3)
    assert 1 - channel.bad_to_good == pytest.approx(0.3)


def test_calls_may_be_divided_in_any_way() -> None:
    whole = GilbertElliott(0.2, 4.0, seed=(3, 1)).send(1000)
    parts = GilbertElliott(0.2, 4.0, seed=(3, 1))
    joined = np.concatenate([parts.send(n) for n in (0, 1, 7, 300, 92, 600)])
    assert np.array_equal(whole, joined)
    assert not np.array_equal(whole, GilbertElliott(0.2, 4.0, seed=(3, 2)).send(1000))


def test_the_first_packet_is_lost_as_often_as_any() -> None:
    first = [bool(GilbertElliott(0.3, 5.0, seed=seed).send(1)[0]) for seed in range(2000)]
    assert abs(sum(first) - 600) <= 4.5 * math.sqrt(2000 * 0.3 * 0.7)


def test_no_loss() -> None:
    assert not GilbertElliott(0.0, 5.0).send(100).any()


@pytest.mark.parametrize(
    ("loss", "burst", "words"),
    [
        (1.0, 5.0, "loss: is 1"),
        (-0.1, 5.0, "loss: is -0.1"),
        (float("nan"), 5.0, "loss: is nan"),
        (0.3, 0.5, "burst: is 0.5"),
        (0.3, float("inf"), "burst: is inf"),
        (0.6, 1.0, "0.5 at most"),
    ],
)
def test_refused(loss: float, burst: float, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        GilbertElliott(loss, burst)
