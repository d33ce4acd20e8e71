"""A Gilbert-Elliott channel: packets are lost in bursts.

Two states. In the good one every packet arrives, in the bad one every packet is lost. From the loss
probability p and the mean length B of a burst (Dhondea, Cohen, Bajic, arXiv 2112.00794):

    P(bad -> good) = 1 / B        P(good -> bad) = (1 / B) / (1 / p - 1)

so the bad state is taken p of the time and its visits are B packets long on average.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isthmus.errors import OptionError

__all__ = ["GilbertElliott"]


class GilbertElliott:
    """A seeded channel that goes on where the last call ended.

    loss   p, the share of packets that are lost, 0 to B / (B + 1)
    burst  B, mean length of a burst in packets, 1 or more; None for packets lost independently
           of one another, which is B = 1 / (1 - p)
    seed   an integer or a sequence of them; equal seeds, equal losses, however calls divide them

    OptionError where no chain has these figures.
    """

    def __init__(
        self, loss: float, burst: float | None = None, seed: int | tuple[int, ...] = 0
    ) -> None:
        if not 0 <= loss < 1:
            raise OptionError("loss", f"is {loss:g}", allowed="0 or more and less than 1")
        self.loss = float(loss)
        self.burst = 1.0 / (1.0 - self.loss) if burst is None else float(burst)
        if not 1 <= self.burst < float("inf"):
            raise OptionError("burst", f"is {self.burst:g}", allowed="1 packet or more")
        self.bad_to_good = 1.0 / self.burst
        self.good_to_bad = self.bad_to_good / (1.0 / self.loss - 1.0) if self.loss else 0.0
        if self.good_to_bad > 1:
            raise OptionError(
                "loss", f"is {loss:g} in bursts of {self.burst:g}",
                allowed=f"{self.burst / (self.burst + 1):g} at most with such bursts",
            )  # fmt: skip
        self._rng = np.random.default_rng(seed)
        # the first packet finds the chain as any later one does
        self._bad = bool(self._rng.random() < self.loss)
        self._left = self._stay()

    def send(self, packets: int) -> npt.NDArray[np.bool_]:
        """Which of the next ``packets`` packets are lost, bool [packets]."""
        lost = np.zeros(packets, dtype=np.bool_)
        if not self.loss:
            return lost
        at = 0
        while at < packets:
            if self._left == 0:
                self._bad = not self._bad
                self._left = self._stay()
            step = min(self._left, packets - at)
            lost[at : at + step] = self._bad
            self._left -= step
            at += step
        return lost

    def _stay(self) -> int:
        """Packets until the state changes; visits of a Markov chain are geometric."""
        leave = self.bad_to_good if self._bad else self.good_to_bad
        return int(self._rng.geometric(leave)) if leave else 0
