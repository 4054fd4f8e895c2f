from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage
from stepping import BATCH, VECTORS, Training

from ganbench import Batch, ConfigError, ContractError, stream
from ganbench_zoo import images
from ganbench_zoo.augmentation import ADA, APA, DiffAugment, Packing, gains_of, inverse, sees_differences
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.generator_side import FeatureMatching, PathLength
from ganbench_zoo.losses import Hinge, NonSaturating, Wasserstein
from ganbench_zoo.regularizers import R1, GradientPenalty
from ganbench_zoo.wavelets import bands

SHAPE = (3, 8, 8)


def t(values):
    return torch.tensor(values, dtype=torch.float64)


def x(n=16, shape=SHAPE):
    return torch.randn(n, *shape, generator=stream(0, "x"), dtype=torch.float64)


def noise(regularizer, n=16, shape=SHAPE, player="d"):
    batch = Batch(player=player, size=n, shape=shape, latent=2, dtype=torch.float64, device=torch.device("cpu"))
    return regularizer.noise(batch, stream(0, "regularizer-0"))


def state(regularizer, **given):
    return regularizer.init({"w": torch.zeros(2, dtype=torch.float64)}) | {k: t(v) for k, v in given.items()}


# -- operations on images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["zeros", "reflect"])
@pytest.mark.parametrize("by", [(0, 0), (3, -2), (-7, 7), (1, 0)])
def test_a_shift_is_that_of_a_padded_image(fill, by):
    down, right = by
    image = x(2)
    found = images.shifted(image, t([down, 0]), t([right, 0]), fill).numpy()
    mode = "reflect" if fill == "reflect" else "constant"
    padded = np.pad(image[0].numpy(), ((0, 0), (7, 7), (7, 7)), mode=mode)
    np.testing.assert_array_equal(found[0], padded[:, 7 - down : 15 - down, 7 - right : 15 - right])
    np.testing.assert_array_equal(found[1], image[1])


def test_shifts_of_sides_of_one_pixel_have_nowhere_to_go():
    image = x(1, (1, 1, 4))
    assert torch.equal(images.shifted(image, t([1]), t([0]), "reflect"), image)


def test_quarter_turns_are_numpys():
    image = x(5)
    found = images.turned(image, t([0, 1, 2, 3, 4]))
    for k in range(5):
        np.testing.assert_array_equal(found[k], np.rot90(image[k].numpy(), k, (1, 2)))


def test_hue_turns_about_the_grey_axis():
    image, axis = x(1), np.ones(3) / 3**0.5
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(0.7) * cross + (1 - np.cos(0.7)) * cross @ cross  # Rodrigues
    expected = np.einsum("ij,jhw->ihw", rotation, image[0].numpy())
    np.testing.assert_allclose(images.hued(image, t([0.7]))[0], expected, rtol=1e-12, atol=1e-13)
    inverted = images.inverted(image, torch.tensor([True]))[0].numpy()
    mirror = np.eye(3) - 2 * np.outer(axis, axis)
    np.testing.assert_allclose(inverted, np.einsum("ij,jhw->ihw", mirror, image[0].numpy()), rtol=1e-12, atol=1e-13)


# -- diffaugment -----------------------------------------------------------------------------------------------


def test_colour_is_the_published_formula():
    regularizer = DiffAugment(policy=("color",))
    drawn = noise(regularizer)
    u = drawn["fake"].numpy()
    image = x().numpy()
    expected = image + (u[:, 0] - 0.5)[:, None, None, None]
    grey = expected.mean(1, keepdims=True)
    expected = (expected - grey) * (2 * u[:, 1])[:, None, None, None] + grey
    middle = expected.mean((1, 2, 3), keepdims=True)
    expected = (expected - middle) * (u[:, 2] + 0.5)[:, None, None, None] + middle
    np.testing.assert_allclose(regularizer.augment(x(), "fake", drawn, {}), expected, rtol=1e-12, atol=1e-12)


def test_translations_are_whole_pixels_of_an_eighth_and_reach_every_one():
    regularizer = DiffAugment(policy=("translation",), translation=0.25)
    drawn = noise(regularizer, 400)
    seen = regularizer.augment(torch.ones(400, 1, 8, 8, dtype=torch.float64), "real", drawn, {})
    rows, columns = (seen.amax((1, dim)).sum(1) for dim in (3, 2))
    assert set(rows.tolist()) == set(columns.tolist()) == {6.0, 7.0, 8.0}
    down = (torch.floor(drawn["real"][:, 3] * 5) - 2).int().tolist()
    assert set(down) == {-2, -1, 0, 1, 2}
    assert [8 - abs(d) for d in down] == rows.int().tolist()


def test_a_window_of_half_the_side_is_cut_out_around_any_pixel():
    regularizer = DiffAugment(policy=("cutout",))
    seen = regularizer.augment(torch.ones(400, 1, 8, 8, dtype=torch.float64), "real", noise(regularizer, 400), {})
    gone = 1 - seen[:, 0]
    heights, widths = gone.amax(2).sum(1), gone.amax(1).sum(1)
    assert set(heights.tolist()) == set(widths.tolist()) == {2.0, 3.0, 4.0}
    assert torch.equal(gone.sum((1, 2)), heights * widths)
    assert gone.amax(0).all()


def test_no_strength_is_no_change_and_real_and_fake_are_drawn_apart():
    for regularizer in (DiffAugment(color=0.0, translation=0.0, cutout=0.0), DiffAugment(policy=())):
        assert torch.equal(regularizer.augment(x(), "real", noise(regularizer), {}), x())
    drawn = noise(DiffAugment())
    assert not torch.equal(drawn["real"], drawn["fake"])


WHOLE = ADA(start=0.7, policy=("blit", "geometry", "color", "filter", "noise", "cutout"))


@pytest.mark.parametrize(
    "regularizer", [DiffAugment(), ADA(start=0.7), WHOLE], ids=("diffaugment", "ada", "all of ada")
)
def test_augmentations_have_the_gradient_of_finite_differences(regularizer):
    image = x(2, (3, 5, 5)).requires_grad_()
    drawn, own = noise(regularizer, 2, (3, 5, 5)), state(regularizer)
    assert torch.autograd.gradcheck(lambda x: regularizer.augment(x, "fake", drawn, own), image)


def test_the_inverse_of_ada_is_that_of_its_transforms_one_after_the_other():
    rng = np.random.default_rng(2)
    grow, stretch = np.exp(rng.normal(size=(2, 5)))
    first, second, right, down = rng.normal(size=(4, 5))
    found = inverse(*(t(v) for v in (grow, first, stretch, second, right, down))).numpy()
    for i in range(5):
        p = rng.normal(size=2)
        q = grow[i] * p
        q = turn_of(first[i]) @ q
        q = np.array([stretch[i], 1 / stretch[i]]) * q
        q = turn_of(second[i]) @ q + [right[i], down[i]]
        np.testing.assert_allclose(found[i, :, :2] @ q + found[i, :, 2], p, rtol=1e-12, atol=1e-12)


def turn_of(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_one_of_two_rotations_has_the_probability_p():
    regularizer = ADA(policy=("geometry",))
    drawn = noise(regularizer, 4_000, (1, 3, 3))
    drawn["gate-real"][:, [8, 10, 12]] = 2.0  # no scaling and no shift
    image = torch.randn(4_000, 1, 3, 3, dtype=torch.float64, generator=stream(0, "x"))
    turned = (regularizer.augment(image, "real", drawn, state(regularizer, p=0.3)) != image).flatten(1).any(1)
    assert turned.double().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / 4_000) ** 0.5)


# -- adaptive augmentation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("regularizer", [ADA(), WHOLE], ids=("default", "whole"))
def test_nothing_is_applied_at_probability_0_and_everything_at_1(regularizer):
    drawn = noise(regularizer, 200)
    assert torch.equal(regularizer.augment(x(200), "real", drawn, state(regularizer, p=0.0)), x(200))
    half = regularizer.augment(x(200), "real", drawn, state(regularizer, p=0.1))
    touched = (half != x(200)).flatten(1).any(1).double().mean().item()
    gates = (drawn["gate-real"] < 0.1).any(1).double().mean().item()
    assert 0.3 < touched <= gates
    every = regularizer.augment(x(200), "real", drawn, state(regularizer, p=1.0))
    assert (every != x(200)).flatten(1).any(1).all()


def test_blits_only_move_pixels():
    regularizer = ADA(policy=("blit",))
    image = torch.arange(64, dtype=torch.float64).reshape(1, 1, 8, 8).repeat(50, 1, 1, 1)
    seen = regularizer.augment(image, "fake", noise(regularizer, 50), state(regularizer, p=1.0))
    assert set(seen.flatten().tolist()) <= set(range(64))
    assert len({tuple(s.flatten().tolist()) for s in seen}) > 20


def test_grey_images_keep_one_channel_and_oblong_ones_their_sides():
    regularizer = ADA()
    image = x(20, (1, 8, 6))
    seen = regularizer.augment(image, "real", noise(regularizer, 20, (1, 8, 6)), state(regularizer, p=1.0))
    assert seen.shape == image.shape


def test_p_moves_as_in_the_paper():
    regularizer = ADA()
    scores = torch.ones(64, dtype=torch.float64)
    own = state(regularizer)
    for turn in range(1, 9):
        own = regularizer.observe(observed(scores), own)
        # 64 samples, 4 turns, 500 thousand: 0.000512 a move
        assert own["p"].item() == pytest.approx(0.000512 * (turn // 4), rel=1e-14)


def observed(scores):
    from ganbench import DStep

    nothing = torch.zeros(0)
    return DStep(
        real=nothing,
        fake=nothing,
        labels=None,
        real_scores=scores,
        fake_scores=scores,
        latents=nothing,
        noise={},
        state={},
        step=torch.tensor(0),
        score=None,
        score_grad=None,
        score_and_grad=None,
        generate=None,
        part=None,
        kept={},
    )


@pytest.mark.parametrize("cls", [ADA, APA])
def test_p_is_that_of_a_loop_over_the_signs_of_real_scores(cls):
    regularizer = cls(interval=3, kimg=0.2, start=0.02, target=0.1)
    rng, own, p, signs, past = stream(0, "scores"), state(regularizer), 0.02, [], []
    for _ in range(40):
        scores = torch.randn(10, generator=rng, dtype=torch.float64) + 0.1
        own = regularizer.observe(observed(scores), own)
        signs.append(np.sign(scores.numpy()).mean())
        if len(signs) == 3:
            p = min(max(p + np.sign(np.mean(signs) - 0.1) * 10 * 3 / 200, 0), 1)
            signs = []
        past.append(p)
        assert own["p"].item() == pytest.approx(p, abs=1e-14)
    assert min(past) == 0
    assert max(past) > 0.1


def applied(policy, x, numbers, *, side="fake"):
    """ADA of one part alone at p = 1, with given numbers in place of some drawn ones."""
    regularizer = ADA(policy=(policy,))
    drawn = noise(regularizer, len(x), tuple(x.shape[1:]))
    for name, values in numbers.items():
        place = drawn[f"{name}-{side}"]
        for i, value in values.items():
            place[:, i] = value
    return regularizer.augment(x, side, drawn, state(regularizer, p=1.0)), drawn


def test_the_gains_of_bands_keep_the_power_of_the_expected_spectrum():
    factors = t(np.exp(np.random.default_rng(0).normal(size=(5, 4))))
    power = np.array([10, 1, 1, 1]) / 13
    expected = np.ones((5, 4))
    for i in range(4):
        one = np.ones((5, 4))
        one[:, i] = factors[:, i]
        expected *= one / np.sqrt((power * one**2).sum(1, keepdims=True))
    np.testing.assert_allclose(gains_of(factors), expected, rtol=1e-14)
    single = gains_of(t([[1, 1, 3, 1]]))
    assert (t(power) * single.square()).sum().item() == pytest.approx(1, rel=1e-14)


def test_filters_amplify_their_bands_as_a_convolution_of_the_mirrored_image():
    image = x(6, (3, 32, 32))
    seen, drawn = applied("filter", image, {})
    gains = gains_of(2 ** drawn["normal-fake"][:, 7:11]).numpy()
    for i in range(6):
        taps = gains[i] @ bands()
        twice = ndimage.correlate1d(
            ndimage.correlate1d(image[i].numpy(), taps, 1, mode="mirror"), taps, 2, mode="mirror"
        )
        np.testing.assert_allclose(seen[i], twice, rtol=1e-10, atol=1e-10)


def test_noise_has_a_half_normal_deviation_for_each_sample():
    image = x(500, (1, 8, 8))
    seen, drawn = applied("noise", image, {})
    added = seen - image
    sigma = 0.1 * drawn["normal-fake"][:, 11].abs()
    np.testing.assert_allclose(added / sigma[:, None, None, None], drawn["pixels-fake"], rtol=1e-9, atol=1e-12)
    rms = added.square().mean().sqrt().item()
    assert rms == pytest.approx(0.1, rel=5 * (2 / 500) ** 0.5)  # E sigma^2 = 0.1^2, and sigma^2 / 0.01 is chi-square


def test_cutouts_hide_a_rectangle_of_half_the_sides_about_a_point():
    image = torch.ones(3, 1, 8, 6, dtype=torch.float64)
    seen, _ = applied("cutout", image, {"uniform": {8: t([0.5, 0.0, 0.999]), 9: t([0.5, 0.0, 0.25])}})
    gone = [tuple(np.argwhere(1 - s[0].numpy()).min(0)) + tuple(np.argwhere(1 - s[0].numpy()).max(0)) for s in seen]
    # rows within 2 of 8 u, columns within 1.5 of 6 u, by their middles
    assert gone == [(2, 2, 5, 3), (0, 0, 1, 0), (6, 0, 7, 2)]


def test_noise_of_pixels_is_drawn_only_if_it_is_used_and_real_and_fake_apart():
    assert "pixels-real" not in noise(ADA())
    drawn = noise(ADA(policy=("noise",)))
    assert drawn["pixels-real"].shape == (16, *SHAPE)
    assert not torch.equal(drawn["pixels-real"], drawn["pixels-fake"])
    assert set(ADA().init({"w": torch.zeros(2)})) == {"p", "signs", "turns", "low"}
    assert set(ADA(policy=("filter",)).init({"w": torch.zeros(2)})) == {"p", "signs", "turns", "bands"}


def test_samples_of_one_batch_are_lifted_one_by_one():
    regularizer = WHOLE
    image, own = x(6), state(regularizer)
    drawn = noise(regularizer, 6)
    alone = {k: v[:, None] for k, v in drawn.items()}
    one_by_one = torch.func.vmap(lambda x, n: regularizer.augment(x, "real", n, own))(image[:, None], alone)
    torch.testing.assert_close(one_by_one[:, 0], regularizer.augment(image, "real", drawn, own), rtol=1e-12, atol=1e-12)


# -- adaptive pseudo augmentation ------------------------------------------------------------------------------


def test_fakes_stand_in_for_real_samples_in_d_turn_only():
    regularizer = APA(start=0.4)
    training = Training([regularizer])
    game = training.game(0)
    turns = training.feed.turns(game.active)
    turn = turns.d[0]
    chosen = turn.noise[0]["u"] < 0.4
    assert chosen.any()
    assert not chosen.all()
    fake, _ = training.g(training.state.g.params, {}, turn.latents)
    shown = torch.where(chosen, fake, turn.real)
    d = lambda x: training.d(training.state.d.params, {}, x)[0]  # noqa: E731 # the discriminator
    value, _ = game.d_objective(training.state, turn)
    torch.testing.assert_close(value, training.loss.d_loss(d(shown), d(fake)), rtol=1e-14, atol=0)
    assert turns.g.noise[0] == {}


# -- packs -----------------------------------------------------------------------------------------------------


def test_packs_join_neighbours_along_the_first_dimension():
    found = Packing(size=2).augment(x(6), "real", {}, {})
    assert found.shape == (3, 6, 8, 8)
    assert torch.equal(found[1], torch.cat([x(6)[2], x(6)[3]]))


def test_what_follows_a_packing_draws_noise_for_packs():
    training = Training([PathLength(every=1), Packing(size=4), GradientPenalty()])
    turns = training.feed.turns((True, True, True))
    assert turns.d[0].noise[2]["u"].shape == (BATCH // 4, 1)
    assert turns.g.noise[0]["y"].shape == (BATCH // 2, *VECTORS)
    value, _ = training.game(0).d_objective(training.state, turns.d[0])
    assert torch.isfinite(value)
    value, _ = training.game(0).g_objective(training.state, turns.g)
    assert torch.isfinite(value)


# -- refusals --------------------------------------------------------------------------------------------------


def cell(*regularizers, dataset=None, loss=None, batch=8, conditional=False):
    return SimpleNamespace(
        dataset=dataset or Digits(),
        regularizers=regularizers,
        loss=loss or NonSaturating(),
        batch=batch,
        discriminator=SimpleNamespace(name="d", conditional=conditional, has_code=True),
    )


def test_augmentations_of_images_refuse_vectors():
    for regularizer in (DiffAugment(), ADA()):
        assert "augments images" in regularizer.mismatch(cell(dataset=Ring()))
        assert regularizer.mismatch(cell()) is None
        with pytest.raises(ContractError, match="augments images"):
            regularizer.augment(x(2, (2,)), "real", noise(regularizer, 2), state(regularizer))


def test_the_sign_of_a_score_means_nothing_to_a_loss_of_differences():
    assert sees_differences(Wasserstein())
    assert not sees_differences(Hinge())
    for regularizer in (ADA(), APA()):
        assert "sees differences" in regularizer.mismatch(cell(loss=Wasserstein()))
        assert regularizer.mismatch(cell(loss=Hinge())) is None
        energy = SimpleNamespace(name="a-loss", output="energy")
        assert "sign of scores" in regularizer.mismatch(cell(loss=energy))
        with pytest.raises(ConfigError, match="discriminator only"):
            type(regularizer)(on="g")


def test_packs_refuse_what_is_for_single_samples():
    packing = Packing(size=4)
    assert packing.mismatch(cell(packing, GradientPenalty())) is None
    assert packing.mismatch(cell(R1(), packing)) is None
    assert packing.mismatch(cell(PathLength(), packing)) is None
    assert "do not divide" in packing.mismatch(cell(packing, batch=6))
    assert "different classes" in packing.mismatch(cell(packing, conditional=True))
    assert "behind packing" in packing.mismatch(cell(GradientPenalty(), packing))
    assert "before packing" in packing.mismatch(cell(packing, PathLength()))
    assert "scores of single samples" in packing.mismatch(cell(packing, ADA()))
    with pytest.raises(ConfigError, match="cannot judge single samples"):
        Packing(every=2)
    assert "codes of single samples" in FeatureMatching().mismatch(cell(FeatureMatching(), packing))
