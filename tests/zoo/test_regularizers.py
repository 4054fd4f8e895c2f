from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stepping import train
from torch import nn

from ganbench import Batch, ConfigError, stream
from ganbench.testing import d_penalty
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
from ganbench_zoo.vat import VAT

INF = float("inf")
# A quadratic critic D(x) = x'Ax / 2 + b'x has the gradient Ax + b, which differs between real, fake and mixed x.
A = np.array([[2.0, 1.0, 0.0], [1.0, -1.0, 0.5], [0.0, 0.5, 3.0]])
B = np.array([0.6, -0.8, 1.5])
REAL = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
FAKE = np.array([[0.5, 0.0, -1.0], [2.0, 1.0, 0.0]])


def t(array):
    return torch.tensor(array, dtype=torch.float64)


def quadratic(a, b):
    return lambda x: (x @ a * x).sum(1) / 2 + x @ b


def slopes(x):
    """The norm of the gradient at each row of x, without autograd."""
    return np.linalg.norm(x @ A + B, axis=1)


def mixed(u):
    return u[:, None] * REAL + (1 - u[:, None]) * FAKE


def test_none_overrides_no_hook_point():
    assert NoRegularizer.hook_points() == ()
    assert d_penalty(NoRegularizer(), quadratic(t(A), t(B)), t(REAL), t(FAKE)) == 0


@pytest.mark.parametrize(("cls", "x"), [(R1, REAL), (R2, FAKE)])
def test_r1_and_r2_are_half_gamma_times_the_mean_squared_slope(cls, x):
    value = d_penalty(cls(gamma=3.0), quadratic(t(A), t(B)), t(REAL), t(FAKE))
    assert value.item() == pytest.approx(3.0 / 2 * (slopes(x) ** 2).mean(), rel=1e-14)


@pytest.mark.parametrize(("cls", "x"), [(R1, REAL), (R2, FAKE)])
def test_the_gradient_of_r1_and_r2_in_the_parameters_has_its_closed_form(cls, x):
    a, b = t(A).requires_grad_(), t(B).requires_grad_()
    value = d_penalty(cls(gamma=3.0), quadratic(a, b), t(REAL), t(FAKE))
    _, gradient = torch.autograd.grad(value, (a, b))
    # the gradient of gamma / 2 mean |Ax + b|^2 in b
    np.testing.assert_allclose(gradient, 3.0 * (x @ A + B).mean(0), rtol=1e-13)


@pytest.mark.parametrize("target", [1.0, 0.0, 2.5])
def test_the_gradient_penalty_is_taken_between_real_and_fake_for_each_sample(target):
    u = np.array([0.25, 0.75])
    regularizer = GradientPenalty(weight=10.0, target=target)
    value = d_penalty(regularizer, quadratic(t(A), t(B)), t(REAL), t(FAKE), noise={"u": t(u)[:, None]})
    assert value.item() == pytest.approx(10 * ((slopes(mixed(u)) - target) ** 2).mean(), rel=1e-14)


def test_the_gradient_penalty_draws_one_number_a_sample_from_its_own_stream():
    u = torch.rand(2, 1, generator=stream(5, "regularizer-0"), dtype=torch.float64)[:, 0].numpy()
    value = d_penalty(GradientPenalty(), quadratic(t(A), t(B)), t(REAL), t(FAKE), seed=5)
    assert value.item() == pytest.approx(10 * ((slopes(mixed(u)) - 1) ** 2).mean(), rel=1e-14)


def test_the_gradient_penalty_of_a_linear_critic_in_fifty_digits():
    with mpmath.workdps(50):
        expected = 10 * (mpmath.sqrt(mpmath.mpf("3.25")) - 1) ** 2
    assert float(expected) == pytest.approx(6.4444872453601071, rel=1e-15)
    value = d_penalty(GradientPenalty(), lambda x: x @ t(B), t(REAL), t(FAKE))
    assert value.item() == pytest.approx(float(expected), rel=1e-14)


PENALTIES = [R1(), R2(), GradientPenalty(), VAT(), VAT(mode="exact")]


@pytest.mark.parametrize("regularizer", PENALTIES, ids=lambda r: r.label)
def test_penalties_are_differentiable_in_the_parameters(regularizer):
    x, y = t(REAL), t(FAKE)

    def penalty(a, b):
        return d_penalty(regularizer, quadratic(a, b), x, y)

    a, b = t(A).requires_grad_(), t(B).requires_grad_()
    if isinstance(regularizer, VAT):  # its direction is a constant to the gradient, which finite differences move
        assert all(bool(g.any()) for g in torch.autograd.grad(penalty(a, b), (a, b)))
    else:
        assert torch.autograd.gradcheck(penalty, (a, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regularizer", PENALTIES, ids=lambda r: r.label)
def test_a_discriminator_that_ignores_its_input_has_finite_penalties_and_gradients(regularizer, dtype):
    weight = torch.zeros(3, dtype=dtype, requires_grad=True)
    score = lambda x: torch.tanh(x @ weight)  # noqa: E731 # closes over the weight
    value = d_penalty(regularizer, score, t(REAL).to(dtype), t(FAKE).to(dtype))
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_the_gradient_penalty_has_a_unit_direction_at_any_slope(scale):
    weight = (t(B) * scale).requires_grad_()
    value = d_penalty(GradientPenalty(), lambda x: x @ weight, t(REAL), t(FAKE))
    (gradient,) = torch.autograd.grad(value, weight)
    norm = np.linalg.norm(B)
    np.testing.assert_allclose(gradient, 20 * (scale * norm - 1) * B / norm, rtol=1e-12)


def test_the_penalty_does_not_depend_on_other_samples():
    score = quadratic(t(A), t(B))
    both = d_penalty(R1(), score, t(REAL), t(FAKE))
    alone = [d_penalty(R1(), score, t(REAL[i : i + 1]), t(FAKE[i : i + 1])) for i in range(2)]
    torch.testing.assert_close(both, sum(alone) / 2, rtol=1e-14, atol=0)


@given(st.permutations(range(2)), st.floats(0, 1), st.floats(0, 1))
def test_the_order_of_the_samples_does_not_matter(order, u, w):
    noise = t([[u], [w]])
    score = quadratic(t(A), t(B))
    one = d_penalty(GradientPenalty(), score, t(REAL), t(FAKE), noise={"u": noise})
    other = d_penalty(GradientPenalty(), score, t(REAL)[order], t(FAKE)[order], noise={"u": noise[order]})
    torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_images_have_one_norm_a_sample():
    x, y = torch.randn(2, 4, 3, 5, 5, generator=stream(0, "data"), dtype=torch.float64)
    weight = torch.randn(75, generator=stream(1, "data"), dtype=torch.float64)
    value = d_penalty(GradientPenalty(), lambda x: x.flatten(1) @ weight, x, y)
    assert value.item() == pytest.approx(10 * (float(weight.norm()) - 1) ** 2, rel=1e-13)


# -- spectral norm ---------------------------------------------------------------------------------------------

W = [[3.0, 0.0], [4.0, 5.0]]


def test_the_power_iteration_in_fifty_digits():
    golden = [5.0, 6.6717460324828927, 6.7077495702709626]
    with mpmath.workdps(50):
        w, u, expected = mpmath.matrix(W), mpmath.matrix([1, 0]), []
        for _ in range(3):
            v = w.T * u
            v /= mpmath.norm(v)
            u = w * v
            u /= mpmath.norm(u)
            expected.append(float((u.T * w * v)[0]))
    assert expected == pytest.approx(golden, rel=1e-15)
    params = {"layer.weight": t(W)}
    state = {"u:layer.weight": t([1.0, 0.0]), "v:layer.weight": t([0.0, 0.0])}
    for sigma in expected:
        state = SpectralNorm().prepare(params, state)
        normalised = SpectralNorm().reparameterize(params, state)["layer.weight"]
        torch.testing.assert_close(normalised * sigma, t(W), rtol=1e-14, atol=1e-15)


def test_more_iterations_are_as_many_steps():
    params = {"w": t(A)}
    regularizer = SpectralNorm()
    state = {"u:w": t([1.0, 0.0, 0.0]), "v:w": t([0.0, 0.0, 0.0])}
    three = SpectralNorm(iterations=3).prepare(params, state)
    for _ in range(3):
        state = regularizer.prepare(params, state)
    assert all(torch.equal(state[name], three[name]) for name in state)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 3, 4, 4), (1, 9), (9, 1)])
def test_the_largest_singular_value_becomes_one(shape):
    weight = torch.randn(shape, generator=stream(0, "w"), dtype=torch.float64)
    params = {"w": weight, "bias": torch.ones(shape[0], dtype=torch.float64)}
    regularizer = SpectralNorm(iterations=500)
    state = regularizer.prepare(params, regularizer.init(params))
    normalised = regularizer.reparameterize(params, state)
    largest = np.linalg.svd(normalised["w"].flatten(1).numpy(), compute_uv=False)[0]
    assert largest == pytest.approx(1.0, rel=1e-10)
    assert normalised["bias"] is params["bias"]


def test_the_first_sigma_is_close_without_any_training_step():
    weight = torch.randn(64, 128, generator=stream(0, "w"), dtype=torch.float64)
    state = SpectralNorm().init({"w": weight})
    normalised = SpectralNorm().reparameterize({"w": weight}, state)["w"]
    assert 1 <= np.linalg.svd(normalised.numpy(), compute_uv=False)[0] < 1.1


def test_spectral_norm_agrees_with_torchs_own_and_so_does_its_gradient():
    module = nn.Linear(5, 7, dtype=torch.float64)
    weight = module.weight.detach().clone().requires_grad_()
    nn.utils.parametrizations.spectral_norm(module, n_power_iterations=300)
    x = torch.randn(4, 5, generator=stream(0, "data"), dtype=torch.float64)
    regularizer = SpectralNorm(iterations=300)
    state = regularizer.prepare({"w": weight.detach()}, regularizer.init({"w": weight.detach()}))
    ours = regularizer.reparameterize({"w": weight}, state)["w"]
    torch.testing.assert_close(ours, module.weight, rtol=1e-12, atol=1e-14)
    (gradient,) = torch.autograd.grad((x @ ours.T).square().sum(), weight)
    (x @ module.weight.T).square().sum().backward()
    torch.testing.assert_close(gradient, module.parametrizations.weight.original.grad, rtol=1e-9, atol=1e-10)


def test_a_weight_of_zero_stays_zero_and_can_leave():
    zero = {"w": torch.zeros(2, 3, dtype=torch.float64)}
    regularizer = SpectralNorm()
    state = regularizer.init(zero)
    assert not regularizer.reparameterize(zero, state)["w"].any()
    weight = {"w": t([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])}
    for _ in range(100):
        state = regularizer.prepare(weight, state)
    assert np.linalg.svd(regularizer.reparameterize(weight, state)["w"].numpy(), compute_uv=False)[0] == pytest.approx(
        1
    )


# -- clipping --------------------------------------------------------------------------------------------------

GRADS = {"a": t([3.0, -4.0]), "b": t([12.0])}


@pytest.mark.parametrize(
    ("norm_type", "total", "golden"),
    [(2.0, 13, 0.23076921301775284), (1.0, 19, 0.15789472853185639), (INF, 12, 0.24999997916666840)],
)
def test_gradients_are_clipped_by_one_norm_over_all_of_them(norm_type, total, golden):
    with mpmath.workdps(50):
        factor = 1 / (total + mpmath.mpf("1e-6"))
        expected = {"a": [float(3 * factor), float(-4 * factor)], "b": [float(12 * factor)]}
    assert expected["a"][0] == pytest.approx(golden, rel=1e-15)
    clipped = GradientClipping(norm_type=norm_type).transform_grads(GRADS, GRADS, {})
    for name, values in expected.items():
        assert clipped[name].tolist() == pytest.approx(values, rel=1e-14)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, INF])
@pytest.mark.parametrize("max_norm", [0.1, 5.0, 100.0])
def test_clipping_is_torchs(norm_type, max_norm):
    grads = {
        name: torch.randn(size, generator=stream(0, name), dtype=torch.float64)
        for name, size in {"a": 5, "b": 7}.items()
    }
    params = [nn.Parameter(torch.zeros_like(g)) for g in grads.values()]
    for p, g in zip(params, grads.values(), strict=True):
        p.grad = g.clone()
    nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    clipped = GradientClipping(max_norm=max_norm, norm_type=norm_type).transform_grads(grads, grads, {})
    for p, g in zip(params, clipped.values(), strict=True):
        torch.testing.assert_close(g, p.grad, rtol=1e-15, atol=0)


def test_gradients_below_the_bound_stay_as_they_are():
    for max_norm in (13.1, INF):
        clipped = GradientClipping(max_norm=max_norm).transform_grads(GRADS, GRADS, {})
        assert all(torch.equal(clipped[name], g) for name, g in GRADS.items())


def test_gradients_of_zero_stay_zero():
    zero = {"a": torch.zeros(3)}
    assert not GradientClipping(max_norm=1e-3).transform_grads(zero, zero, {})["a"].any()


def test_entries_of_gradients_are_clipped_one_by_one():
    clipped = ValueClipping(bound=3.5).transform_grads(GRADS, GRADS, {})
    assert {name: g.tolist() for name, g in clipped.items()} == {"a": [3.0, -3.5], "b": [3.5]}


def test_infinity_can_be_written_in_a_grid():
    assert GradientClipping.from_table({"norm_type": "inf"}).norm_type == INF


def test_weights_are_clipped_with_their_biases():
    params = {"weight": t([[0.5, -0.003], [0.01, -7.0]]), "bias": t([0.02, 0.0])}
    clipped = WeightClipping().project(params, {})
    assert clipped["weight"].tolist() == [[0.01, -0.003], [0.01, -0.01]]
    assert clipped["bias"].tolist() == [0.01, 0.0]
    assert params["bias"].tolist() == [0.02, 0.0]


# -- instance noise --------------------------------------------------------------------------------------------


def test_noise_is_added_to_real_and_fake_samples_in_both_turns():
    regularizer = InstanceNoise(sigma=0.3)
    for player in ("d", "g"):
        batch = Batch(player=player, size=4, shape=(2,), latent=3, dtype=torch.float64, device=torch.device("cpu"))
        noise = regularizer.noise(batch, stream(0, "regularizer-0"))
        rng = stream(0, "regularizer-0")
        for side in ("real", "fake"):
            x = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
            seen = regularizer.augment(x, side, noise, {})
            assert torch.equal(seen, x + 0.3 * torch.randn(4, 2, generator=rng, dtype=torch.float64))
            assert torch.autograd.grad(seen.sum(), x)[0].eq(1).all()


def test_noise_falls_to_none_in_as_many_steps_as_are_said():
    regularizer = InstanceNoise(sigma=0.5, anneal=4)
    noise, x = {"real": t([[1.0]])}, t([[0.0]])
    seen = []
    for steps in range(7):
        state = train([regularizer], steps).regularizers[0]["d"]
        seen.append(regularizer.augment(x, "real", noise, state).item())
    assert seen == pytest.approx([0.5, 0.375, 0.25, 0.125, 0.0, 0.0, 0.0])


# -- refusals --------------------------------------------------------------------------------------------------


def cell(*regularizers, norm="none", output="scores"):
    loss = SimpleNamespace(name="a-loss", output=output)
    return SimpleNamespace(
        discriminator=SimpleNamespace(norm=norm, output=output), regularizers=regularizers, loss=loss
    )


@pytest.mark.parametrize("regularizer", PENALTIES, ids=lambda r: r.label)
def test_penalties_for_each_sample_refuse_batch_normalisation(regularizer):
    assert "batch normalisation" in regularizer.mismatch(cell(regularizer, norm="batch"))
    assert regularizer.mismatch(cell(regularizer, norm="none")) is None
    without = SimpleNamespace(discriminator=object(), regularizers=(), loss=SimpleNamespace(output="scores"))
    assert regularizer.mismatch(without) is None


@pytest.mark.parametrize("regularizer", [GradientPenalty(), SpectralNorm()], ids=lambda r: r.name)
def test_two_bounds_on_the_slope_are_refused_in_any_order(regularizer):
    clip = WeightClipping()
    assert "weight-clipping" in regularizer.mismatch(cell(regularizer, clip))
    assert "weight-clipping" in regularizer.mismatch(cell(clip, regularizer))
    assert regularizer.mismatch(cell(regularizer, R1(), GradientClipping())) is None


def test_vat_refuses_outputs_that_are_no_logits():
    assert "energy" in VAT().mismatch(cell(VAT(), output="energy"))


@pytest.mark.parametrize(
    ("cls", "field"),
    [
        (R1, {"gamma": -1.0}),
        (GradientClipping, {"max_norm": 0.0}),
        (WeightClipping, {"bound": 0.0}),
        (SpectralNorm, {"iterations": 0}),
    ],
)
def test_values_out_of_range_are_refused(cls, field):
    with pytest.raises(ConfigError, match="out of range"):
        cls(**field)
