"""Losses over sizes → the law that they follow, and how sure it is.

    L(N) = E + (N_c / N)^α    with E = 0 or not

(Kaplan et al. 2020, equation 1.1; Henighan et al. 2020, equation 1.1.) A fit is least
squares of log L. How sure it is comes from ladders that are drawn from the fit, with normal
errors of the size that its residuals have: a parametric bootstrap.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray
DRAWS, SEED = 2000, 0


class Law(NamedTuple):
    """L(N) = lowest + (n_c / N)^alpha, with N and n_c in parameters; or many such laws."""

    n_c: Array  # (…)
    alpha: Array
    lowest: Array

    def __call__(self, n: Array) -> Array:  # (n,) → (…, n)
        n_c, alpha, lowest = (np.asarray(part)[..., None] for part in self)
        return lowest + (n_c / n) ** alpha


Fit = Callable[[Array, Array], Law]


def power_law(n: Array, loss: Array, lowest: Array | float = 0.0) -> Law:
    """For each ladder of losses (…, n), the line through log(L - lowest) over log N: least
    squares of log L, whose errors are L / (L - lowest) times larger in log(L - lowest)."""
    lowest = np.asarray(lowest)
    rest = loss - lowest[..., None]
    x, y, weights = np.log(n), np.log(rest), (rest / loss) ** 2
    weights = weights / weights.sum(-1, keepdims=True)
    x = x - (weights * x).sum(-1, keepdims=True)
    slope = (weights * x * y).sum(-1) / (weights * x * x).sum(-1)
    at_mean = (weights * y).sum(-1)
    mean = (weights * np.log(n)).sum(-1)
    return Law(np.exp(mean - at_mean / slope), -slope, lowest + 0 * slope)


def with_lowest(n: Array, loss: Array) -> Law:
    """The best law of those whose lowest loss is 0, 0.5 % … 99.5 % of the smallest."""
    grid = loss.min(-1)[..., None] * np.arange(200) / 200  # (…, 200)
    laws = power_law(n, loss[..., None, :], grid)
    best = error(laws, n, loss[..., None, :]).argmin(-1)[..., None]
    return Law(*(np.take_along_axis(part, best, -1)[..., 0] for part in laws))


def error(law: Law, n: Array, loss: Array) -> Array:
    return np.square(np.log(law(n) / loss)).sum(-1)


def redrawn(fit: Fit, n: Array, loss: Array, free: int) -> tuple[Law, float]:
    """The laws of DRAWS ladders that are drawn from the fit, and the error of log L of
    one point. `free` is how many numbers the law has."""
    law = fit(n, loss)
    size = float(np.sqrt(error(law, n, loss) / max(1, len(n) - free)))
    rng = np.random.default_rng(SEED)
    return fit(n, law(n) * np.exp(rng.normal(0, size, (DRAWS, len(n))))), size


def middle_95(values: Array) -> tuple[Array, Array]:  # (draws, …) → 2 × (…)
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    return low, high


def predicted(
    fit: Fit, n: Array, loss: Array, free: int, at: float
) -> tuple[float, float, float]:
    """The loss of one more model of `at` parameters, and its 95 % interval."""
    laws, size = redrawn(fit, n, loss, free)
    noise = np.random.default_rng(SEED + 1).normal(0, size, DRAWS)
    low, high = middle_95(laws(np.array([at]))[:, 0] * np.exp(noise))
    return float(fit(n, loss)(np.array([at]))[0]), float(low), float(high)
