"""The activation model: an asymmetric Laplace input behind a ReLU or leaky ReLU.

Cohen, Choi, Bajic, "Lightweight Compression of Intermediate Neural Network Features for
Collaborative Intelligence", IEEE OJCAS 2 (2021), take the input X of an activation to be

    f_X(x) = lam/(kap + 1/kap) * exp((lam/kap)(x - mu))   for x <  mu
                               * exp(-lam*kap (x - mu))   for x >= mu

and match lam and mu to the mean and variance of the activation's output Y. The density of Y is
piecewise exponential, with an atom at zero behind a plain ReLU, so every integral that the error of
a quantiser needs is a closed form; none is approximated by D**2/12.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.errors import OptionError

__all__ = ["KAPPA", "ActivationModel", "find_root", "fit_activation", "scaled_moments"]

KAPPA = 0.5
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_LEAST_VARIANCE_RATIO = 1e-12


@dataclass(frozen=True)
class ActivationModel:
    """Density of an activation's output. ``lam`` > 0 is per unit of Y, ``mu`` in units of Y.

    ``slope`` is the slope below zero: 0 for ReLU, 0 < slope < 1 for leaky ReLU.
    """

    lam: float
    mu: float
    kappa: float = KAPPA
    slope: float = 0.0

    @property
    def tail_rate(self) -> float:
        """Rate beta of the upper tail, exp(-beta*y)."""
        return self.lam * self.kappa

    @property
    def zero_mass(self) -> float:
        """P(Y = 0): the atom of a plain ReLU, 0 behind a leaky one."""
        if self.slope > 0:
            return 0.0
        k2 = self.kappa**2
        if self.mu < 0:
            return -math.expm1(self.tail_rate * self.mu - math.log1p(k2))
        return k2 / (1 + k2) * math.exp(-self.lam * self.mu / self.kappa)

    def mean(self) -> float:
        """E[Y]."""
        return scaled_moments(-self.lam * self.mu, self.slope, self.kappa)[0] / self.lam

    def variance(self) -> float:
        """Var[Y]."""
        first, second = scaled_moments(-self.lam * self.mu, self.slope, self.kappa)
        return (second - first**2) / self.lam**2

    def pdf(self, y: ArrayLike) -> NDArray[np.float64]:
        """Density of Y's continuous part at y; the atom at zero is in :attr:`zero_mass`."""
        at = np.asarray(y, np.float64)
        density = np.zeros_like(at)
        for piece in self._pieces():
            inside = (at >= piece.low) & (at < piece.high)
            # Clamped before exp so that points outside the piece cannot overflow.
            grown = np.exp(np.minimum(piece.rate * (at - piece.origin), 0.0))
            density = np.where(inside, piece.height * grown, density)
        return density

    def cell_moments(
        self, low: ArrayLike, high: ArrayLike, centre: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Integrals of (y - centre)**k f(y) over [low, high) for k = 0, 1, 2.

        The three arguments broadcast; the bounds may be infinite.
        """
        lo, hi, c = np.broadcast_arrays(
            np.asarray(low, np.float64),
            np.asarray(high, np.float64),
            np.asarray(centre, np.float64),
        )
        moments = np.zeros((3, *lo.shape), np.float64)
        for piece in self._pieces():
            moments += piece.moments(lo, hi, c)
        atom = np.where((lo <= 0) & (hi > 0), self.zero_mass, 0.0)
        moments += atom * np.stack([np.ones_like(c), -c, c**2])
        return moments[0], moments[1], moments[2]

    def _pieces(self) -> tuple[_Piece, ...]:
        """The continuous part of Y's density, from left to right."""
        lam, mu, kap, a = self.lam, self.mu, self.kappa, self.slope
        peak = lam / (kap + 1 / kap)
        rise, fall = lam / kap, lam * kap
        inf = math.inf
        pieces = []
        if mu < 0:
            at_zero = peak * math.exp(fall * mu)
            if a > 0:
                pieces.append(_Piece(-inf, a * mu, rise / a, a * mu, peak / a))
                pieces.append(_Piece(a * mu, 0.0, -fall / a, a * mu, peak / a))
            pieces.append(_Piece(0.0, inf, -fall, 0.0, at_zero))
        else:
            at_zero = peak * math.exp(-rise * mu)
            if a > 0:
                pieces.append(_Piece(-inf, 0.0, rise / a, 0.0, at_zero / a))
            pieces.append(_Piece(0.0, mu, rise, mu, peak))
            pieces.append(_Piece(mu, inf, -fall, mu, peak))
        return tuple(pieces)


@dataclass(frozen=True)
class _Piece:
    """height * exp(rate * (y - origin)) on [low, high); origin is the end where it is largest."""

    low: float
    high: float
    rate: float
    origin: float
    height: float

    def moments(
        self, low: NDArray[np.float64], high: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        lo = np.clip(low, self.low, self.high)
        hi = np.clip(high, self.low, self.high)
        result = np.zeros((3, *lo.shape), np.float64)
        some = hi > lo
        width = np.where(some, hi - np.where(some, lo, 0.0), 0.0)
        narrow = some & (abs(self.rate) * width <= 1.0)
        wide = some & ~narrow
        # Differences of the antiderivative lose digits over narrow cells; there 12 Gauss-Legendre
        # nodes leave nothing but rounding (the remainder is below 1e-30 of the integral).
        result[:, narrow] = self._by_nodes(lo[narrow], width[narrow], centre[narrow])
        result[:, wide] = self._antiderivative(hi[wide], centre[wide])
        result[:, wide] -= self._antiderivative(lo[wide], centre[wide])
        return result

    def _by_nodes(
        self, low: NDArray[np.float64], width: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        y = low[:, None] + width[:, None] * (0.5 + 0.5 * _NODES)
        weight = 0.5 * width[:, None] * _WEIGHTS
        weight = weight * (self.height * np.exp(self.rate * (y - self.origin)))
        u = y - centre[:, None]
        return np.stack([weight.sum(-1), (weight * u).sum(-1), (weight * u * u).sum(-1)])

    def _antiderivative(
        self, y: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        finite = np.isfinite(y)
        at = np.where(finite, y, self.origin)
        # Both infinite ends lie where the exponential has vanished.
        grown = np.where(finite, self.height * np.exp(self.rate * (at - self.origin)), 0.0)
        u, v = at - centre, 1.0 / self.rate
        return np.stack([grown * v, grown * v * (u - v), grown * v * (u * u - 2 * v * (u - v))])


def scaled_moments(s: float, slope: float, kappa: float = KAPPA) -> tuple[float, float]:
    """lam*E[Y] and lam**2*E[Y**2] as functions of s = -lam*mu alone (both signs of mu).

    Source: the published model's moments, recomputed; the two branches meet at s = 0.
    """
    k2 = kappa**2
    shift = 1 / kappa - kappa - s
    square = (1 + k2**2) / k2 + shift**2
    a = slope
    if s > 0:
        p = math.exp(-kappa * s) / (1 + k2)
        first = (1 - a) * p / kappa + a * shift
        second = (1 - a * a) * 2 * p / k2 + a * a * square
    else:
        p = k2 / (1 + k2) * math.exp(s / kappa)
        first = shift + (1 - a) * kappa * p
        second = square - (1 - a * a) * 2 * k2 * p
    return first, second


def fit_activation(
    mean: float, variance: float, *, slope: float = 0.0, kappa: float = KAPPA
) -> ActivationModel:
    """The model whose output has the given mean and variance.

    E[Y]/sqrt(E[Y**2]) falls strictly with s = -lam*mu, from 1 at s -> -inf to 0 (ReLU) or -1
    (leaky), so one bracketed root gives s and then lam and mu. Behind a plain ReLU with mu < 0
    there is a closed form: P(Y>0) = 2m**2/(v+m**2), tail rate 2m/(v+m**2).

    Raises OptionError where no model fits: a variance that is not positive (or vanishes beside
    the squared mean), a mean <= 0 behind a plain ReLU, a slope outside [0, 1).
    """
    if not 0 <= slope < 1:
        raise OptionError("activation.slope", f"{slope}", allowed="0 <= slope < 1")
    if not 0 < kappa < 1:
        raise OptionError("activation.kappa", f"{kappa}", allowed="0 < kappa < 1")
    if not (math.isfinite(mean) and math.isfinite(variance)):
        raise OptionError("activation.mean", f"mean {mean}, variance {variance}", allowed="finite")
    if variance <= 0 or variance <= _LEAST_VARIANCE_RATIO * mean**2:
        raise OptionError(
            "activation.variance",
            f"{variance} at a mean of {mean}",
            allowed="values that vary",
            remedy="use the empirical clip rule or a fixed range",
        )
    if slope == 0 and mean <= 0:
        raise OptionError(
            "activation.mean",
            f"{mean} behind a ReLU",
            allowed="a positive mean",
            remedy="use the empirical clip rule or a fixed range",
        )
    second = variance + mean**2
    if slope == 0:
        positive = 2 * mean**2 / second
        if positive * (1 + kappa**2) < 1:
            beta = 2 * mean / second
            mu = math.log(positive * (1 + kappa**2)) / beta
            return ActivationModel(beta / kappa, mu, kappa, slope)
    target = mean / math.sqrt(second)

    def excess(s: float) -> float:
        first, square = scaled_moments(s, slope, kappa)
        return first / math.sqrt(square) - target

    low, high = -1.0, 1.0
    while excess(low) <= 0:
        low *= 2
    while excess(high) > 0:
        high *= 2
    s = find_root(excess, low, high)
    lam = math.sqrt(scaled_moments(s, slope, kappa)[1] / second)
    return ActivationModel(lam, -s / lam, kappa, slope)


def find_root(function: Callable[[float], float], low: float, high: float) -> float:
    """A point between low and high where ``function`` changes sign, to the last bits.

    The signs at the two ends must differ. Chandrupatla's method (Advances in Engineering Software
    28, 1997): inverse quadratic steps where they are safe, halving elsewhere. It is written out
    here so that one input gives one result with every version of every library.
    """
    x1, x2 = high, low
    f1, f2 = function(high), function(low)
    if f1 == 0 or f2 == 0:
        return high if f1 == 0 else low
    if (f1 > 0) == (f2 > 0):
        raise ValueError("the function has the same sign at both ends")
    x3, f3, share = x1, f1, 0.5
    while True:
        x = x1 + share * (x2 - x1)
        f = function(x)
        if (f > 0) == (f1 > 0):
            x3, f3 = x1, f1
        else:
            x3, f3, x2, f2 = x2, f2, x1, f1
        x1, f1 = x, f
        best, at_best = (x1, f1) if abs(f1) < abs(f2) else (x2, f2)
        least = 2.0**-52 * abs(best) / abs(x2 - x1) if x2 != x1 else 1.0
        if at_best == 0 or least >= 0.5:
            return best
        xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
        share = 0.5
        if phi * phi < xi and (1 - phi) ** 2 < 1 - xi:
            share = f1 / (f2 - f1) * f3 / (f2 - f3)
            share += (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
        share = min(max(share, least), 1 - least)
