import pytest
import torch
from stepping import Training
from torch import nn

from ganbench import ConfigError, stream
from ganbench.hooked import lazy_share
from ganbench_zoo.generator_side import PathLength
from ganbench_zoo.optimizers import SGD, Adam, RMSprop
from ganbench_zoo.optimizers_decoupled import AdamW
from ganbench_zoo.regularizers import R1, R2, GradientClipping

SIZES = {"weight": (4, 3), "bias": (4,), "scale": ()}
LR = 3e-3
CASES = [
    (Adam(), lambda p: torch.optim.Adam(p, LR, (0.5, 0.999))),
    (Adam(beta1=0.0, beta2=0.9, eps=1e-6), lambda p: torch.optim.Adam(p, LR, (0.0, 0.9), 1e-6)),
    (Adam(beta1=0.9, beta2=0.99), lambda p: torch.optim.Adam(p, LR, (0.9, 0.99))),
    (AdamW(), lambda p: torch.optim.AdamW(p, LR, (0.5, 0.999), weight_decay=0.01)),
    (AdamW(weight_decay=3.0, beta1=0.9), lambda p: torch.optim.AdamW(p, LR, (0.9, 0.999), weight_decay=3.0)),
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


def test_the_lazy_correction_is_stylegan2s():
    k = 16
    given = Adam(lr_g=1e-3, lr_d=2e-3, beta1=0.5, beta2=0.99, lazy_correction=True)
    share = lazy_share("d", [R1(every=k), GradientClipping(every=3)])
    slow = given.slowed(share)
    assert (slow.lr_g, slow.lr_d) == pytest.approx((1e-3 * k / (k + 1), 2e-3 * k / (k + 1)), rel=1e-15)
    assert (slow.beta1, slow.beta2) == pytest.approx((0.5 ** (k / (k + 1)), 0.99 ** (k / (k + 1))), rel=1e-15)
    assert lazy_share("g", [R1(every=k)]) == 1
    assert lazy_share("g", [PathLength(every=4), R1(every=k)]) == pytest.approx(4 / 5, rel=1e-15)
    assert lazy_share("d", [R1(every=4), R2(every=4)]) == pytest.approx(1 / 1.5, rel=1e-15)
    assert lazy_share("d", [R1()]) == 1
    assert given.slowed(1.0) is given
    assert Adam().slowed(share) == Adam()
    assert SGD().slowed(share) == SGD()


def test_each_player_has_the_correction_of_its_own_penalties():
    def moved(lazy_correction):
        one = Training([R1(every=4)])
        one.optimizer = Adam(lr_g=1e-3, lr_d=1e-3, lazy_correction=lazy_correction)
        game = one.game(1)
        before = {"g": one.state.g.params, "d": one.state.d.params}
        ones = {player: {n: torch.ones_like(p) for n, p in params.items()} for player, params in before.items()}
        state = game.apply_g(game.apply_d(one.state, ones["d"]), ones["g"])
        return {p: getattr(state, p).params["last.weight"] - before[p]["last.weight"] for p in ("g", "d")}

    corrected, plain = moved(lazy_correction=True), moved(lazy_correction=False)
    torch.testing.assert_close(corrected["d"], plain["d"] * 0.8)
    assert torch.equal(corrected["g"], plain["g"])


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
