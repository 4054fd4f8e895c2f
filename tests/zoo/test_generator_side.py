from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from stepping import BATCH, Training, train

from ganbench import ConfigError, stream
from ganbench.testing import g_penalty
from ganbench_zoo.generator_side import FeatureMatching, ModeSeeking, PathLength, TopK
from ganbench_zoo.losses import NonSaturating

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
    assert "batch normalisation in the generator" in PathLength().mismatch(cell)
    assert "has none" in FeatureMatching().mismatch(cell)
    assert "sorts scores" in TopK().mismatch(cell)
