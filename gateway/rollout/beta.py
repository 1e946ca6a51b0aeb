"""Evaluate the beta function and its incomplete integral in logarithms, with the standard library only.

The sequential tests of this package are ratios of beta functions whose values leave the range of a float
long before their ratio does, so nothing here is ever exponentiated but differences near zero.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_RELATIVE_ERROR = 1e-15


def log_beta(a: float, b: float) -> float:
    """Return ln B(a, b) for positive ``a`` and ``b``."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_incomplete_beta(x: float, a: float, b: float) -> float:
    """Return ln of the integral of tᵃ⁻¹(1−t)ᵇ⁻¹ from 0 to ``x`` (not divided by B(a, b)).

    ``x`` lies in (0, 1), ``a`` and ``b`` are positive. Below the mean the continued fraction converges in
    O(√max(a, b)) steps; above it the complement does.
    """
    if x < (a + 1) / (a + b + 2):
        return a * math.log(x) + b * math.log1p(-x) - math.log(a) + math.log(_continued_fraction(x, a, b))
    whole = log_beta(a, b)
    rest = b * math.log1p(-x) + a * math.log(x) - math.log(b) + math.log(_continued_fraction(1 - x, b, a))
    share = math.exp(min(0.0, rest - whole))
    return whole + math.log1p(-share) if share < 1 else -math.inf


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function by Lentz's method.

    DLMF 8.17.22; the modified method of Lentz as in Thompson and Barnett (1986).
    """
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    h = d
    for m in range(1, 200 + 20 * int(math.sqrt(max(a, b)))):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + numerator / c
            c = c if abs(c) > _TINY else _TINY
            h *= c * d
        if abs(c * d - 1.0) < _RELATIVE_ERROR:
            break
    return h
