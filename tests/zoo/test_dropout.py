"""Dropout as an option of discriminators: masks are inputs of a turn, from a stream of their own."""

import numpy as np
import pytest
import torch
from stepping import BATCH, IMAGES, VECTORS, train, train_stacked
from stepping import Training as Seed

from ganbench import SampleSpec, stream
from ganbench.feed import Feed
from ganbench.lift import unstack
from ganbench.networks import Network
from ganbench.samples import Samples
from ganbench.seeding import global_stream
from ganbench_zoo.networks import Dropout, MLPDiscriminator
from ganbench_zoo.networks_dcgan import DCGANDiscriminator
from ganbench_zoo.networks_resnet import ResNetDiscriminator
from ganbench_zoo.networks_sndcgan import SNDCGANDiscriminator
from ganbench_zoo.penalties_gradient import AdversarialLipschitz
from ganbench_zoo.regularizers import R1, GradientPenalty
from ganbench_zoo.vat import VAT

RATE = 0.4
NETWORKS = [
    (MLPDiscriminator(width=6, dropout=RATE), VECTORS),
    (DCGANDiscriminator(width=4, dropout=RATE), IMAGES),
    (SNDCGANDiscriminator(width=4, dropout=RATE), IMAGES),
    (ResNetDiscriminator(width=4, dropout=RATE), IMAGES),
]
IDS = ["mlp", "dcgan", "sndcgan", "resnet-sngan"]
each_network = pytest.mark.parametrize(("discriminator", "shape"), NETWORKS, ids=IDS)


def network(discriminator, shape, dtype=torch.float64, seed=0):
    with global_stream(seed, "init-d"):
        return Network(discriminator.build(SampleSpec(shape=shape)).to(dtype))


def seeds(discriminator, shape):
    """Training with that discriminator in the place of the helper's own."""
    return {"shape": shape, "discriminator": lambda seed: network(discriminator, shape, seed=seed)}


def test_what_is_left_grows_so_that_the_mean_stays():
    drawn = Dropout(RATE, 500).redraw(400, stream(0, "noise-d"))["mask"]
    assert drawn.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert (drawn == 0).float().mean().item() == pytest.approx(RATE, abs=5 * np.sqrt(0.24 / 200_000))
    layer = Dropout(RATE, 3)
    assert torch.equal(layer(torch.ones(2, 3)), torch.ones(2, 3))
    layer.mask = torch.tensor([[0.0, 2.0, 0.0], [2.0, 2.0, 0.0]])
    assert torch.equal(layer(torch.ones(3, 3)), layer.mask[[0, 1, 0]])
    assert torch.equal(layer(torch.ones(2, 3, 4, 4))[:, :, 1, 2], layer.mask)


@each_network
def test_a_score_is_that_of_a_network_without_the_dropped_units(discriminator, shape):
    d = network(discriminator, shape)
    x = torch.randn(BATCH, *shape, dtype=torch.float64)
    masks = d.redraw(BATCH, stream(0, "noise-d"))
    assert masks
    assert len(masks) == sum(isinstance(m, Dropout) for m in d.module.modules())
    dropped, _ = d(d.params, d.buffers | masks, x)
    whole, _ = d(d.params, d.buffers, x)
    assert (dropped - whole).abs().min() > 0
    hidden, kept = x, iter(masks.values())
    drop = lambda x: x * next(kept)[:, :, None, None]  # noqa: E731 # a layer in a line
    if discriminator.name == "mlp":
        linear = [m for m in d.module.modules() if isinstance(m, torch.nn.Linear)]
        for layer in linear[:-1]:
            hidden = torch.nn.functional.leaky_relu(layer(hidden), 0.2) * next(kept)
        expected = linear[-1](hidden)[:, 0]
    elif discriminator.name == "dcgan":
        for convolution in d.module.convolutions:
            hidden = drop(torch.nn.functional.leaky_relu(convolution(hidden), 0.2))
        expected = d.module.head(hidden.flatten(1))[:, 0]
    elif discriminator.name == "sndcgan":
        convolutions = [m for m in d.module.layers if isinstance(m, torch.nn.Conv2d)]
        for i, convolution in enumerate(convolutions):
            hidden = torch.nn.functional.leaky_relu(convolution(hidden), 0.1)
            hidden = drop(hidden) if i % 2 or i == len(convolutions) - 1 else hidden
        expected = d.module.head(hidden.flatten(1))[:, 0]
    else:
        for block in d.module.blocks:
            hidden = drop(block(hidden))
        expected = d.module.head(torch.relu(hidden).sum((2, 3)))[:, 0]
    assert next(kept, None) is None
    torch.testing.assert_close(dropped, expected, rtol=1e-13, atol=1e-13)


@each_network
def test_masks_shift_no_other_stream(discriminator, shape):
    def turns(d):
        data = torch.randn(64, *shape, generator=stream(0, "data"))
        feed = Feed(
            Samples(data),
            (GradientPenalty(),),
            seed=5,
            batch=BATCH,
            d_turns=2,
            latent=3,
            shape=shape,
            dtype=torch.float32,
            device=torch.device("cpu"),
            discriminator=d,
        )
        return [feed.turns([True]) for _ in range(3)], feed

    dropping, feed = turns(network(discriminator, shape, torch.float32))
    plain, _ = turns(None)
    for ours, theirs in zip(dropping, plain, strict=True):
        for one, other in zip((*ours.d, ours.g), (*theirs.d, theirs.g), strict=True):
            assert torch.equal(one.real, other.real)
            assert torch.equal(one.latents, other.latents)
            assert torch.equal(one.noise[0]["u"], other.noise[0]["u"])
            assert other.d_noise == {}
    masks = [next(iter(turn.d_noise.values())) for step in dropping for turn in (*step.d, step.g)]
    assert not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])
    kept = feed.state()
    ahead = feed.turns([True]).g.d_noise
    feed.restore(kept)
    assert all(torch.equal(ahead[name], value) for name, value in feed.turns([True]).g.d_noise.items())


@each_network
def test_all_calls_of_a_turn_have_one_mask(discriminator, shape):
    at_rest = train([VAT(alpha=3.0, epsilon=0.0)], 3, **seeds(discriminator, shape))
    assert at_rest.logs["d_penalty-0"].item() == 0.0
    assert train([VAT(alpha=3.0)], 3, **seeds(discriminator, shape)).logs["d_penalty-0"].item() > 0


@each_network
def test_buffers_of_the_state_stay_as_built(discriminator, shape):
    state = train([R1()], 2, **seeds(discriminator, shape))
    for name, value in network(discriminator, shape).buffers.items():
        assert torch.equal(state.d.buffers[name], value)


@pytest.mark.parametrize("regularizer", [R1(), GradientPenalty(), VAT(), AdversarialLipschitz()], ids=lambda r: r.name)
@each_network
def test_stacked_seeds_train_as_single_ones(discriminator, shape, regularizer):
    stacked = train_stacked([regularizer], 3, 2, **seeds(discriminator, shape))
    for seed, state in enumerate(unstack(stacked)):
        alone = train([regularizer], 3, seed=seed, **seeds(discriminator, shape))
        for player in ("g", "d"):
            for name, value in getattr(alone, player).params.items():
                torch.testing.assert_close(getattr(state, player).params[name], value, rtol=1e-9, atol=1e-11)


def test_the_helper_trains_with_the_masks_of_its_feed():
    d, shape = NETWORKS[0]
    assert Seed([], **seeds(d, shape)).feed.turns([]).d[0].d_noise.keys() == network(d, shape).buffers.keys()
