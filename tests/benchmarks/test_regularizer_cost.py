"""What a step with a regularizer costs beside a careful hand-written loop of the same formula, turn by turn.

The loops are in ``hands``. Both must come to the same parameters. Nothing timed is asserted; the ratio in
``extra_info`` is the median over rounds of ours / theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hands
import pytest
from hands import BATCH, DIM
from loops import BETAS, EMA, EPS, LR, Noise, assert_close

from ganbench import Regularizer
from ganbench.grid import Cell, Trial
from ganbench.timing import now
from ganbench.training import Trainer, Training
from ganbench_zoo.consistency import BalancedConsistency, Consistency, LatentConsistency
from ganbench_zoo.generator_side import FeatureMatching, ModeSeeking, PathLength, TopK
from ganbench_zoo.gradients import AdaptiveGradientClipping, GradientCentralization
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.metrics_transport import SlicedWasserstein
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.normalization import Bjorck, GradientNormalization
from ganbench_zoo.optimizers import Adam
from ganbench_zoo.penalties_gradient import (
    AdversarialLipschitz,
    AnalyticNoise,
    Dragan,
    LipschitzPenalty,
    MaxGradientPenalty,
    ZeroCenteredGradientPenalty,
)
from ganbench_zoo.penalties_score import EpsilonDrift, LeCam
from ganbench_zoo.penalties_weight import HistoricalAveraging, Orthogonal, SpectralIsometry, WeightDecay
from ganbench_zoo.regularizers import (
    R1,
    R2,
    GradientClipping,
    GradientPenalty,
    InstanceNoise,
    NoRegularizer,
    SpectralNorm,
    ValueClipping,
    WeightClipping,
)
from ganbench_zoo.updates import Alternating
from ganbench_zoo.vat import VAT

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

WIDTH = 128
STEPS, ROUNDS = 4, 120


def ours(regularizer: Regularizer, unused: Path) -> Trainer:
    cell = Cell(
        dataset=Noise(side=DIM),
        generator=MLPGenerator(width=WIDTH),
        discriminator=MLPDiscriminator(width=WIDTH),
        loss=NonSaturating(),
        regularizers=(regularizer,) if regularizer.hook_points() else (),
        optimizer=Adam(lr_g=LR, lr_d=LR, beta1=BETAS[0], beta2=BETAS[1], eps=EPS),
        update=Alternating(),
        metrics=(SlicedWasserstein(),),
        steps=1_000_000,
        batch=BATCH,
        ema=EMA,
        ema_warmup=10.0,
        samples=2,
        precision="float32",
        engine="serial",
    )
    return Trainer(Trial(cell, seed=0), unused, Training(), lambda *_: None)


CASES: list[tuple[Regularizer, type[hands.ByHand]]] = [
    (NoRegularizer(), hands.ByHand),
    (R1(), hands.HandR1),
    (R2(), hands.HandR2),
    (GradientPenalty(), hands.HandGradientPenalty),
    (SpectralNorm(), hands.HandSpectralNorm),
    (GradientClipping(max_norm=0.05), hands.HandGradientClipping),
    (WeightClipping(bound=0.3), hands.HandWeightClipping),
    (InstanceNoise(), hands.HandInstanceNoise),
    (VAT(), hands.HandVAT),
    (VAT(mode="exact"), hands.HandExactVAT),
    (LipschitzPenalty(), hands.HandLipschitz),
    (ZeroCenteredGradientPenalty(), hands.HandZeroCentered),
    (MaxGradientPenalty(), hands.HandMaxGradient),
    (Dragan(), hands.HandDragan),
    (AnalyticNoise(), hands.HandAnalyticNoise),
    (AdversarialLipschitz(), hands.HandAdversarialLipschitz),
    (GradientNormalization(), hands.HandGradientNormalization),
    (Bjorck(), hands.HandBjorck),
    (EpsilonDrift(), hands.HandEpsilonDrift),
    (LeCam(start=0), hands.HandLeCam),
    (WeightDecay(), hands.HandWeightDecay),
    (Orthogonal(), hands.HandOrthogonal),
    (HistoricalAveraging(), hands.HandHistoricalAveraging),
    (ValueClipping(bound=1e-3), hands.HandValueClipping),
    (AdaptiveGradientClipping(), hands.HandAdaptiveClipping),
    (GradientCentralization(), hands.HandCentralization),
    (Consistency(transform="noise"), hands.HandConsistency),
    (BalancedConsistency(transform="noise"), hands.HandBalancedConsistency),
    (LatentConsistency(), hands.HandLatentConsistency),
    (ModeSeeking(), hands.HandModeSeeking),
    (SpectralIsometry(), hands.HandSpectralIsometry),
    (FeatureMatching(), hands.HandFeatureMatching),
    (TopK(interval=2), hands.HandTopK),
    (PathLength(every=1), hands.HandPathLength),
]


@pytest.mark.parametrize("adam", [{"foreach": True}, {"fused": True}], ids=["foreach-adam", "fused-adam"])
@pytest.mark.parametrize(("regularizer", "by_hand"), [pytest.param(*c, id=c[0].label) for c in CASES])
def test_a_step_with_a_regularizer_costs_what_a_hand_written_one_does(
    benchmark: BenchmarkFixture,
    regularizer: Regularizer,
    by_hand: type[hands.ByHand],
    adam: dict[str, Any],
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    trainer = ours(regularizer, tmp_path)
    theirs = by_hand(trainer, adam)
    trainer.advance(3)
    theirs.advance(3)
    assert_close(trainer.state.g.params, theirs.g)
    assert_close(trainer.state.d.params, theirs.d)
    theirs.aligned = False

    seconds: list[float] = []

    def hand_written() -> None:
        begun = now()
        theirs.advance(STEPS)
        seconds.append(now() - begun)

    benchmark.pedantic(lambda: trainer.advance(STEPS), setup=hand_written, rounds=ROUNDS, warmup_rounds=5)
    if benchmark.stats is None:  # benchmarks are off
        return
    measured = benchmark.stats.stats.data
    theirs_s = seconds[-len(measured) :]
    ratios = [a / b for a, b in zip(measured, theirs_s, strict=True)]
    benchmark.extra_info |= {
        "ours_ms": round(1e3 * statistics.median(measured) / STEPS, 4),
        "by_hand_ms": round(1e3 * statistics.median(theirs_s) / STEPS, 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(q, 4) for q in statistics.quantiles(ratios, n=4)[::2]],
    }
    times = "{ours_ms:.2f} ms a step, {by_hand_ms:.2f} by hand, ratio {ratio:.3f} (quartiles {ratio_quartiles})".format(
        **benchmark.extra_info
    )
    tell(f"{regularizer.label}, {' '.join(adam)} Adam: {times}")
