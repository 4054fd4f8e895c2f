"""What metrics cost beside the usual routes to the same numbers, in the same process and turn by turn.

Nothing timed is asserted; the values must agree, or the work was not the same. Times are CPU seconds of this process on
one thread, so that other programs matter little, and the ratio in ``extra_info`` is the median over rounds of
theirs / ours. The real side of each route is prepared before, as it is between two evaluations of a run. Theirs are
the calls that the libraries make: scipy's ``sqrtm`` (pytorch-fid, clean-fid), numpy's ``eigvals`` (torch-fidelity),
scikit-learn's distance matrices (prdc), subsets in numpy (torch-fidelity), ``numpy.sort`` of columns (POT).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits

from ganbench import Bank, Metric, Samples, environment, stream
from ganbench_zoo.metrics_frechet import FrechetDistance
from ganbench_zoo.metrics_kernel import KID
from ganbench_zoo.metrics_manifold import DensityCoverage, PrecisionRecall
from ganbench_zoo.metrics_transport import SlicedWasserstein

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def features(n: int, d: int, seed: int) -> torch.Tensor:
    """Like those of a network: not negative, of a falling spectrum, correlated; float32."""
    mixing = torch.randn(d, d, generator=stream(0, "mixing")) * (1 + torch.arange(d)[:, None]) ** -0.5
    return (torch.randn(n, d, generator=stream(seed, "features")) @ mixing + 0.1 * seed).relu()


@dataclass(frozen=True)
class Case:
    """One comparison: the metrics, the sets, and the other routes, which are given (fake, real, prepared)."""

    metrics: tuple[Metric, ...]
    n: int
    d: int
    theirs: Mapping[str, Callable[..., float]]
    prepare: Callable[[np.ndarray], object] = lambda real: real
    tolerance: float = 1e-6
    slack: float = 1e-9
    rounds: int = 3
    memory: bool = False


def moments(real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return real.mean(0), np.cov(real.T)


def _fd(fake: np.ndarray, known: tuple[np.ndarray, np.ndarray], root: Callable[[np.ndarray], float]) -> float:
    (m1, s1), (m2, s2) = moments(fake), known
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root(s1 @ s2))


def by_sqrtm(fake, real, known) -> float:
    return _fd(fake.astype(np.float64), known, lambda product: np.trace(scipy.linalg.sqrtm(product)).real)


def by_eigvals(fake, real, known) -> float:
    return _fd(fake.astype(np.float64), known, lambda p: np.sqrt(np.linalg.eigvals(p).astype(complex)).real.sum())


def by_distance_matrices(fake, real, known) -> float:
    """Precision, of precision, recall, density and coverage with k = 5."""

    def radii(x) -> np.ndarray:
        return np.partition(pairwise_distances(x, metric="euclidean"), 5, axis=1)[:, 5]

    of_real, of_fake = radii(real), radii(fake)
    across = pairwise_distances(real, fake, metric="euclidean")
    precision = (across < of_real[:, None]).any(axis=0).mean()
    _recall = (across < of_fake[None]).any(axis=1).mean()
    _density = (across < of_real[:, None]).sum(axis=0).mean() / 5
    _coverage = (across.min(axis=1) < of_real).mean()
    return float(precision)


def by_subsets(fake, real, known) -> float:
    choose, values = np.random.RandomState(2020), []
    for _ in range(100):
        x, y = (z[choose.choice(len(z), 1000, replace=False)] for z in (fake, real))
        xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        own = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (1000 * 999)
        values.append(own - 2 * xy.mean())
    return float(np.mean(values))


def by_sorted_columns(fake, real, known) -> float:
    directions = torch.randn(200, fake.shape[1], dtype=torch.float64, generator=stream(0, "eval"))
    directions = (directions / directions.norm(dim=1, keepdim=True)).numpy().T
    x, y = (np.sort(z.astype(np.float64) @ directions, axis=0) for z in (fake, real))
    return float(np.sqrt(((x - y) ** 2).mean()))


CASES = {
    "Fréchet distance, n = 5000, d = 2048": Case(
        (FrechetDistance(),), 5000, 2048, {"sqrtm": by_sqrtm, "eigvals": by_eigvals}, moments, rounds=1
    ),
    "Fréchet distance, n = 1000, d = 2048": Case(
        (FrechetDistance(),), 1000, 2048, {"sqrtm": by_sqrtm, "eigvals": by_eigvals}, moments, 1e-3, rounds=1
    ),
    "Fréchet distance, n = 2000, d = 48": Case(
        (FrechetDistance(),), 2000, 48, {"sqrtm": by_sqrtm, "eigvals": by_eigvals}, moments
    ),
    "PRDC, k = 5, n = 10,000, d = 2048": Case(
        (PrecisionRecall(k=5, strict=True), DensityCoverage()),
        10_000,
        2048,
        {"distance matrices": by_distance_matrices},
        rounds=1,
        memory=True,
    ),
    "PRDC, k = 5, n = 2000, d = 48": Case(
        (PrecisionRecall(k=5, strict=True), DensityCoverage()), 2000, 48, {"distance matrices": by_distance_matrices}
    ),
    # subsets are noisy: their mean is held to be near, not equal; in two dimensions kid_se is 0.6
    **{
        f"KID, n = 10,000, d = {d}": Case((KID(),), 10_000, d, {"subsets": by_subsets}, slack=2.0 if d == 2 else 0.05)
        for d in (2, 16, 32, 64)
    },
    **{
        f"sliced W2, n = 10,000, d = {d}": Case((SlicedWasserstein(),), 10_000, d, {"columns": by_sorted_columns})
        for d in (2, 2048)
    },
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def spent(call: Callable[[], float]) -> tuple[float, float, float]:
    """CPU seconds, MiB at the peak beyond those of before, and the value."""
    gc.collect()
    environment.reset_peak_memory()
    before = _resident()
    begun = time.process_time()
    value = call()
    seconds = time.process_time() - begun
    return seconds, (environment.peak_memory_mib() or 0.0) - before, value


def _resident() -> float:
    """MiB of this process in memory now, where the system says."""
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return float(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.usefixtures("one_thread")
def test_metrics_beside_the_usual_routes(case: str, benchmark: BenchmarkFixture, tell) -> None:
    about = CASES[case]
    fake, real = (features(about.n, about.d, seed) for seed in (0, 1))
    known = about.prepare(real.double().numpy())
    prepared = Bank(Samples(real), side="real")

    def ours() -> float:
        bank = Bank(Samples(fake))
        values: dict[str, float] = {}
        for metric in about.metrics:
            metric.expect(bank, prepared)
        for metric in about.metrics:
            values |= metric.measured(bank, prepared, stream(0, "eval"))
        return next(iter(values.values()))

    first = ours()  # which prepares the real side
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ("ours", *about.theirs)}
    for _ in range(about.rounds):
        taken["ours"].append(spent(ours))
        for name, route in about.theirs.items():
            taken[name].append(spent(lambda route=route: route(fake.numpy(), real.numpy(), known)))  # type: ignore[misc] # a default
    for name in about.theirs:
        assert taken[name][0][2] == pytest.approx(first, rel=about.tolerance, abs=about.slack)
        ratio = statistics.median(t[0] / o[0] for t, o in zip(taken[name], taken["ours"], strict=True))
        benchmark.extra_info[name] = ratio
        line = f"{case}: ours {taken['ours'][0][0]:.4f} s, {name} {taken[name][0][0]:.4f} s of one CPU: {ratio:.1f} x"
        if about.memory:
            mine, other = (taken[which][0][1] for which in ("ours", name))
            benchmark.extra_info[f"{name} memory"] = other / mine
            line += f"; memory {mine:.0f} MiB against {other:.0f}: 1/{other / mine:.1f}"
        tell(line)
    benchmark.pedantic(lambda: None, rounds=1)
