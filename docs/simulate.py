"""How often the statistics of ``ganbench compare`` cover and err: the table in docs/method.md.

``python docs/simulate.py`` prints it (a minute or two); the functions are those that the commands call.
"""
# ruff: noqa: INP001 # a script, not a package

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ganbench import stats
from ganbench.effects import effect, equivalence, holm, least_n
from ganbench.factors import within_blocks
from ganbench.ranking import iqms
from ganbench.stats import Estimate

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = (3, 5, 10)
BLOCKS = 6
TESTS = 9
LEVEL = 0.95


def covers(estimate: Estimate | None, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return estimate is not None and None not in (estimate.low, estimate.high) and _within(estimate, truth)


def _within(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


def by_seed(values: Array) -> dict[int, float | None]:
    """Values as a mapping by seed."""
    return dict(enumerate(map(float, values)))


def paired(rng: np.random.Generator, shape: tuple[int, ...], rho: float) -> tuple[Array, Array]:
    """Two standard normal arrays with correlation ``rho``."""
    common, x, y = rng.normal(size=(3, *shape))
    a, b = math.sqrt(rho), math.sqrt(1 - rho)
    return a * common + b * x, a * common + b * y


# What an interval covers -------------------------------------------------------------------------------------------


def mean_normal(rng: np.random.Generator, n: int) -> bool:
    """The t interval of a mean."""
    return covers(stats.mean(rng.normal(size=n)), 0.0)


def mean_skewed(rng: np.random.Generator, n: int) -> bool:
    """The t interval of a mean of log-normal values of sigma 0.5."""
    return covers(stats.mean(np.exp(rng.normal(scale=0.5, size=n))), math.exp(0.125))


def geometric(rng: np.random.Generator, n: int) -> bool:
    """The interval of the geometric mean of log-normal values of sigma 0.5."""
    return covers(stats.geometric_mean(np.exp(rng.normal(scale=0.5, size=n))), 1.0)


def geometric_gamma(rng: np.random.Generator, n: int) -> bool:
    """The interval of the geometric mean of gamma values of shape 2, which are not log-normal."""
    return covers(stats.geometric_mean(rng.gamma(2.0, size=n)), math.exp(1 - np.euler_gamma))  # digamma(2)


def bootstrap(rng: np.random.Generator, n: int) -> bool:
    """The percentile bootstrap of a mean, which ganbench does not use."""
    xs = rng.normal(size=n)
    low, high = np.percentile(xs[rng.integers(n, size=(1000, n))].mean(1), [2.5, 97.5])
    return bool(low <= 0 <= high)


def difference(rng: np.random.Generator, n: int) -> bool:
    """The interval of a paired difference, correlation 0.6."""
    x, y = paired(rng, (n,), 0.6)
    return covers(effect(by_seed(x + 1), by_seed(y)).difference, 1.0)


def percent(rng: np.random.Generator, n: int) -> bool:
    """The interval of a change in percent, log-normal of sigma 0.5, correlation 0.6."""
    x, y = paired(rng, (n,), 0.6)
    return covers(effect(by_seed(2 * np.exp(x / 2)), by_seed(np.exp(y / 2)), scale="ratio").percent, 100.0)


def _cells(rng: np.random.Generator, n: int, shift: float, blocks: int = BLOCKS) -> tuple[Array, Array]:
    """[blocks, seeds] of a level and of the baseline; seeds share draws over blocks, and blocks differ."""
    levels, seeds, of_level = rng.normal(size=(blocks, 1)), rng.normal(size=n), rng.normal(size=n)
    noise = rng.normal(size=(2, blocks, n))
    return shift + levels + seeds + of_level + noise[0], levels + seeds + noise[1]


def factor(rng: np.random.Generator, n: int) -> bool:
    """The interval of a factor's effect within six blocks, n = seeds."""
    x, y = (dict(enumerate(map(by_seed, cells))) for cells in _cells(rng, n, 1.0))
    found = within_blocks(x, y)
    return found is not None and covers(found.effect.difference, 1.0)


def naive(rng: np.random.Generator, n: int) -> bool:
    """The same with n = blocks x seeds, which ganbench does not use."""
    x, y = _cells(rng, n, 1.0)
    return covers(stats.mean((x - y).ravel()), 1.0)


def improved(rng: np.random.Generator, n: int) -> bool:
    """Wilson's interval of P(improvement) where the truth is 0.8."""
    x, y = paired(rng, (n,), 0.6)
    shift = statistics.NormalDist().inv_cdf(0.8) * math.sqrt(2 * 0.4)
    return covers(effect(by_seed(x - shift), by_seed(y), better="lower").improved, 0.8)


def _iqm(x: Array, y: Array) -> bool:
    return covers(iqms(np.stack([y, x]), base=0, draws=200)[1], 1.0)


def iqm_apart(rng: np.random.Generator, n: int) -> bool:
    """The interval of an IQM over ten blocks whose draws are independent."""
    return _iqm(rng.normal(size=(10, n)) + 1, rng.normal(size=(10, n)))


def iqm_shared(rng: np.random.Generator, n: int) -> bool:
    """The same where the cells of a seed share their draws."""
    return _iqm(*_cells(rng, n, 1.0, blocks=10))


# How often a comparison errs ---------------------------------------------------------------------------------------


def family(rng: np.random.Generator, n: int, *, flips: bool = False) -> bool:
    """Any rejection among nine comparisons with one baseline of which none differs."""
    if n < least_n(TESTS):
        return False
    base = rng.normal(size=n)
    found = [effect(by_seed(rng.normal(size=n)), by_seed(base)) for _ in range(TESTS)]
    ps = [e.flip if flips else e.p for e in found]
    return min(holm([1.0 if p is None else p for p in ps])) <= 1 - LEVEL


def family_flips(rng: np.random.Generator, n: int) -> bool:
    """The same by sign flips."""
    return family(rng, n, flips=True)


def excludes(rng: np.random.Generator, n: int) -> bool:
    """An interval of a difference that leaves out 0 although there is none."""
    x, y = paired(rng, (n,), 0.6)
    return not covers(effect(by_seed(x), by_seed(y)).difference, 0.0)


def called_same(rng: np.random.Generator, n: int) -> bool:
    """A difference as large as the margin that is called the same."""
    x, y = paired(rng, (n,), 0.6)
    p = equivalence(effect(by_seed(x + 1), by_seed(y)).difference, 1.0)
    return p is not None and p <= 1 - LEVEL


def power(rho: float) -> Callable[[np.random.Generator, int], bool]:
    """Whether the paired t test finds a shift of one standard deviation."""

    def once(rng: np.random.Generator, n: int) -> bool:
        x, y = paired(rng, (n,), rho)
        p = effect(by_seed(x + 1), by_seed(y)).p
        return p is not None and p <= 1 - LEVEL

    return once


STUDY: tuple[tuple[str, Callable[[np.random.Generator, int], bool]], ...] = (
    ("covered: mean, normal values", mean_normal),
    ("covered: mean, log-normal values, sigma 0.5 (not used)", mean_skewed),
    ("covered: geometric mean, log-normal values", geometric),
    ("covered: geometric mean, gamma values, shape 2", geometric_gamma),
    ("covered: mean, by percentile bootstrap (not used)", bootstrap),
    ("covered: paired difference, correlation 0.6", difference),
    ("covered: change in %, log-normal values", percent),
    ("covered: effect of a factor within 6 blocks", factor),
    ("covered: the same, cells counted as independent (not used)", naive),
    ("covered: P(better) of 0.8", improved),
    ("covered: IQM over 10 blocks, independent draws", iqm_apart),
    ("covered: the same, cells of a seed share draws", iqm_shared),
    ("error: interval of a difference leaves out 0, there is none", excludes),
    ("error: any of 9 tests rejects, nothing differs", family),
    ("error: the same by sign flips alone", family_flips),
    ("error: called the same at the margin", called_same),
    ("power: shift of 1 sd, correlation 0", power(0.0)),
    ("power: shift of 1 sd, correlation 0.6", power(0.6)),
)


def study(draws: int, seeds: Iterable[int] = SEEDS) -> Iterator[tuple[str, list[float]]]:
    """For each question the share of ``draws`` that say yes, for each number of seeds."""
    ns = list(seeds)
    for i, (name, question) in enumerate(STUDY):
        rngs = [np.random.default_rng([i, n]) for n in ns]
        yield name, [sum(question(rng, n) for _ in range(draws)) / draws for rng, n in zip(rngs, ns, strict=True)]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    draws = parser.parse_args().draws
    print(f"| share of {draws:,} draws | {' | '.join(f'n = {n}' for n in SEEDS)} |")  # noqa: T201 # its output
    print(f"| --- | {' | '.join('---:' for _ in SEEDS)} |")  # noqa: T201 # as above
    for name, shares in study(draws):
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)  # noqa: T201 # as above


if __name__ == "__main__":
    main()
