"""Memory of metrics of pairs: tiles and counts, never a matrix of all pairs."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from ganbench import Bank, Samples, environment, stream
from ganbench_zoo.metrics_manifold import DensityCoverage, PrecisionRecall

STATUS = Path("/proc/self/status")


def resident() -> float:
    """MiB of this process in memory now."""
    return float(next(x for x in STATUS.read_text().splitlines() if x.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read where Linux tells it")
def test_prdc_holds_tiles_and_no_matrix_of_all_pairs():
    """n^2 float32 would be 3.4 GiB here, and references hold 14 to 15 bytes a pair: 12 GiB.

    What is held beside the features does not depend on their number but for a few numbers a sample. So with 50,000
    samples of 2048 features, 0.8 GB in both sets, it is the tiles' 0.2 GiB, two copies of 2048 rows of features
    (32 MiB) and 50,000 x (3 + 1 + 3 + 1) x 16 bytes (6 MiB): less than 2 GB in all.
    """
    n, d = 30_000, 40
    fake, real = (Bank(Samples(torch.randn(n, d, generator=stream(s, "memory")))) for s in (0, 1))
    for bank in (fake, real):
        assert bank.rows.dtype == torch.float32
    gc.collect()
    environment.reset_peak_memory()
    before = resident()
    values = PrecisionRecall(k=5, strict=True).measured(fake, real, stream(0, "eval"))
    values |= DensityCoverage().measured(fake, real, stream(0, "eval"))
    peak = environment.peak_memory_mib()
    assert peak is not None
    assert peak - before < 300
    # and the numbers are those of two equal distributions
    assert values["density"] == pytest.approx(1, abs=0.05)
    assert values["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)
