"""Checks of the roles inside a step: loss, regularizer, optimizer, update."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ganbench.conformance.findings import Check, Finding, alike, expect, finite, identity, pure, run, same
from ganbench.conformance.trial import BATCH, SHAPES, Trial
from ganbench.loss import Loss, LossStep
from ganbench.optimizer import Optimizer
from ganbench.regularizer import Regularizer
from ganbench.seeding import stream
from ganbench.state import Params
from ganbench.update import Update


def check_loss(loss: Loss) -> list[Finding]:
    """Checks of shapes, gradients and purity of a loss."""
    rng = stream(0, "data")
    size = (BATCH, 5) if loss.output == "embedding" else (BATCH,)
    real, fake = (torch.randn(size, generator=rng, dtype=torch.float64) for _ in range(2))
    if loss.output == "energy":
        real, fake = 4 * real.abs(), fake.abs()  # apart, so that BEGAN's k leaves 0, where D ignores the fakes
    samples = tuple(torch.randn(BATCH, *SHAPES[0], generator=rng, dtype=torch.float64) for _ in range(2))
    first = loss.init(real.new_zeros(()))
    state = loss.observe(real, fake, first)

    def both(real: Tensor, fake: Tensor, order: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        x, y = (s[order].to(real.dtype) for s in samples)
        own = {name: value.to(real.dtype) for name, value in state.items()}
        at = LossStep(real=x, fake=y, state=own, code=lambda x: x)
        return loss.d_loss_at(real, fake, at), loss.g_loss_at(fake, real if loss.paired else None, at)

    def numbers() -> None:
        for value in both(real, fake):
            expect(value.shape == (), f"it returned a tensor of shape {list(value.shape)}, expected a number []")
            expect(value.dtype == torch.float64, f"it returned {value.dtype} for scores in float64")

    def extreme() -> None:
        for dtype in (torch.float32, torch.float64):
            for scale in (0.0, 30.0):
                r, f = (scale * t.sign().to(dtype) for t in (real, fake))
                r, f = r.requires_grad_(), f.requires_grad_()
                for value in both(r, f):
                    grads = torch.autograd.grad(value, (r, f), retain_graph=True, allow_unused=True)
                    finite((value, *(g for g in grads if g is not None)), f"at scores of +-{scale:g} in {dtype}")

    def gradient() -> None:
        r, f = real.clone().requires_grad_(), fake.clone().requires_grad_()
        d, g = both(r, f)
        for name, value, inputs in (("d_loss", d, (r, f)), ("g_loss", g, (f,))):
            expect(value.requires_grad, f"{name} has no gradient: it was detached on the way")
            grads = torch.autograd.grad(value, inputs, allow_unused=True)
            expect(all(t is not None and bool(t.any()) for t in grads), f"{name} ignores some of its scores")

    def order() -> None:
        permutation = torch.randperm(BATCH, generator=stream(0, "order"))
        shuffled = both(real[permutation], fake[permutation], permutation)
        for value, permuted in zip(both(real, fake), shuffled, strict=True):
            expect(torch.allclose(value, permuted, rtol=1e-12, atol=1e-12), f"{value} became {permuted}")

    return run(
        [
            *identity(loss),
            ("returns single numbers, in the type of the scores", numbers),
            ("is finite, with its gradients, at scores of 0 and +-30", extreme),
            ("has a gradient in every score", gradient),
            ("does not depend on the order of the samples", order),
            ("keeps names, shapes and types of its state", lambda: alike(first, state, "the state")),
            *pure(lambda *given: (both(*given[:2]), loss.observe(*given)), (real, fake, state)),
        ]
    )


def check_regularizer(regularizer: Regularizer, *, shape: tuple[int, ...] | None = None) -> list[Finding]:
    """Checks of every hook point that the regularizer uses, alone and in whole steps, on samples of ``shape``."""
    failures = {s: failure(regularizer, s) for s in (SHAPES if shape is None else (shape,))}
    shape = next((s for s, message in failures.items() if message is None), None)
    if shape is None:
        seen = "; ".join(f"on samples of shape {list(s)}: {message}" for s, message in failures.items())
        return [*run(identity(regularizer)), Finding("takes three steps", ok=False, message=seen)]
    trial = Trial((regularizer,), shape, torch.float64)
    own = trial.state.regularizers[0]

    def trains(dtype: torch.dtype) -> Callable[[], None]:
        def test() -> None:
            after = Trial((regularizer,), shape, dtype).play()
            finite(after, f"after three steps in {dtype}")
            for p in (*after.g.params.values(), *after.d.params.values(), *after.logs.values()):
                expect(p.dtype == dtype, f"a step in {dtype} left {p.dtype} behind")

        return test

    def params() -> None:
        for player, slots in own.items():
            before: Params = getattr(trial.state, player).params
            for hook in ("reparameterize", "transform_grads", "project"):
                given = copy.deepcopy(before)
                others = (before, slots) if hook == "transform_grads" else (slots,)
                alike(before, getattr(regularizer, hook)(given, *others), hook)
                expect(all(torch.equal(given[n], p) for n, p in before.items()), f"{hook} wrote to what it was given")

    def slots() -> None:
        for player, before in own.items():
            alike(before, trial.play().regularizers[0][player], f"the state for {player!r}")

    checks = [
        ("stays finite in float32", trains(torch.float32)),
        ("works in float64", trains(torch.float64)),
        ("keeps parameters as they were, and their names, shapes and types", params),
        ("keeps the names, shapes and types of its state", slots),
    ]
    return run(
        [
            *identity(regularizer),
            *checks,
            *_terms(trial),
            *pure(trial.step, (trial.state, trial.turns)),
            *replays(trial),
        ]
    )


def _terms(trial: Trial) -> list[Check]:
    """Checks of what the only regularizer makes of samples and scores, and of its terms of the losses."""
    (regularizer,), own = trial.game.regularizers, trial.state.regularizers[0]

    def augment() -> None:
        turn = trial.turns.d[0]
        for side in ("real", "fake"):
            x = turn.real.clone().requires_grad_()
            slots = next(iter(own.values()))
            seen = regularizer.augment(x, cast("Any", side), turn.noise[0], slots)
            size, shape = regularizer.packed(len(x), tuple(x.shape[1:]))
            expect(seen.shape == (size, *shape), f"{list(x.shape)} became {list(seen.shape)}")
            expect(seen.requires_grad, "no gradient reaches the samples: the generator would not learn")

    def mix() -> None:
        turn = trial.turns.d[0]
        real, fake = turn.real, -turn.real
        slots = next(iter(own.values()))
        for before, after in zip((real, fake), regularizer.mix(real, fake, turn.noise[0], slots), strict=True):
            expect(after.shape == before.shape, f"{list(before.shape)} became {list(after.shape)}")

    def score() -> None:
        fake = trial.turns.g.real.clone().requires_grad_()
        expect(trial.scores(fake).requires_grad, "no gradient reaches the samples: the generator would not learn")

    def weight_penalty() -> None:
        for player, slots in own.items():
            params: Params = getattr(trial.state, player).params
            leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
            value = regularizer.weight_penalty(leaves, slots)
            expect(value.shape == (), f"it returned a tensor of shape {list(value.shape)}, expected a number []")
            expect(value.requires_grad, "it has no gradient: it was detached on the way")
            finite(torch.autograd.grad(value, list(leaves.values()), materialize_grads=True), "in its gradient")

    def penalty(hook: str) -> Callable[[], None]:
        def test() -> None:
            value, leaves = trial.penalty(hook)
            expect(value.requires_grad, f"{hook} has no gradient: it was detached on the way")
            grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
            expect(any(g is not None for g in grads), f"the gradient of {hook} reaches no parameter")
            finite([g for g in grads if g is not None], f"in the gradient of {hook}")

        return test

    named: dict[str, tuple[str, Callable[[], None]]] = {
        "mix": ("mixes without changing shapes", mix),
        "augment": ("augments without changing shapes or cutting gradients", augment),
        "score": ("has a gradient in the samples it scores", score),
        "d_penalty": ("d_penalty is a number with a gradient", penalty("d_penalty")),
        "g_penalty": ("g_penalty is a number with a gradient", penalty("g_penalty")),
        "weight_penalty": ("weight_penalty is a number with a gradient", weight_penalty),
    }
    return [check for hook, check in named.items() if regularizer.uses(hook)]


def check_optimizer(optimizer: Optimizer) -> list[Finding]:
    """Checks that the rule is elementwise, pure and goes downhill."""
    rng = stream(0, "data")

    def draw() -> Params:
        sizes = {"weight": (3, 4), "bias": (3,)}
        return {name: torch.randn(size, generator=rng, dtype=torch.float64) for name, size in sizes.items()}

    inputs = params, first, _ = draw(), draw(), draw()

    def twice(given: Sequence[Params], lr: float = 1e-3) -> tuple[Params, dict[str, Params]]:
        params, first, second = given
        moved, slots = optimizer.update(params, first, optimizer.init(params), lr)
        return optimizer.update(moved, second, slots, lr)

    def kept() -> None:
        moved, slots = twice(inputs)
        alike(params, moved, "the parameters")
        alike(optimizer.init(params), slots, "the slots")
        finite(moved, "among the parameters")

    def elementwise() -> None:
        together, _ = twice([{name: torch.stack([t, -2 * t]) for name, t in p.items()} for p in inputs])
        alone, _ = twice([{name: -2 * t for name, t in p.items()} for p in inputs])
        for name, value in alone.items():
            expect(
                torch.allclose(together[name][1], value, rtol=1e-12, atol=1e-12),
                "a second seed in the stack changed the first",
            )

    def downhill() -> None:
        moved, _ = optimizer.update(params, first, optimizer.init(params), 1e-3)
        slope = sum(float(((moved[n] - p) * first[n]).sum()) for n, p in params.items())
        expect(slope < 0, f"the first move has slope {slope:g} along the gradient")

    def still() -> None:
        moved, _ = twice(inputs, 0.0)
        expect(all(torch.equal(moved[n], p) for n, p in params.items()), "parameters moved at learning rate 0")

    return run(
        [
            *identity(optimizer),
            ("keeps names, shapes and types", kept),
            ("is elementwise, so that seeds can be stacked", elementwise),
            ("goes downhill", downhill),
            ("stays at learning rate 0", still),
            *pure(twice, (inputs,)),
        ]
    )


def check_update(update: Update) -> list[Finding]:
    """Checks that both players move, and that a step is pure."""
    trial = Trial((), SHAPES[0], torch.float64, update)

    def turns() -> None:
        expect(type(update.d_turns) is int and update.d_turns >= 1, f"d_turns is {update.d_turns!r}")

    def moves() -> None:
        after = trial.step(trial.state, trial.turns)
        for player in ("g", "d"):
            before, moved = getattr(trial.state, player).params, getattr(after, player).params
            alike(before, moved, f"the parameters of {player!r}")
            expect(any(not torch.equal(before[n], moved[n]) for n in before), f"{player!r} did not move")
        expect(torch.equal(after.step, trial.state.step), "it counted the step, which the engine does")

    def kept() -> None:
        before, after = trial.state.update, trial.step(trial.state, trial.turns).update
        expect(before.keys() == after.keys(), f"init() gave the slots {[*before]}, and a step left {[*after]}")
        for name, slots in before.items():
            alike(slots, after[name], f"the slots {name!r}")

    return run(
        [
            *identity(update),
            ("has at least one discriminator turn", turns),
            ("moves both players and nothing else", moves),
            ("keeps names, shapes and types of its state", kept),
            *pure(trial.step, (trial.state, trial.turns)),
        ]
    )


def replays(trial: Trial) -> list[Check]:
    """Checks that a second trial of the same seed draws and does the same."""

    def replay() -> None:
        again = Trial(trial.game.regularizers, trial.shape, trial.dtype)
        same(trial.turns, again.turns)
        same(trial.play(), again.play())

    return [("draws the same from the same stream", replay)]


def failure(regularizer: Regularizer, shape: tuple[int, ...]) -> str | None:
    """How training with ``regularizer`` fails on samples of ``shape``, or None."""
    before = torch.get_rng_state()
    try:
        Trial((regularizer,), shape, torch.float64).play()
    except Exception as error:  # noqa: BLE001 # whatever it raises, another shape may suit it
        return f"{type(error).__name__}: {error}"
    finally:
        torch.set_rng_state(before)  # what it drew is for the checks to find
    return None
