"""Networks: shapes, parameter counts, labels, and that each is a pure function of its parameters."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ganbench import ConfigError, ContractError, SampleSpec, global_stream
from ganbench_zoo.datasets import Digits, Dirac, Ring
from ganbench_zoo.networks import (
    DiracDiscriminator,
    DiracGenerator,
    GroupSort,
    Maxout,
    MLPDiscriminator,
    MLPGenerator,
    with_spread,
)
from ganbench_zoo.networks_dcgan import DCGANDiscriminator, DCGANGenerator, sizes
from ganbench_zoo.networks_resnet import Down, Normalized, ResNetDiscriminator, ResNetGenerator, Up
from ganbench_zoo.networks_sndcgan import SNDCGANDiscriminator, SNDCGANGenerator

LINE, PLANE = Dirac().spec(), Ring().spec()
DIGIT = Digits().spec()
CLOTHES = SampleSpec(shape=(1, 14, 14), classes=10, low=-1.0, high=1.0)
COLOR = SampleSpec(shape=(3, 12, 9), classes=4, low=0.0, high=1.0)
PAIRS = [
    (DiracGenerator(), DiracDiscriminator(), LINE),
    (MLPGenerator(width=16, latent=3), MLPDiscriminator(width=16, input_scale=0.25), PLANE),
    (MLPGenerator(width=16, depth=1), MLPDiscriminator(width=16, depth=3), COLOR),
    (MLPGenerator(width=16, conditional=True), MLPDiscriminator(width=16, conditional=True), DIGIT),
    (MLPGenerator(width=16), MLPDiscriminator(width=16, activation="groupsort"), PLANE),
    (MLPGenerator(width=16), MLPDiscriminator(width=16, activation="maxout"), PLANE),
    (MLPGenerator(width=16, mapping=2), MLPDiscriminator(width=16, dropout=0.5), PLANE),
    (DCGANGenerator(width=4), DCGANDiscriminator(width=4), DIGIT),
    (DCGANGenerator(width=4, norm="layer", base=2), DCGANDiscriminator(width=4, norm="batch", base=2), DIGIT),
    (DCGANGenerator(width=4, mapping=1), DCGANDiscriminator(width=4, dropout=0.5), DIGIT),
    (DCGANGenerator(width=4, conditional=True), DCGANDiscriminator(width=4, conditional=True), DIGIT),
    (DCGANGenerator(width=4, norm="none"), DCGANDiscriminator(width=4, norm="layer"), COLOR),
    (SNDCGANGenerator(width=4), SNDCGANDiscriminator(width=4), CLOTHES),
    (SNDCGANGenerator(width=4, norm="layer"), SNDCGANDiscriminator(width=4), COLOR),
    (ResNetGenerator(width=6), ResNetDiscriminator(width=6), CLOTHES),
    (ResNetGenerator(width=4, profile="pyramid"), ResNetDiscriminator(width=4, profile="pyramid"), COLOR),
    (ResNetGenerator(width=4, norm="none"), ResNetDiscriminator(width=4), DIGIT),
    (ResNetGenerator(width=4, conditional=True), ResNetDiscriminator(width=4, conditional=True), CLOTHES),
]
NAMES = [f"{g.label}-{spec.shape}" for g, _, spec in PAIRS]
each_pair = pytest.mark.parametrize(("generator", "discriminator", "spec"), PAIRS, ids=NAMES)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def built(component, spec: SampleSpec, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    with global_stream(seed, "init"):
        return component.build(spec).to(dtype)


def labels(spec: SampleSpec, n: int) -> torch.Tensor | None:
    return torch.arange(n) % spec.classes if spec.classes else None


@each_pair
def test_shapes_and_range_are_those_of_the_contract(generator, discriminator, spec):
    g, d = (built(c, spec, dtype=torch.float32) for c in (generator, discriminator))
    y = labels(spec, 6)
    x = g(10 * torch.randn(6, generator.latent), y)
    assert x.shape == (6, *spec.shape)
    assert x.min() >= spec.low
    assert x.max() <= spec.high
    scores = d(x, y)
    assert scores.shape == (6,)
    assert scores.dtype == torch.float32


@each_pair
def test_every_parameter_reaches_the_loss(generator, discriminator, spec):
    g, d = (built(c, spec) for c in (generator, discriminator))
    y = labels(spec, 6)
    d(g(torch.randn(6, generator.latent, dtype=torch.float64), y), y).square().sum().backward()
    for module in (g, d):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@each_pair
def test_initial_weights_come_from_the_global_stream_alone(generator, discriminator, spec):
    for component in (generator, discriminator):
        one, same, other = (built(component, spec, seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[k], same[k]) for k in one)
        if component.name != "dirac":
            assert not all(torch.equal(one[k], other[k]) for k in one)


@each_pair
def test_labels_are_accepted_and_ignored_unless_conditional(generator, discriminator, spec):
    g, d = (built(c, spec).eval() for c in (generator, discriminator))
    z, y = torch.randn(5, generator.latent, dtype=torch.float64), labels(spec, 5)
    x = torch.rand(5, *spec.shape, dtype=torch.float64)
    if not spec.classes:
        return
    if not getattr(generator, "conditional", False):
        assert torch.equal(g(z, y), g(z, None))
        assert torch.equal(d(x, y), d(x, None))
        return
    with torch.no_grad():  # some start without a difference between classes
        for p in (*g.parameters(), *d.parameters()):
            p.add_(torch.randn_like(p), alpha=0.1)
    shifted = (y + 1) % spec.classes
    assert (g(z, y) - g(z, shifted)).flatten(1).norm(dim=1).min() > 0
    assert (d(x, y) - d(x, shifted)).abs().min() > 0
    for call in (lambda: g(z, None), lambda: d(x)):
        with pytest.raises(ContractError, match="without labels"):
            call()


@each_pair
def test_stacked_seeds_under_vmap_equal_a_loop(generator, discriminator, spec):
    y, z = labels(spec, 4), torch.randn(3, 4, generator.latent, dtype=torch.float64)
    gs, ds = ([built(c, spec, seed) for seed in range(3)] for c in (generator, discriminator))
    looped = [g(z[i], y) for i, g in enumerate(gs)]
    scores = [d(x.detach(), y) for d, x in zip(ds, looped, strict=True)]
    for modules, inputs, expected in ((gs, z, looped), (ds, torch.stack(looped).detach(), scores)):
        again = [built(generator if modules is gs else discriminator, spec, seed) for seed in range(3)]
        params, buffers = torch.func.stack_module_state(again)

        def call(p, b, x, base=again[0]):
            written = {name: value.clone() for name, value in b.items()}
            return torch.func.functional_call(base, (p, written), (x, y)), written

        stacked, written = torch.func.vmap(call)(params, buffers, inputs)
        assert torch.allclose(stacked, torch.stack(expected), rtol=1e-12, atol=1e-13)
        for name, value in written.items():  # running statistics moved as in the loop
            assert torch.allclose(value, torch.stack([m.state_dict()[name] for m in modules]), rtol=1e-12)


@each_pair
def test_per_sample_gradient_penalties_have_second_derivatives(generator, discriminator, spec):
    d = built(discriminator, spec)
    x = torch.rand(4, *spec.shape, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(d(x, labels(spec, 4)).sum(), x, create_graph=True)
    slope.square().sum().backward()
    weights = [p for name, p in d.named_parameters() if name.endswith(("weight", "psi"))]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in weights)


@each_pair
def test_without_batch_norm_the_score_of_a_sample_ignores_the_others(generator, discriminator, spec):
    d = built(discriminator, spec)
    x, y = torch.rand(4, *spec.shape, dtype=torch.float64), labels(spec, 4)
    alone = d(x[:1], None if y is None else y[:1])
    assert torch.allclose(alone, d(x, y)[:1], rtol=1e-12) == (getattr(discriminator, "norm", "none") != "batch")


def test_dirac_networks_are_their_formulas():
    g, d = built(DiracGenerator(start=0.5), LINE), built(DiracDiscriminator(start=-2.0), LINE)
    x = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)
    assert (count(g), count(d)) == (1, 1)
    assert g(x).tolist() == [[0.5], [0.5]]
    assert d(x).tolist() == [-6.0, 2.0]


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_mlp_counts_follow_the_formula(latent, width, depth, size):
    spec = SampleSpec(shape=(size,))
    inner = (depth - 1) * (width + 1) * width
    g = MLPGenerator(latent=latent, width=width, depth=depth).build(spec)
    d = MLPDiscriminator(width=width, depth=depth).build(spec)
    assert count(g) == (latent + 1) * width + inner + (width + 1) * size
    assert count(d) == (size + 1) * width + inner + width + 1


def test_mlp_on_the_ring_has_the_known_counts():
    assert count(MLPGenerator().build(PLANE)) == 25_090
    assert count(MLPDiscriminator().build(PLANE)) == 17_025


def test_mlp_weights_start_orthogonal_times_the_gain():
    for component in (MLPGenerator(width=32, gain=1.3), MLPDiscriminator(width=32, gain=1.3)):
        for layer in built(component, PLANE).modules():
            if isinstance(layer, nn.Linear):
                w = layer.weight.detach()
                gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
                assert torch.allclose(gram, 1.69 * torch.eye(len(gram), dtype=w.dtype), atol=1e-5)
                assert (layer.bias == 0).all()


def test_the_input_scale_is_a_factor_on_x():
    plain, scaled = (built(MLPDiscriminator(width=8, input_scale=s), PLANE) for s in (1.0, 0.25))
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(scaled(x), plain(x / 4))


@pytest.mark.parametrize("side", range(8, 65))
def test_dcgan_builds_and_runs_at_every_side(side):
    spec = SampleSpec(shape=(1, side, side), low=-1.0, high=1.0)
    g, d = (built(c, spec, dtype=torch.float32) for c in (DCGANGenerator(width=1), DCGANDiscriminator(width=1)))
    x = g(torch.randn(2, 64))
    assert x.shape == (2, 1, side, side)
    assert d(x).shape == (2,)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32), (17, 40)])
@pytest.mark.parametrize("base", [2, 4])
def test_dcgan_counts_follow_the_formula(channels, shape, base):
    spec = SampleSpec(shape=(channels, *shape), low=-1.0, high=1.0)
    width, latent = 3, 7
    smallest = math.prod(sizes(*shape, base)[-1])
    stages = len(sizes(*shape, base)) - 1
    w = [width * 2**i for i in range(stages)]
    convolutions = 16 * (channels * w[0] + sum(a * b for a, b in itertools.pairwise(w)))
    g = count(DCGANGenerator(width=width, latent=latent, base=base).build(spec))
    d = count(DCGANDiscriminator(width=width, base=base).build(spec))
    assert g == latent * w[-1] * smallest + convolutions + 2 * sum(w) + channels
    assert d == convolutions + sum(w) + w[-1] * smallest + 1


def test_dcgan_at_64_has_the_counts_of_the_pytorch_example():
    spec = SampleSpec(shape=(3, 64, 64), low=-1.0, high=1.0)
    assert count(DCGANGenerator(latent=100).build(spec)) == 3_576_704 + 3
    assert count(DCGANDiscriminator(norm="batch").build(spec)) == 2_765_568 + 64 + 1


@pytest.mark.parametrize(
    ("side", "classes", "fields", "expected"),
    [
        (32, 0, {}, (4_276_739, 1_053_825)),
        (32, 10, {"conditional": True}, (4_304_387, 1_055_105)),
        (48, 0, {"profile": "pyramid", "width": 64}, (4_878_083, 10_141_441)),
        (64, 0, {"profile": "pyramid", "width": 64}, (12_220_675, 10_141_441)),
        (128, 0, {"profile": "pyramid", "width": 64}, (32_150_787, 29_017_857)),
    ],
)
def test_resnet_sngan_has_the_published_counts(side, classes, fields, expected):
    spec = SampleSpec(shape=(3, side, side), classes=classes, low=-1.0, high=1.0)
    with torch.device("meta"):
        built = [kind(**fields).build(spec) for kind in (ResNetGenerator, ResNetDiscriminator)]
    assert tuple(map(count, built)) == expected


def test_sndcgan_has_the_published_counts():
    spec = SampleSpec(shape=(3, 32, 32), low=-1.0, high=1.0)
    with torch.device("meta"):
        assert count(SNDCGANGenerator().build(spec)) == 3_812_355
        assert count(SNDCGANDiscriminator().build(spec)) == 2_935_873


@pytest.mark.parametrize("side", [8, 9, 15, 17, 28, 32, 33, 48, 65])
@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        (SNDCGANGenerator(width=1), SNDCGANDiscriminator(width=1)),
        (ResNetGenerator(width=1), ResNetDiscriminator(width=1)),
        (ResNetGenerator(width=1, profile="pyramid"), ResNetDiscriminator(width=1, profile="pyramid")),
    ],
    ids=["sndcgan", "constant", "pyramid"],
)
def test_the_networks_of_sngan_build_and_run_at_every_side(generator, discriminator, side):
    spec = SampleSpec(shape=(2, side, side + 1), low=0.0, high=1.0)
    g, d = (built(c, spec, dtype=torch.float32) for c in (generator, discriminator))
    x = g(torch.randn(2, 128))
    assert x.shape == (2, *spec.shape)
    assert 0 <= x.min() < x.max() <= 1
    assert d(x).shape == (2,)


def test_a_block_up_is_its_formula():
    block = Up(3, 5, (8, 8), "none", 0).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    big = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = block.second(block.first(big.relu()).relu()) + block.shortcut(big)
    torch.testing.assert_close(block(x, None), expected)


@pytest.mark.parametrize("first", [True, False])
def test_a_block_down_is_its_formula(first):
    block = Down(3, 5, halve=True, first=first).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)

    def halved(y):
        return y.reshape(2, 5, 3, 2, 3, 2).mean((3, 5))

    expected = halved(block.second(block.first(x if first else x.relu()).relu())) + halved(block.shortcut(x))
    torch.testing.assert_close(block(x), expected)
    straight = Down(3, 3, halve=False).double()
    torch.testing.assert_close(straight(x), x + straight.second(straight.first(x.relu()).relu()))


def test_the_features_of_resnet_sngan_are_summed_over_pixels():
    d = built(ResNetDiscriminator(width=4), CLOTHES)
    x = torch.randn(3, 1, 14, 14, dtype=torch.float64)
    torch.testing.assert_close(d(x, None, True), d.blocks(x).relu().flatten(2).sum(2))
    torch.testing.assert_close(d.head(d(x, None, True))[:, 0], d(x))


def test_classes_start_with_equal_gains_of_one():
    norm = Normalized("batch", 3, 4)
    x, y = torch.randn(6, 3, 2, 2), torch.arange(6) % 4
    torch.testing.assert_close(norm(x, y), nn.BatchNorm2d(3)(x))
    with torch.no_grad():
        norm.gain[1], norm.bias[1] = 2.0, 3.0
    torch.testing.assert_close(norm(x, y)[1], 2 * nn.BatchNorm2d(3)(x)[1] + 3)


def test_dcgan_weights_start_as_in_the_paper():
    g = DCGANGenerator(width=64).build(SampleSpec(shape=(3, 32, 32), low=-1.0, high=1.0))
    for module in g.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=0.02)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert (module.bias == 0).all()


@given(st.integers(8, 300), st.integers(8, 300), st.integers(1, 4))
def test_stages_halve_down_to_the_base(height, width, base):
    chain = sizes(height, width, base)
    assert chain[0] == (height, width)
    assert base <= min(chain[-1]) < 2 * base
    assert all(big[i] - 2 * small[i] in {0, 1} for big, small in itertools.pairwise(chain) for i in (0, 1))


@pytest.mark.parametrize(
    ("component", "dataset", "reason"),
    [
        (DiracGenerator(), Digits(), r"of shape \[1\], not \[1, 8, 8\]"),
        (DiracDiscriminator(), Ring(), r"of shape \[1\], not \[2\]"),
        (DCGANGenerator(), Ring(), "is for images"),
        (DCGANDiscriminator(), Dirac(), "is for images"),
        (DCGANGenerator(conditional=True), Ring(), "is for images"),
        (MLPGenerator(conditional=True), Ring(), "no classes"),
        (MLPDiscriminator(conditional=True), Dirac(), "no classes"),
    ],
    ids=lambda value: getattr(value, "label", None),
)
def test_what_does_not_fit_is_refused_with_a_reason_in_the_plan_and_when_built(component, dataset, reason):
    told = component.mismatch(SimpleNamespace(dataset=dataset))
    with pytest.raises(ConfigError, match=reason) as error:
        component.build(dataset.spec())
    assert told == error.value.message


def test_dcgan_refuses_tiny_images():
    with pytest.raises(ConfigError, match="at least 8, not 8x7"):
        DCGANGenerator().build(SampleSpec(shape=(1, 8, 7)))


def test_what_fits_is_not_refused():
    digits, ring = (SimpleNamespace(dataset=d()) for d in (Digits, Ring))
    for component in (DCGANGenerator(conditional=True), DCGANDiscriminator(), MLPGenerator(conditional=True)):
        assert component.mismatch(digits) is None
    assert MLPDiscriminator().mismatch(ring) is None
    assert DiracGenerator().mismatch(SimpleNamespace(dataset=Dirac())) is None


def test_groupsort_sorts_pairs_and_keeps_norms():
    assert GroupSort()(torch.tensor([[3.0, -1.0, 2.0, 5.0]])).tolist() == [[-1.0, 3.0, 2.0, 5.0]]
    x = torch.randn(3, 8)
    torch.testing.assert_close(GroupSort()(x).norm(dim=1), x.norm(dim=1))
    with pytest.raises(ConfigError, match="odd"):
        MLPDiscriminator(width=7, activation="groupsort")


def test_maxout_is_the_largest_of_five():
    assert Maxout()(torch.arange(10.0)[None]).tolist() == [[4.0, 9.0]]
    d = built(MLPDiscriminator(width=4, depth=2, activation="maxout"), PLANE)
    assert count(d) == (2 * 20 + 20) + (4 * 20 + 20) + (4 + 1)


def test_the_spread_of_a_group_is_the_mean_deviation_of_its_features():
    x = torch.randn(6, 5, dtype=torch.float64)
    spread = with_spread(x, 3)
    assert torch.equal(spread[:, :5], x)
    for i in range(2):
        expected = (x[i::2].numpy().var(0) + 1e-8) ** 0.5
        assert spread[i::2, 5].tolist() == pytest.approx([expected.mean()] * 3, rel=1e-14)
    d = built(MLPDiscriminator(width=4, minibatch_std=3), PLANE)
    y = torch.randn(6, 2, dtype=torch.float64)
    assert not torch.allclose(d(y), d(torch.cat([y[:3], y[:3]])))
    cell = SimpleNamespace(dataset=Ring(), batch=8)
    assert "groups of 3" in MLPDiscriminator(minibatch_std=3).mismatch(cell)
    assert MLPDiscriminator(minibatch_std=4).mismatch(cell) is None
    assert "groups of 3" in DCGANDiscriminator(minibatch_std=3).mismatch(SimpleNamespace(dataset=Digits(), batch=8))


@pytest.mark.parametrize("discriminator", [MLPDiscriminator(width=6), DCGANDiscriminator(width=4)])
def test_the_last_layer_of_the_code_is_the_score(discriminator):
    d = built(discriminator, DIGIT)
    x = torch.randn(3, *DIGIT.shape, dtype=torch.float64)
    last = d.layers[-1] if isinstance(discriminator, MLPDiscriminator) else d.head
    torch.testing.assert_close(last(d(x, None, True))[:, 0], d(x))
