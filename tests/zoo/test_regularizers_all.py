"""What holds for every regularizer that is shipped, whatever it does."""

import pytest
import torch
from stepping import BATCH, IMAGES, VECTORS, Training, parameters, train, train_stacked

from ganbench import checkpoint
from ganbench.lift import unstack
from ganbench.registry import Registry
from ganbench.testing import check, d_penalty
from ganbench_zoo.augmentation import ADA, APA, DiffAugment, Packing
from ganbench_zoo.consistency import BalancedConsistency, Consistency, LatentConsistency
from ganbench_zoo.generator_side import FeatureMatching, GeneratorGuided, ModeSeeking, PathLength, TopK
from ganbench_zoo.gradients import AdaptiveGradientClipping, GradientCentralization
from ganbench_zoo.normalization import Bjorck, GradientNormalization
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
    SpectralNorm,
    ValueClipping,
    WeightClipping,
)
from ganbench_zoo.vat import VAT

INF = float("inf")
CASES = [
    (R1(), VECTORS),
    (R2(), VECTORS),
    (GradientPenalty(), VECTORS),
    (LipschitzPenalty(target=0.1), VECTORS),
    (ZeroCenteredGradientPenalty(), VECTORS),
    (MaxGradientPenalty(), VECTORS),
    (AdaptiveGradientClipping(on="both"), VECTORS),
    (GradientCentralization(), VECTORS),
    (Dragan(), VECTORS),
    (Dragan(variant="symmetric"), VECTORS),
    (Dragan(variant="gaussian"), VECTORS),
    (AnalyticNoise(decay=0.01, horizon=10), VECTORS),
    (AdversarialLipschitz(target=0.1), VECTORS),
    (VAT(), VECTORS),
    (VAT(mode="exact"), VECTORS),
    (EpsilonDrift(weight=1.0), VECTORS),
    (LeCam(start=3), VECTORS),
    (LeCam(start=3, variant="gated"), VECTORS),
    (WeightDecay(weight=0.1, on="both"), VECTORS),
    (Orthogonal(weight=0.1, on="g"), VECTORS),
    (Orthogonal(weight=0.1, variant="columns"), VECTORS),
    (Orthogonal(weight=0.1, variant="brock", on="both"), VECTORS),
    (SpectralIsometry(), VECTORS),
    (HistoricalAveraging(on="both"), VECTORS),
    (SpectralNorm(), VECTORS),
    (SpectralNorm(scale=0.3, bounded=True, bidirectional=True), VECTORS),
    (Bjorck(), VECTORS),
    (GradientNormalization(), VECTORS),
    (GradientClipping(max_norm=0.05), VECTORS),
    (ValueClipping(bound=0.01, on="both"), VECTORS),
    (WeightClipping(bound=0.3), VECTORS),
    (InstanceNoise(), VECTORS),
    (InstanceNoise(anneal=20), VECTORS),
    (Consistency(transform="noise"), VECTORS),
    (Consistency(), IMAGES),
    (BalancedConsistency(), IMAGES),
    (LatentConsistency(), VECTORS),
    (DiffAugment(), IMAGES),
    (ADA(start=0.5, kimg=0.5), IMAGES),
    (APA(start=0.5, kimg=0.5), VECTORS),
    (Packing(), VECTORS),
    (ModeSeeking(), VECTORS),
    (PathLength(every=2), VECTORS),
    (FeatureMatching(), VECTORS),
    (GeneratorGuided(), VECTORS),
    (TopK(interval=1, decay=0.8), VECTORS),
]
each_case = pytest.mark.parametrize(("regularizer", "shape"), [pytest.param(*c, id=c[0].label) for c in CASES])


def test_every_regularizer_has_a_case():
    shipped = set(Registry.load().names("regularizer"))
    assert {r.name for r, _ in CASES} == shipped - {"none"}


@each_case
def test_it_keeps_the_contract(regularizer, shape):
    del shape  # the check finds one that suits
    assert [finding for finding in check(regularizer) if not finding.ok] == []


@each_case
def test_ten_steps_of_stacked_seeds_are_those_of_single_ones(regularizer, shape):
    together = unstack(train_stacked([regularizer], 10, 3, shape=shape))
    for seed, one in enumerate(together):
        left, right = (checkpoint.flatten(s) for s in (one, train([regularizer], 10, seed=seed, shape=shape)))
        assert left.keys() == right.keys()
        for name, value in right.items():
            torch.testing.assert_close(left[name], value, rtol=1e-10, atol=1e-10, msg=name)


@each_case
def test_it_changes_the_training(regularizer, shape):
    ours, without = (parameters(train(stack, 10, shape=shape)) for stack in ([regularizer], []))
    changed = [n for n, p in ours.items() if p.shape != without[n].shape or (p - without[n]).abs().max() > 1e-4]
    assert changed


COEFFICIENT_ZERO = [
    (LipschitzPenalty(weight=0.0), VECTORS),
    (ZeroCenteredGradientPenalty(weight=0.0), VECTORS),
    (Dragan(weight=0.0), VECTORS),
    (AnalyticNoise(gamma=0.0), VECTORS),
    (AdversarialLipschitz(weight=0.0), VECTORS),
    (EpsilonDrift(weight=0.0), VECTORS),
    (LeCam(weight=0.0, start=0), VECTORS),
    (WeightDecay(weight=0.0, on="both"), VECTORS),
    (Orthogonal(weight=0.0, on="both"), VECTORS),
    (SpectralIsometry(weight=0.0, on="both"), VECTORS),
    (HistoricalAveraging(weight=0.0, on="both"), VECTORS),
    (ValueClipping(bound=INF), VECTORS),
    (SpectralNorm(scale=1e9, bounded=True), VECTORS),
    (Consistency(weight=0.0), IMAGES),
    (BalancedConsistency(weight_real=0.0, weight_fake=0.0), IMAGES),
    (LatentConsistency(weight_d=0.0, weight_g=0.0), VECTORS),
    (DiffAugment(color=0.0, translation=0.0, cutout=0.0), IMAGES),
    (DiffAugment(policy=()), IMAGES),
    (ADA(target=1.0), IMAGES),
    (APA(target=1.0), VECTORS),
    (Packing(size=1), VECTORS),
    (ModeSeeking(weight=0.0), VECTORS),
    (MaxGradientPenalty(weight=0.0), VECTORS),
    (PathLength(weight=0.0), VECTORS),
    (FeatureMatching(weight=0.0), VECTORS),
    (GeneratorGuided(weight=0.0), VECTORS),
    (TopK(decay=1.0), VECTORS),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("regularizer", "shape"), [pytest.param(*c, id=c[0].label) for c in COEFFICIENT_ZERO])
def test_a_coefficient_of_zero_leaves_the_weights_bit_identical_after_200_steps(regularizer, shape, dtype):
    with_it, without = (parameters(train(stack, 200, shape=shape, dtype=dtype)) for stack in ([regularizer], []))
    assert all(torch.equal(with_it[name], p) for name, p in without.items())


@pytest.mark.parametrize("regularizer", [r for r, _ in CASES if r.uses("d_penalty")], ids=lambda r: r.label)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_discriminator_that_ignores_its_input_has_finite_penalties_and_gradients(regularizer, dtype):
    shape = dict(CASES)[regularizer]
    x, y, z = (
        torch.randn(2, 4, *shape, dtype=dtype),
        torch.randn(4, *shape, dtype=dtype),
        torch.zeros(4, 2, dtype=dtype),
    )
    weight = torch.zeros(x[0, 0].numel(), dtype=dtype, requires_grad=True)
    value = d_penalty(
        regularizer,
        lambda s: torch.tanh(s.flatten(1) @ weight),
        x[0],
        y,
        step=9,
        latents=z,
        generate=lambda z: y + z.sum(),
        part=lambda player, name, s, labels=None: torch.tanh(s.flatten(1) * weight) if player == "d" else y.flatten(1),
    )
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("regularizer", "player"),
    [(R1, "d"), (GradientPenalty, "d"), (VAT, "d"), (Orthogonal, "d"), (ModeSeeking, "g"), (PathLength, "g")],
    ids=lambda v: getattr(v, "name", v),
)
def test_gradients_of_a_lazy_penalty_average_to_those_of_an_eager_one(regularizer, player):
    eager, lazy = Training([regularizer(every=1)]), Training([regularizer(every=16)])
    turns = eager.feed.turns([True])
    turn = turns.g if player == "g" else turns.d[0]

    def gradient(training, step):
        grads, _ = getattr(training.game(step), f"{player}_grads")(training.state, turn)
        return grads

    expected = gradient(eager, 0)
    averaged = [gradient(lazy, step) for step in range(16)]
    assert any(not torch.equal(g, averaged[1][name]) for name, g in averaged[0].items())
    for name, value in expected.items():
        mean = torch.stack([g[name] for g in averaged]).mean(0)
        torch.testing.assert_close(mean, value, rtol=1e-10, atol=1e-13)


def test_packs_are_judged_as_one():
    packed = Training([Packing(size=4)])
    assert packed.state.d.params["first.weight"].shape == (6, 8)
    game = packed.game(0)
    turn = packed.feed.turns(game.active).d[0]
    scores = game.fake_scores(packed.state, turn)
    fake, _ = packed.g(packed.state.g.params, {}, turn.latents)
    expected, _ = packed.d(packed.state.d.params, {}, torch.cat(fake.reshape(BATCH // 4, 4, 2).unbind(1), dim=1))
    assert torch.equal(scores, expected)
