import numpy as np
import pytest
import torch
from stepping import Training, parameters, train

from ganbench import stream
from ganbench_zoo.penalties_weight import HistoricalAveraging, Orthogonal, SpectralIsometry, WeightDecay

W = [[1.0, 2.0], [3.0, 4.0]]


def t(values):
    return torch.tensor(values, dtype=torch.float64)


PARAMS = {"w": t(W), "bias": t([5.0, -1.0])}


@pytest.mark.parametrize(("variant", "golden"), [("rows", 242), ("columns", 392), ("brock", 834)])
def test_three_penalties_go_by_the_name_of_orthogonal(variant, golden):
    w = np.array(W)
    products = w.T @ w if variant == "columns" else w @ w.T
    expected = ((products - np.eye(2) if variant == "brock" else products * (1 - np.eye(2))) ** 2).sum()
    assert expected == golden
    assert Orthogonal(weight=0.5, variant=variant).weight_penalty(PARAMS, {}) == 0.5 * golden


def test_bigganss_gradient_is_that_of_half_the_penalty():
    w = torch.randn(3, 2, 2, generator=stream(0, "w"), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(Orthogonal(weight=5e-5).weight_penalty({"w": w}, {}), w)
    flat = w.detach().flatten(1)
    injected = 2 * 1e-4 * (flat @ flat.T * (1 - torch.eye(3))) @ flat
    torch.testing.assert_close(gradient.flatten(1), injected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 2, 3, 3)])
def test_the_isometry_penalty_is_the_largest_singular_value_of_the_deviation(shape):
    params = {"w": torch.randn(shape, generator=stream(0, "w"), dtype=torch.float64)}
    regularizer = SpectralIsometry(weight=2.0, iterations=2000)
    state = regularizer.prepare(params, regularizer.init(params))
    flat = params["w"].flatten(1).numpy()
    expected = np.linalg.norm(flat @ flat.T - np.eye(len(flat)), 2)
    assert regularizer.weight_penalty(params, state).item() == pytest.approx(2 * expected, rel=1e-8)
    leaf = params["w"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(regularizer.weight_penalty({"w": leaf}, state), leaf)
    values, vectors = np.linalg.eigh(flat @ flat.T - np.eye(len(flat)))
    i = np.argmax(np.abs(values))
    sigma = 2 * 2 * np.sign(values[i]) * np.outer(vectors[:, i], vectors[:, i]) @ flat
    np.testing.assert_allclose(gradient.flatten(1), sigma, rtol=1e-4, atol=1e-4)


def test_an_orthogonal_matrix_has_no_isometry_penalty_and_a_finite_gradient():
    leaf = torch.eye(3, dtype=torch.float64).requires_grad_()
    regularizer = SpectralIsometry()
    state = regularizer.prepare({"w": leaf.detach()}, regularizer.init({"w": leaf.detach()}))
    value = regularizer.weight_penalty({"w": leaf}, state)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value == 0
    assert not gradient.any()


def test_weight_decay_adds_the_weights_to_the_gradients_as_torch_does():
    leaves = {name: p.clone().requires_grad_() for name, p in PARAMS.items()}
    WeightDecay(weight=0.3).weight_penalty(leaves, {}).backward()
    ours = {name: p.detach() - 0.1 * p.grad for name, p in leaves.items()}
    theirs = [p.clone().requires_grad_() for p in PARAMS.values()]
    for p in theirs:
        p.grad = torch.zeros_like(p)
    torch.optim.SGD(theirs, lr=0.1, weight_decay=0.3).step()
    for name, p in zip(ours, theirs, strict=True):
        torch.testing.assert_close(ours[name], p.detach(), rtol=1e-15, atol=1e-15)


def test_the_history_is_the_mean_of_the_parameters_before_every_turn():
    regularizer = HistoricalAveraging(weight=0.5)
    history, state = [], regularizer.init(PARAMS)
    for i in range(4):
        params = {name: (i + 1) ** 2 * p for name, p in PARAMS.items()}
        history.append(params)
        state = regularizer.prepare(params, state)
        means = {name: sum(p[name] for p in history) / len(history) for name in params}
        expected = 0.5 * sum(((params[name] - m) ** 2).sum() for name, m in means.items())
        torch.testing.assert_close(regularizer.weight_penalty(params, state), expected, rtol=1e-13, atol=1e-13)


def test_penalties_on_weights_are_scaled_when_lazy_and_logged_for_each_player():
    lazy = parameters(train([WeightDecay(weight=0.01, every=4, on="both")], 1))
    eager = parameters(train([WeightDecay(weight=0.04, on="both")], 1))
    assert all(torch.allclose(lazy[name], p, rtol=0, atol=1e-15) for name, p in eager.items())
    state = train([WeightDecay(weight=2.0, on="both")], 1)
    start = Training([]).state
    for player in ("g", "d"):
        expected = sum(p.square().sum() for p in getattr(start, player).params.values())
        torch.testing.assert_close(state.logs[f"{player}_weight_penalty-0"], expected)
    assert "g_weight_penalty-0" not in train([WeightDecay()], 1).logs
