from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from stepping import BATCH, IMAGES, LATENT, VECTORS, Training, train, train_stacked

from ganbench import ConfigError, ContractError, SampleSpec, stream
from ganbench.lift import unstack
from ganbench.networks import Network
from ganbench.seeding import global_stream
from ganbench.testing import d_penalty, g_penalty
from ganbench_zoo.generator_side import FeatureMatching, GeneratorGuided, ModeSeeking, PathLength, TopK
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.networks import MLPGenerator
from ganbench_zoo.networks_dcgan import DCGANDiscriminator, DCGANGenerator
from ganbench_zoo.regularizers import InstanceNoise

M = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])  # G(z) = z M
Z = np.array([[1.0, -1.0], [0.0, 2.0], [0.5, 0.5], [-2.0, 1.0]])
REAL = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5], [1.0, 1.0, 1.0], [0.0, 0.0, 2.0]])


def t(array):
    return torch.tensor(array, dtype=torch.float64)


def linear(m):
    return lambda z: z @ m


def score(x):
    return x.sum(1)


# -- mode seeking ----------------------------------------------------------------------------------------------


def test_the_distance_of_samples_is_measured_against_that_of_latents():
    x = Z @ M
    ratio = np.abs(x[:2] - x[2:]).mean() / np.abs(Z[:2] - Z[2:]).mean()
    value = g_penalty(ModeSeeking(weight=3.0), score, linear(t(M)), t(Z)).item()
    assert value == pytest.approx(3 / (ratio + 1e-5), rel=1e-14)
    fourfold = g_penalty(ModeSeeking(), score, lambda z: 4 * z, t(Z)).item()
    assert fourfold == pytest.approx(1 / (4 + 1e-5), rel=1e-14)


def test_the_last_of_an_odd_batch_is_left_out():
    three = g_penalty(ModeSeeking(), score, linear(t(M)), t(Z[:3]))
    assert three == g_penalty(ModeSeeking(), score, linear(t(M)), t(Z[:2]))


def test_a_collapsed_generator_has_a_finite_gradient():
    m = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    value = g_penalty(ModeSeeking(), score, linear(m), t(Z))
    (gradient,) = torch.autograd.grad(value, m)
    assert value.item() == pytest.approx(1e5)
    assert torch.isfinite(gradient).all()


# -- path length -----------------------------------------------------------------------------------------------


def test_the_path_length_of_a_linear_generator_in_fifty_digits():
    y = [[0.3, -1.2, 0.5], [1.0, 0.0, -0.7]]
    with mpmath.workdps(50):
        m = mpmath.matrix(M.tolist())
        lengths = [mpmath.norm(m * mpmath.matrix(row)) for row in y]
        a = mpmath.mpf("0.4") + mpmath.mpf("0.01") * (sum(lengths) / 2 - mpmath.mpf("0.4"))
        expected = float(2 * sum((v - a) ** 2 for v in lengths) / 2)
    value = g_penalty(PathLength(), score, linear(t(M)), t(Z), noise={"y": t(y)}, state={"a": t(0.4)}).item()
    assert value == pytest.approx(expected, rel=1e-13)


def test_directions_are_normal_over_the_root_of_the_pixels():
    generate = lambda z: (z @ t(M)).reshape(-1, 3, 1, 1).repeat(1, 1, 4, 2)  # noqa: E731 # a generator in a line
    y = torch.randn(4, 3, 4, 2, generator=stream(3, "regularizer-0"), dtype=torch.float64).numpy() / np.sqrt(8)
    lengths = np.linalg.norm(y.sum((2, 3)) @ M.T, axis=1)
    regularizer = PathLength(shrink=1, decay=0.1)
    value = g_penalty(regularizer, lambda x: x.sum((1, 2, 3)), generate, t(Z), seed=3).item()
    assert value == pytest.approx(2 * ((lengths - 0.1 * lengths.mean()) ** 2).mean(), rel=1e-13)


def test_the_gradient_of_the_path_length_is_that_of_finite_differences():
    m = t(M).requires_grad_()
    state = {"a": t(0.4)}
    generate = lambda m: lambda z: torch.tanh(z @ m)  # noqa: E731 # a generator in a line
    assert torch.autograd.gradcheck(lambda m: g_penalty(PathLength(), score, generate(m), t(Z), state=state), m)


def test_the_mean_length_is_that_of_a_loop():
    regularizer = PathLength(decay=0.3, every=2)
    training, mean = Training([regularizer]), 0.0
    for step in range(6):
        game = training.game(step)
        turns = training.feed.turns(game.active)
        grads, state = game.d_grads(training.state, turns.d[0])
        state = game.apply_d(state, grads)
        if step % 2 == 0:
            z = turns.g.latents[: BATCH // 2].clone().requires_grad_()
            fake, _ = training.g(state.g.params, {}, z)
            (gradient,) = torch.autograd.grad((fake * turns.g.noise[0]["y"]).sum(), z)
            mean += 0.3 * (gradient.norm(dim=1).mean().item() - mean)
        grads, state = game.g_grads(state, turns.g)
        assert state.regularizers[0]["g"]["a"].item() == pytest.approx(mean, rel=1e-13)
        training.state = game.finish(game.apply_g(state, grads))


A = np.array([[0.5, -1.0], [2.0, 0.25]])  # w = tanh(z A)


def w_parts(a, m):
    """A generator x = w M behind a mapping network w = tanh(z A)."""
    return lambda player, name, x, labels=None: torch.tanh(x @ a) if name == "map" else x @ m


def test_the_path_length_in_w_is_that_of_the_synthesis_alone():
    y = [[0.3, -1.2, 0.5], [1.0, 0.0, -0.7]]
    lengths = np.linalg.norm(np.array(y) @ M.T, axis=1)
    expected = 2 * ((lengths - 0.01 * lengths.mean()) ** 2).mean()
    generate = lambda z: torch.tanh(z @ t(A)) @ t(M)  # noqa: E731 # a generator in a line
    given = {"noise": {"y": t(y)}, "part": w_parts(t(A), t(M))}
    of_w = g_penalty(PathLength(latents="w"), score, generate, t(Z), **given).item()
    assert of_w == pytest.approx(expected, rel=1e-13)
    assert of_w != pytest.approx(g_penalty(PathLength(), score, generate, t(Z), **given).item(), rel=0.1)
    with pytest.raises(ContractError, match="part 'map'"):
        g_penalty(PathLength(latents="w"), score, generate, t(Z))


def test_the_path_length_in_w_trains_the_mapping_network_too():
    def penalty(a, m):
        bent = lambda player, name, x, labels=None: torch.tanh(x @ a) if name == "map" else torch.sin(x @ m)  # noqa: E731 # a generator in a line
        return g_penalty(PathLength(latents="w"), score, lambda z: torch.sin(torch.tanh(z @ a) @ m), t(Z), part=bent)

    a, m = t(A).requires_grad_(), t(M).requires_grad_()
    assert torch.autograd.gradcheck(penalty, (a, m))
    assert torch.autograd.grad(penalty(a, m), a)[0].abs().min() > 0


@pytest.mark.parametrize(
    ("generator", "shape"),
    [
        (MLPGenerator(latent=LATENT, width=5, mapping=2), VECTORS),
        (DCGANGenerator(latent=LATENT, width=4, norm="none", mapping=1), IMAGES),
    ],
    ids=["mlp", "dcgan"],
)
def test_a_generator_is_its_mapping_and_its_synthesis(generator, shape):
    with global_stream(0, "init-g"):
        module = generator.build(SampleSpec(shape=shape)).double()
    z = torch.randn(3, LATENT, dtype=torch.float64)
    w = module(z, None, "map")
    assert w.shape == z.shape
    assert torch.equal(module(z), module(w, None, "synthesize"))
    torch.testing.assert_close(module(5 * z), module(z), rtol=1e-6, atol=1e-6)  # only the direction of z counts
    layers = [m for m in module.mapping if isinstance(m, torch.nn.Linear)]
    hidden = z / z.square().mean(1, keepdim=True).add(1e-8).sqrt()
    for layer in layers:
        hidden = torch.nn.functional.leaky_relu(layer(hidden), 0.2)
    torch.testing.assert_close(w, hidden)
    assert len(layers) == generator.mapping
    assert generator.parts >= {"map", "synthesize"}


def test_stacked_seeds_train_on_w_as_single_ones():
    def build(seed):
        with global_stream(seed, "init-g"):
            return Network(MLPGenerator(latent=LATENT, width=5, mapping=2).build(SampleSpec(shape=VECTORS)).double())

    regularizer = PathLength(latents="w", every=2)
    stacked = train_stacked([regularizer], 4, 2, generator=build)
    for seed, state in enumerate(unstack(stacked)):
        alone = train([regularizer], 4, seed=seed, generator=build)
        for name, value in alone.g.params.items():
            torch.testing.assert_close(state.g.params[name], value, rtol=1e-9, atol=1e-11)
        assert state.regularizers[0]["g"]["a"].item() == pytest.approx(alone.regularizers[0]["g"]["a"].item())


def test_w_is_refused_without_a_mapping_network():
    cell = lambda g: SimpleNamespace(generator=g)  # noqa: E731 # a cell in a line
    assert "has none" in PathLength(latents="w").mismatch(cell(MLPGenerator()))
    assert PathLength(latents="w").mismatch(cell(MLPGenerator(mapping=1))) is None
    assert PathLength().mismatch(cell(MLPGenerator())) is None


# -- generator-guided discriminators ---------------------------------------------------------------------------


def test_the_decoder_is_compared_with_the_generators_features_by_their_cosine():
    rng = np.random.default_rng(3)
    told, wanted = rng.normal(size=(2, 4, 5, 2, 3))
    cosines = (told * wanted).sum(1) / np.linalg.norm(told, axis=1) / np.linalg.norm(wanted, axis=1)
    maps = {"decode": t(told).requires_grad_(), "features": t(wanted).requires_grad_()}
    part = lambda player, name, x, labels=None: maps[name] * (x.sum() * 0 + 1)  # noqa: E731 # networks in a line
    value = d_penalty(GeneratorGuided(weight=3.0), score, t(REAL), t(Z @ M), latents=t(Z), part=part)
    assert value.item() == pytest.approx(3 * (1 - cosines).mean(), rel=1e-13)
    for_decoder, for_generator = torch.autograd.grad(value, list(maps.values()), allow_unused=True)
    assert for_decoder.abs().min() > 0
    assert for_generator is None


def test_several_maps_are_averaged_and_have_their_names():
    rng = np.random.default_rng(4)
    names = [("decode", "features"), ("decode-2", "features-2"), ("decode-3", "features-3")]
    maps, wanted = {}, []
    for i, pair in enumerate(names):
        a, b = rng.normal(size=(2, 4, 3 * 2**i, 4, 4))
        maps |= dict(zip(pair, (t(a), t(b)), strict=True))
        wanted.append(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())
    part = lambda player, name, x, labels=None: maps[name] * (x.sum() * 0 + 1)  # noqa: E731 # networks in a line
    for count in (1, 2, 3):
        value = d_penalty(GeneratorGuided(weight=3.0, maps=count), score, t(REAL), t(Z @ M), latents=t(Z), part=part)
        assert value.item() == pytest.approx(3 * (1 - np.mean(wanted[:count])), rel=1e-13)


GUIDED = DCGANGenerator(latent=LATENT, width=4, base=1, norm="none"), DCGANDiscriminator(width=6, decoder=4, base=1)


def guided(maps=1):
    def build(component, name):
        def network(seed):
            with global_stream(seed, name):
                return Network(component.build(SampleSpec(shape=IMAGES)).double())

        return network

    return {
        "shape": IMAGES,
        "generator": build(GUIDED[0], "init-g"),
        "discriminator": build(DCGANDiscriminator(width=6, decoder=4, base=1, decoder_maps=maps), "init-d"),
    }


def test_the_feature_maps_of_the_networks_fit():
    one = Training([GeneratorGuided()], **guided())
    z, x = torch.randn(3, LATENT, dtype=torch.float64), torch.randn(3, *IMAGES, dtype=torch.float64)
    features = one.g(one.g.params, {}, z, None, "features")[0]
    assert features.shape == one.d(one.d.params, {}, x, None, "decode")[0].shape == (3, 4, 4, 4)
    last = one.g.module.convolutions[-1]
    assert torch.equal(one.g.module.to_range(last(features)), one.g(one.g.params, {}, z)[0])


def test_maps_of_each_size_are_what_a_layer_sees_and_fit():
    one = Training([GeneratorGuided(maps=3)], **guided(3))
    z, x = torch.randn(3, LATENT, dtype=torch.float64), torch.randn(3, *IMAGES, dtype=torch.float64)
    layers = one.g.module.convolutions
    for k, name in enumerate(["", "-2", "-3"]):
        seen = one.g(one.g.params, {}, z, None, f"features{name}")[0]
        assert seen.shape == one.d(one.d.params, {}, x, None, f"decode{name}")[0].shape
        assert seen.shape == (3, 4 * 2**k, 8 // 2 ** (k + 1), 8 // 2 ** (k + 1))
        for i, layer in enumerate(layers[len(layers) - 1 - k :]):
            seen = layer(torch.relu(seen) if i else seen)
        torch.testing.assert_close(one.g.module.to_range(seen), one.g(one.g.params, {}, z)[0])


@pytest.mark.parametrize("maps", [1, 3])
def test_guidance_trains_the_decoder_alone_and_stacks(maps):
    regularizer = GeneratorGuided(maps=maps)
    state = train([regularizer], 12, **guided(maps))
    first = train([regularizer], 1, **guided(maps))
    assert state.logs["d_penalty-0"] < first.logs["d_penalty-0"]
    for seed, stacked in enumerate(unstack(train_stacked([regularizer], 2, 2, **guided(maps)))):
        alone = train([regularizer], 2, seed=seed, **guided(maps))
        for name, value in alone.d.params.items():
            torch.testing.assert_close(stacked.d.params[name], value, rtol=1e-9, atol=1e-11)


def test_feature_maps_that_do_not_fit_are_refused():
    def mismatch(g, d, *others):
        return GeneratorGuided().mismatch(SimpleNamespace(generator=g, discriminator=d, regularizers=others))

    assert mismatch(*GUIDED) is None
    assert "shows none" in mismatch(MLPGenerator(), GUIDED[1])
    assert "no `decoder`" in mismatch(GUIDED[0], DCGANDiscriminator())
    assert "(4, 1) with decoded ones of (8, 4)" in mismatch(GUIDED[0], DCGANDiscriminator(decoder=8))
    more = GeneratorGuided(maps=2)
    cell = SimpleNamespace(generator=GUIDED[0], discriminator=GUIDED[1], regularizers=())
    assert "more than the `decoder_maps`" in more.mismatch(cell)
    cell.discriminator = DCGANDiscriminator(width=6, decoder=4, base=1, decoder_maps=2)
    assert more.mismatch(cell) is None
    with pytest.raises(ConfigError, match="at most 1 decoder_maps here, not 2"):
        DCGANDiscriminator(decoder=4, decoder_maps=2).build(SampleSpec(shape=IMAGES))
    assert "changes what D sees" in mismatch(*GUIDED, InstanceNoise())


# -- feature matching ------------------------------------------------------------------------------------------


def test_the_means_of_codes_are_matched():
    code = lambda x: torch.tanh(x[:, :2])  # noqa: E731 # a code in a line
    apart = np.tanh(REAL[:, :2]).mean(0) - np.tanh((Z @ M)[:, :2]).mean(0)
    value = g_penalty(FeatureMatching(weight=2.0), score, linear(t(M)), t(Z), real=t(REAL), code=code).item()
    assert value == pytest.approx(2 * (apart**2).sum(), rel=1e-13)


def test_the_code_in_training_is_the_discriminators():
    state = train([FeatureMatching()], 1)
    start = Training([FeatureMatching()])
    game = start.game(0)
    turns = start.feed.turns(game.active)
    grads, moved = game.d_grads(start.state, turns.d[0])
    d = game.apply_d(moved, grads).d.params
    fake, _ = start.g(start.state.g.params, {}, turns.g.latents)
    codes = [torch.tanh(x @ d["first.weight"].T + d["first.bias"]).mean(0) for x in (turns.g.real, fake)]
    torch.testing.assert_close(state.logs["g_penalty-0"], (codes[0] - codes[1]).square().sum())


# -- top-k -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "k"), [(1.0, 8), (0.5, 4), (0.6, 5)])
def test_g_learns_from_the_best_k_alone(share, k):
    training = Training([TopK(least=0.5)])
    game = training.game(0)
    turns = training.feed.turns(game.active)
    state = training.state._replace(regularizers=({"g": {"share": t(share)}},))
    grads, _ = game.g_grads(state, turns.g)
    leaves = {n: p.clone().requires_grad_() for n, p in state.g.params.items()}
    fake, _ = training.g(leaves, {}, turns.g.latents)
    scores, _ = training.d(state.d.params, {}, fake)
    NonSaturating().g_loss(scores.topk(k).values, None).backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(grads[name], leaf.grad, rtol=1e-12, atol=1e-14)


def test_d_sees_all_fakes_and_k_falls_to_its_least():
    with_it, without = (Training(stack) for stack in ([TopK(decay=0.5)], []))
    turns = [tr.feed.turns(tr.game(0).active).d[0] for tr in (with_it, without)]
    state = with_it.state._replace(regularizers=({"g": {"share": t(0.5)}},))
    values = [with_it.game(0).d_objective(state, turns[0])[0], without.game(0).d_objective(without.state, turns[1])[0]]
    assert values[0] == values[1]
    shares = [train([TopK(decay=0.8, interval=2)], n).regularizers[0]["g"]["share"].item() for n in (1, 2, 3, 4, 9)]
    assert shares == pytest.approx([1.0, 0.8, 0.8, 0.64, 0.5], rel=1e-6)


def test_what_has_no_meaning_is_refused():
    for cls in (PathLength, TopK):
        with pytest.raises(ConfigError, match="acts on the generator only"):
            cls(on="d")
    cell = SimpleNamespace(
        batch=1,
        generator=SimpleNamespace(norm="batch"),
        discriminator=SimpleNamespace(name="d", has_code=False),
        loss=SimpleNamespace(name="a-loss", output="energy"),
        regularizers=(),
    )
    assert "needs pairs" in ModeSeeking().mismatch(cell)
    for batch, fits in ((2, True), (64, True), (65, False)):
        assert (ModeSeeking().mismatch(SimpleNamespace(batch=batch)) is None) is fits
    assert "batch normalisation in the generator" in PathLength().mismatch(cell)
    assert "has none" in FeatureMatching().mismatch(cell)
    assert "sorts scores" in TopK().mismatch(cell)
