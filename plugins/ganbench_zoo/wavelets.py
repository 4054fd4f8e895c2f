"""Low-pass filters of Daubechies' least asymmetric wavelets, and the zero-phase bands of their squares."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Taps: TypeAlias = NDArray[np.float64]


@functools.cache
def symlet(order: int) -> Taps:
    """The 2 N taps of the symlet of ``order`` N, of sum 1: sum_k h[k] h[k + 2 l] is 1/2 for l = 0 and 0 otherwise.

    H(z) = ((1 + z) / 2)^N Q(z), with |Q|^2 = P(y) = sum_k C(N - 1 + k, k) y^k at y = sin(w / 2)^2 (Daubechies, Ten
    Lectures on Wavelets, 1992, equation 6.1.12). Each root y of P is a pair of roots z, 1 / z of which Q has one, and
    the choices of least asymmetry are those whose mean sum_k k h[k] is nearest the middle: of these two, mirror images
    of each other, the one with the smaller mean.
    """
    roots = np.roots([math.comb(order - 1 + k, k) for k in reversed(range(order))])
    groups = [[y] for y in roots if abs(y.imag) < 1e-9]
    groups += [[y, y.conjugate()] for y in roots if y.imag >= 1e-9]  # with both, the taps are real
    found: list[tuple[float, float, Taps]] = []
    for sides in itertools.product((False, True), repeat=len(groups)):
        zeros: list[complex] = [-1.0] * order
        for outside, group in zip(sides, groups, strict=True):
            for y in group:
                z = (1 - 2 * y) + np.sqrt((1 - 2 * y) ** 2 - 1 + 0j)  # z + 1 / z = 2 - 4 y
                zeros.append(z if (abs(z) > 1) == outside else 1 / z)
        taps = np.poly(zeros).real
        taps = taps / taps.sum()
        mean = float(np.arange(2 * order) @ taps)
        found.append((round(abs(mean - (2 * order - 1) / 2), 9), mean, taps))
    return min(found, key=lambda one: one[:2])[2]


@functools.cache
def bands(octaves: int = 3) -> Taps:
    """Taps [octaves + 1, n] of zero-phase filters that add up to one tap of 1, from the lowest octaves up.

    With the symlet H of order 2, l(z) = H(z) H(1 / z) and h(z) = H(-z) H(-1 / z), which add up to 1: the rows are
    l(z) l(z^2) l(z^4), then h(z^4) l(z^2) l(z), h(z^2) l(z) and h(z) (for three octaves), each about its middle tap.
    """
    low = symlet(2)
    high = low * (-1.0) ** np.arange(len(low))
    halves = [np.convolve(taps, taps[::-1]) for taps in (low, high)]
    rows = [_product([(halves[0], k) for k in range(octaves)])]
    rows += [_product([(halves[1], i), *((halves[0], k) for k in range(i))]) for i in reversed(range(octaves))]
    width = len(rows[0])
    return np.stack([np.pad(row, (width - len(row)) // 2) for row in rows])


def _product(factors: list[tuple[Taps, int]]) -> Taps:
    """The product of filters f(z^(2^k)), of odd length about the middle."""
    taps = np.ones(1)
    for factor, k in factors:
        spread = np.zeros((len(factor) - 1) * 2**k + 1)
        spread[:: 2**k] = factor
        taps = np.convolve(taps, spread)
    return taps
