"""What coding does to the network's answers, input by input, without labels and with them.

Kinds of outputs: ``probabilities`` (rows that sum to one, or one number in 0..1), ``logits``
(a row of scores, one a class) and ``values`` (anything else). The divergence of the first two is
the Kullback-Leibler divergence of the answers without coding from those with it, in nats; that of
values is the squared error over the mean square of the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus_gen.evaluate.statistics import top_class

__all__ = ["Answers", "Losses", "output_kind"]

Floats = npt.NDArray[np.float64]
_SMOOTH = 1e-6
_SUM = 1e-2


def output_kind(
    outputs: npt.NDArray[np.float32], input_shape: tuple[int, ...], labelled: bool
) -> str:
    """ "probabilities", "logits" or "values" for outputs [n, ...].

    A row that is shaped like the network's input is a reconstruction of it, not scores, unless
    there are labels.
    """
    flat = outputs.reshape(len(outputs), -1)
    if top_class(outputs) is None:
        return "values"
    if flat.shape[1] == 1:
        return "probabilities" if flat.min() >= 0 and flat.max() <= 1 else "values"
    if flat.min() >= 0 and np.abs(flat.sum(axis=1) - 1).max() <= _SUM:
        return "probabilities"
    if not labelled and tuple(outputs.shape[1:]) == tuple(input_shape):
        return "values"
    return "logits"


@dataclass(frozen=True)
class Losses:
    """What one candidate loses, per input.

    divergence  float64 [n], 0 or more
    changed     bool [n], another first class than without coding; None for values
    lost        int8 [n], 1 where a right answer became wrong, -1 where a wrong one became right;
                None without labels
    """

    divergence: Floats
    changed: npt.NDArray[np.bool_] | None
    lost: npt.NDArray[np.int8] | None


class Answers:
    """The answers without coding, which every candidate's are held against.

    ``outputs`` float32 [n, ...]; ``labels`` int64 [n] or None.
    """

    def __init__(
        self,
        outputs: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64] | None,
        input_shape: tuple[int, ...] = (),
    ) -> None:
        self.kind = output_kind(outputs, input_shape, labels is not None)
        self._flat = outputs.reshape(len(outputs), -1).astype(np.float64)
        self._first = None if self.kind == "values" else top_class(outputs)
        self.labels = None if self._first is None else labels
        if self.kind == "values":
            self._scale = float((self._flat**2).mean()) or 1.0
        else:
            self._shares = _shares(self._flat, self.kind)

    def __len__(self) -> int:
        return len(self._flat)

    def losses(
        self, outputs: npt.NDArray[np.float32], rows: npt.NDArray[np.int64] | slice
    ) -> Losses:
        """The losses of ``outputs`` [m, ...], the answers to inputs ``rows`` with coding."""
        flat = outputs.reshape(len(outputs), -1).astype(np.float64)
        if self._first is None:
            error = ((flat - self._flat[rows]) ** 2).mean(axis=1) / self._scale
            return Losses(error, None, None)
        p, q = self._shares[rows], _shares(flat, self.kind)
        divergence = np.maximum((p * np.log(p / q)).sum(axis=1), 0.0)
        mine, before = top_class(outputs), self._first[rows]
        assert mine is not None  # the first batch was one of classes, and so is this one
        lost = None
        if self.labels is not None:
            right = (mine == self.labels[rows]).astype(np.int8)
            lost = (before == self.labels[rows]).astype(np.int8) - right
        return Losses(divergence, mine != before, lost)


def _shares(flat: Floats, kind: str) -> Floats:
    """Probabilities [n, classes] above zero."""
    if flat.shape[1] == 1:
        flat = np.concatenate([1 - flat, flat], axis=1)
    elif kind == "logits":
        flat = np.exp(flat - flat.max(axis=1, keepdims=True))
        flat /= flat.sum(axis=1, keepdims=True)
    smooth = np.clip(flat, 0.0, None) + _SMOOTH
    return np.asarray(smooth / smooth.sum(axis=1, keepdims=True))
