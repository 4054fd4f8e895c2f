"""The Dirac-GAN: two parameters on which every technique shows whether it lets the players settle.

Real samples are all 0, G(z) = theta, D(x) = psi x (https://arxiv.org/abs/1801.04406). The equilibrium is
theta = psi = 0. Near it one step is a linear map of everything that a step hands to the next, and the players
settle if and only if the spectral radius of that map is below 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ganbench import checkpoint
from ganbench.conformance.trial import Alternate, Descent, Logistic
from ganbench.derivatives import Autograd
from ganbench.errors import ConfigError, GanbenchError
from ganbench.initial import initial_state
from ganbench.loss import Loss
from ganbench.networks import Network
from ganbench.regularizer import Batch, Regularizer
from ganbench.seeding import stream
from ganbench.state import Side, Slots, State, Turn, Turns
from ganbench.step import Game

if TYPE_CHECKING:
    from torch import Generator

    from ganbench.optimizer import Optimizer
    from ganbench.update import Update

RATE = 0.1
PAIRS = 1024
"""Antithetic pairs of noise in a batch; without noise a batch of two says the same."""
COLUMNS = 64
"""Noise has a design for so many numbers a sample; beyond, it is random."""
STEP = 1e-4
"""Of the finite differences, whose error is of the fourth order in it: 1e-16, as large as rounding."""
ROUGH = 1e-2
"""By how much two estimates of a derivative may differ before there is none."""
SETTLE = 100
"""Periods after which a state that still changes with the players at rest is taken for a clock."""
CPU = torch.device("cpu")


def spectral_radius(
    *,
    loss: Loss | None = None,
    regularizers: Sequence[Regularizer] = (),
    update: Update | None = None,
    optimizer: Optimizer | None = None,
) -> float:
    """The spectral radius of one step at the equilibrium: below 1 the Dirac-GAN converges, above 1 it diverges.

    It is that of the Jacobian of the real step, by differences, as a map of the whole state: both parameters,
    the optimizer's slots, the states of loss and regularizers, and what the update rule remembers. A rule or a
    lazy regularizer that repeats every k steps is taken over k steps. Noise that regularizers draw with
    ``batch.normal`` and ``batch.uniform`` is averaged out: a batch is symmetric and has exact second moments.

    Args:
        loss: by default, the non-saturating one.
        regularizers: a stack.
        update: by default, alternating with one discriminator turn.
        optimizer: by default, gradient descent at 0.1 for both players.

    Raises:
        ConfigError: the loss asks for more than scores, the players do not rest at the equilibrium, or the step
            is not differentiable there, as with Adam or a penalty on the norm of a gradient.
    """
    return float(torch.linalg.eigvals(jacobian(loss, regularizers, update, optimizer)).abs().max())


def verdict(component: Loss | Regularizer) -> str:
    """``converges under sgd lr 0.1 (radius 0.98488)``: what a loss or a regularizer does to the Dirac-GAN.

    Under alternating gradient descent; a regularizer is tried with the non-saturating loss. ``circles`` is said
    of a complex pair of eigenvalues of modulus 1, ``drifts`` of a real one.
    """
    try:
        if isinstance(component, Loss):
            matrix = jacobian(component, (), None, None)
        else:
            matrix = jacobian(None, (component,), None, None)
    except GanbenchError as error:
        return f"not judged: {error}"
    except Exception as error:  # noqa: BLE001 # a component for larger networks may fail on these in any way
        return f"not judged: on the Dirac-GAN it fails with {type(error).__name__}"
    values = torch.linalg.eigvals(matrix)
    radius = float(values.abs().max())
    if abs(radius - 1) > 1e-6:
        word = "converges" if radius < 1 else "diverges"
    else:
        # a double eigenvalue 1 comes out as a pair 1e-8 apart
        word = "circles" if float(values.imag.abs().max()) > 1e-4 else "drifts"
    return f"{word} under sgd lr {RATE:g} (radius {radius:.5f})"


def jacobian(
    loss: Loss | None, regularizers: Sequence[Regularizer], update: Update | None, optimizer: Optimizer | None
) -> Tensor:
    """The derivative [n, n] of one step, or one period, at the equilibrium; n counts the whole state.

    Raises:
        ConfigError: as :func:`spectral_radius`.
    """
    problem = Problem(
        loss or Logistic(),
        tuple(regularizers),
        update or Alternate(),
        optimizer or Descent(lr_g=RATE, lr_d=RATE),
    )
    rest, kept = problem.equilibrium()
    rows = []
    for i in kept:
        behind, far_behind, ahead, far_ahead = (problem.after(rest, i, k * STEP)[kept] for k in (-1, -2, 1, 2))
        near, far = (ahead - behind) / 2, (far_ahead - far_behind) / 4
        slope = (4 * near - far) / (3 * STEP)
        bend = (ahead + behind - 2 * rest[kept]) / STEP
        doubt = torch.maximum(((near - far) / STEP).abs(), bend.abs())
        if not bool((doubt <= ROUGH * (1 + slope.abs())).all()):
            raise ConfigError("the step has no derivative at the equilibrium of the Dirac-GAN")
        rows.append(slope)
    return torch.stack(rows, 1)


class Problem:
    """The Dirac-GAN under some components, as a map from vectors to vectors."""

    def __init__(self, loss: Loss, regularizers: tuple[Regularizer, ...], update: Update, optimizer: Optimizer) -> None:
        if loss.output != "scores":
            raise ConfigError(f"{loss.name} asks the discriminator for {loss.output}, and the Dirac-GAN's has a score")
        self.regularizers, self.update = regularizers, update
        self.size = 2 * PAIRS if any(r.uses("noise") for r in regularizers) else 2
        self.period = math.lcm(update.period, *(r.every for r in regularizers))
        generator, discriminator = Network(_Point()), Network(_Slope())
        self.steps = []
        for number in range(self.period):
            active = tuple(number % r.every == 0 for r in regularizers)
            game = Game(
                generator=generator,
                discriminator=discriminator,
                loss=loss,
                regularizers=regularizers,
                active=active,
                optimizer=optimizer,
                ema_decay=0.0,
                derivatives=Autograd(),
            )
            turns = Turns(tuple(self._turn("d", active) for _ in range(update.d_turns)), self._turn("g", active))
            self.steps.append((game, turns))
        self.start = initial_state(generator, discriminator, regularizers, optimizer, loss, update)

    def equilibrium(self) -> tuple[Tensor, Tensor]:
        """The vector at which the players rest, and the indices [n] of all that rests there; a clock does not.

        Raises:
            ConfigError: the players move.
        """
        state = self.start
        for _ in range(SETTLE):
            before, state = state, self.play(state)
            if torch.equal(vector(before), vector(state)):
                break
        self.start = state._replace(step=torch.zeros_like(state.step))
        rest = vector(self.start)
        still = (vector(self.play(self.start)) - rest).abs() <= 1e-12
        for player in (self.start.g, self.start.d):
            if not all(bool(p.abs().max() <= 1e-12) for p in player.params.values()):  # NaN rests nowhere
                raise ConfigError("the players do not rest at the equilibrium of the Dirac-GAN")
        return rest, still.nonzero()[:, 0]

    def after(self, rest: Tensor, i: Tensor, shift: float) -> Tensor:
        """The vector after a period from ``rest`` with its i-th entry shifted."""
        moved = rest.clone()
        moved[i] += shift
        return vector(self.play(self._state(moved)))

    def play(self, state: State) -> State:
        """The state after one period."""
        for game, turns in self.steps:
            state = game.finish(self.update.step(game, state, turns))
        return state

    def _state(self, values: Tensor) -> State:
        """The inverse of :func:`vector`; what it leaves out is as at the start."""
        tensors = checkpoint.flatten(self.start)
        begin = 0
        for path, like in coordinates(self.start).items():
            tensors[path] = values[begin : begin + like.numel()].reshape(like.shape).to(like.dtype)
            begin += like.numel()
        return checkpoint.unflatten(self.start, tensors, CPU)

    def _turn(self, player: Side, active: Sequence[bool]) -> Turn:
        batch = Design(player=player, size=self.size, shape=(1,), latent=1, dtype=torch.float64, device=CPU, used=[])
        zeros = torch.zeros(self.size, 1, dtype=torch.float64)
        noise: list[Slots] = [
            r.noise(batch, stream(0, f"regularizer-{i}")) if on else {}
            for i, (r, on) in enumerate(zip(self.regularizers, active, strict=True))
        ]
        return Turn(zeros, None, zeros, tuple(noise))


def coordinates(state: State) -> dict[str, Tensor]:
    """What one step hands to the next, by path; averages of the generator and of diagnostics are only outputs."""
    return {
        path: t
        for path, t in checkpoint.flatten(state).items()
        if t.is_floating_point() and not path.startswith(("ema/", "tallies/"))
    }


def vector(state: State) -> Tensor:
    """All coordinates of a state [n]."""
    return torch.cat([t.detach().double().flatten() for t in coordinates(state).values()])


@dataclass(frozen=True, kw_only=True)
class Design(Batch):
    """A batch whose noise is no sample but a design: sums over it are expectations.

    Each number that a sample draws is a coordinate of a Sobol sequence and, in the second half of the batch, of its
    mirror image, so that odd moments vanish. Normal numbers are besides made uncorrelated, with variance 1.
    """

    used: list[Tensor] = dataclasses.field(default_factory=list)
    """One column [B] for each number that was drawn, orthogonal to those before."""

    def uniform(self, rng: Generator, *shape: int) -> Tensor:
        size = shape or (self.size, *self.shape)
        return self._columns(size, normal=False) if self._designed(size) else super().uniform(rng, *shape)

    def normal(self, rng: Generator, *shape: int) -> Tensor:
        size = shape or (self.size, *self.shape)
        return self._columns(size, normal=True) if self._designed(size) else super().normal(rng, *shape)

    def _designed(self, shape: tuple[int, ...]) -> bool:
        return shape[:1] == (self.size,) and self.size > 2 and len(self.used) + math.prod(shape[1:]) <= COLUMNS

    def _columns(self, shape: tuple[int, ...], *, normal: bool) -> Tensor:
        columns = []
        for _ in range(math.prod(shape[1:])):
            column = _sobol()[:, len(self.used)]
            apart = math.sqrt(2) * torch.erfinv(2 * column - 1) if normal else column - 0.5
            for other in self.used:
                apart = apart - (apart @ other) / (other @ other) * other
            self.used.append(apart / apart.square().mean().sqrt())
            columns.append(self.used[-1] if normal else column)
        return torch.stack(columns, 1).reshape(shape)


def _sobol() -> Tensor:
    """Points [2 PAIRS, COLUMNS] in the open unit cube, the second half mirrored."""
    engine = torch.quasirandom.SobolEngine(COLUMNS)  # type: ignore[no-untyped-call] # torch leaves it untyped
    points = engine.draw(PAIRS, dtype=torch.float64) + 0.5 / PAIRS
    return torch.cat([points, 1 - points])


class _Point(nn.Module):
    """``G(z) = theta``: [B, 1] -> [B, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        del y
        return self.theta.expand(len(z), 1)


class _Slope(nn.Module):
    """``D(x) = psi x``: [B, 1] -> [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        del y
        return x[:, 0] * self.psi
