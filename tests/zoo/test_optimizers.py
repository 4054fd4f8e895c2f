import pytest
import torch
from torch import nn

from ganbench import ConfigError, stream
from ganbench_zoo.optimizers import SGD, Adam, RMSprop

SIZES = {"weight": (4, 3), "bias": (4,), "scale": ()}
LR = 3e-3
CASES = [
    (Adam(), lambda p: torch.optim.Adam(p, LR, (0.5, 0.999))),
    (Adam(beta1=0.0, beta2=0.9, eps=1e-6), lambda p: torch.optim.Adam(p, LR, (0.0, 0.9), 1e-6)),
    (Adam(beta1=0.9, beta2=0.99), lambda p: torch.optim.Adam(p, LR, (0.9, 0.99))),
    (SGD(), lambda p: torch.optim.SGD(p, LR)),
    (SGD(momentum=0.9), lambda p: torch.optim.SGD(p, LR, momentum=0.9)),
    (RMSprop(), lambda p: torch.optim.RMSprop(p, LR)),
    (RMSprop(alpha=0.9, eps=1e-6), lambda p: torch.optim.RMSprop(p, LR, alpha=0.9, eps=1e-6)),
]
OPTIMIZERS = pytest.mark.parametrize("optimizer", [pytest.param(case[0], id=case[0].label) for case in CASES])


def draw(name, dtype=torch.float64, seeds=()):
    rng = stream(0, name)
    return {n: torch.randn((*seeds, *s), generator=rng, dtype=torch.float64).to(dtype) for n, s in SIZES.items()}


def steps(optimizer, params, grads, lr=LR):
    slots = optimizer.init(params)
    for g in grads:
        params, slots = optimizer.update(params, g, slots, lr)
    return params, slots


@pytest.mark.parametrize(("optimizer", "theirs"), [pytest.param(*c, id=c[0].label) for c in CASES])
def test_a_hundred_updates_are_those_of_torch(optimizer, theirs):
    grads = [draw(f"grads-{i}") for i in range(100)]
    leaves = {name: nn.Parameter(p.clone()) for name, p in draw("params").items()}
    reference = theirs(list(leaves.values()))
    for g in grads:
        for name, leaf in leaves.items():
            leaf.grad = g[name].clone()
        reference.step()
    params, _ = steps(optimizer, draw("params"), grads)
    for name, leaf in leaves.items():
        torch.testing.assert_close(params[name], leaf.detach(), rtol=1e-12, atol=1e-14)


@OPTIMIZERS
def test_stacked_seeds_move_as_each_alone(optimizer):
    grads = [draw(f"grads-{i}", seeds=(3,)) for i in range(5)]
    together, _ = steps(optimizer, draw("params", seeds=(3,)), grads)
    for seed in range(3):
        alone, _ = steps(
            optimizer,
            {n: p[seed] for n, p in draw("params", seeds=(3,)).items()},
            [{n: t[seed] for n, t in g.items()} for g in grads],
        )
        for name, p in alone.items():
            torch.testing.assert_close(together[name][seed], p, rtol=1e-14, atol=1e-15)


@OPTIMIZERS
def test_gradients_and_slots_may_lie_in_memory_as_they_like(optimizer):
    """As second derivatives of convolutions do; a fused kernel goes by position in memory."""
    shape = {"weight": (5, 3, 4, 4)}
    rng = stream(0, "layout")
    params, *grads = ({n: torch.randn(s, generator=rng) for n, s in shape.items()} for _ in range(4))
    strewn = [{n: g.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2) for n, g in step.items()} for step in grads]
    assert strewn[0]["weight"].stride() != params["weight"].stride()
    expected, slots = steps(optimizer, params, grads)
    assert torch.equal(steps(optimizer, params, strewn)[0]["weight"], expected["weight"])
    for values in slots.values():
        values.update({n: t.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1) for n, t in values.items() if t.dim()})
    _, tidy = steps(optimizer, params, grads)
    again, reference = (optimizer.update(expected, grads[0], given, LR)[0] for given in (slots, tidy))
    assert torch.equal(again["weight"], reference["weight"])


@OPTIMIZERS
def test_nothing_is_written_in_place(optimizer):
    params, grads = draw("params"), draw("grads")
    _, slots = steps(optimizer, params, [grads])
    before = {kind: {n: t.clone() for n, t in values.items()} for kind, values in slots.items()}
    optimizer.update(params, grads, slots, LR)
    assert all(torch.equal(t, draw("params")[n]) for n, t in params.items())
    assert all(torch.equal(t, draw("grads")[n]) for n, t in grads.items())
    assert all(torch.equal(t, before[kind][n]) for kind, values in slots.items() for n, t in values.items())


@OPTIMIZERS
def test_the_order_of_the_gradients_does_not_matter(optimizer):
    grads = draw("grads")
    one, _ = steps(optimizer, draw("params"), [grads])
    other, _ = steps(optimizer, draw("params"), [dict(reversed(grads.items()))])
    assert all(torch.equal(one[n], other[n]) for n in one)


@OPTIMIZERS
def test_types_are_kept(optimizer):
    params, slots = steps(optimizer, draw("params", torch.float32), [draw("grads", torch.float32)] * 3)
    assert all(p.dtype == torch.float32 for p in params.values())
    for kind, values in slots.items():
        assert all(t.dtype == (torch.float64 if kind == "step" else torch.float32) for t in values.values())


@OPTIMIZERS
def test_a_learning_rate_of_zero_moves_nothing(optimizer):
    params, _ = steps(optimizer, draw("params"), [draw("grads")] * 3, lr=0.0)
    assert all(torch.equal(p, draw("params")[n]) for n, p in params.items())


def test_adam_counts_in_a_tensor_so_that_a_compiled_step_sees_no_new_constant():
    _, slots = steps(Adam(), draw("params"), [draw("grads")] * 7)
    (count,) = slots["step"].values()
    assert count.shape == ()
    assert count == 7


def test_the_first_update_of_adam_has_the_size_of_the_learning_rate():
    params, grads = draw("params"), draw("grads")
    moved, _ = steps(Adam(eps=0.0), params, [grads])
    for name, p in params.items():
        torch.testing.assert_close(moved[name], p - LR * grads[name].sign(), rtol=1e-12, atol=1e-14)


def test_each_player_has_its_rate():
    optimizer = SGD(lr_g=1.0, lr_d=4.0)
    assert (optimizer.rate("g"), optimizer.rate("d")) == (1.0, 4.0)


def test_momentum_may_be_negative_but_not_run_away():
    params, _ = steps(SGD(momentum=-0.5), draw("params"), [draw("grads")] * 2)
    for name, p in draw("params").items():
        torch.testing.assert_close(params[name], p - LR * 1.5 * draw("grads")[name], rtol=1e-13, atol=1e-14)
    with pytest.raises(ConfigError, match="out of range"):
        SGD(momentum=1.0)
