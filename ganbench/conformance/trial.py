"""Two small networks and whatever is to be tried in a step of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ganbench.derivatives import Autograd
from ganbench.feed import Feed
from ganbench.initial import initial_state
from ganbench.isolation import d_penalty, g_penalty
from ganbench.loss import Loss
from ganbench.networks import Network
from ganbench.optimizer import Optimizer
from ganbench.regularizer import Regularizer
from ganbench.samples import Samples
from ganbench.seeding import global_stream, stream
from ganbench.state import SIDES, Params, Side, Slots, State
from ganbench.step import Game
from ganbench.update import Update

BATCH, LATENT = 8, 4
SHAPES: tuple[tuple[int, ...], ...] = ((2,), (3, 16, 16))
"""Of the samples that components are tried on: the first that a component does not refuse counts."""


class Logistic(Loss):
    """D: E sp(-r) + E sp(f); G: E sp(-f)."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return nn.functional.softplus(-fake).mean()


class Descent(Optimizer):
    """p <- p - lr g."""

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        return {name: p - lr * grads[name] for name, p in params.items()}, slots


class Alternate(Update):
    """D moves, then G."""

    def step(self, game: Any, state: State, turns: Any) -> State:
        for turn in turns.d:
            grads, state = game.d_grads(state, turn)
            state = game.apply_d(state, grads)
        grads, state = game.g_grads(state, turns.g)
        return cast("State", game.apply_g(state, grads))


class _Plain(nn.Module):
    """A small smooth network that takes labels and ignores them."""

    def __init__(self, layers: nn.Sequential, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self.shape = layers, shape

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool | str = False) -> Tensor:  # noqa: FBT001, FBT002 # the contract of codes and parts
        del y
        if code:
            return cast("Tensor", self.layers[:-1](x))
        return cast("Tensor", self.layers(x)).reshape(len(x), *self.shape)


class Trial:
    """Two small networks, the inputs of a step, and the step."""

    def __init__(
        self,
        regularizers: Sequence[Regularizer],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        update: Update | None = None,
    ) -> None:
        self.shape, self.dtype, self.update = shape, dtype, update or Alternate()
        size = math.prod(shape)
        with global_stream(0, "init-g"):
            g = nn.Sequential(nn.Linear(LATENT, 6), nn.Tanh(), nn.Linear(6, size))
            seen = shape
            for r in regularizers:
                _, seen = r.packed(BATCH, seen)
            first = nn.Linear(seen[0], 6) if len(seen) == 1 else nn.Conv2d(seen[0], 6, 3, stride=2)
            flat = first(torch.zeros(1, *seen)).numel()
            d = nn.Sequential(first, nn.Tanh(), nn.Flatten(), nn.Linear(flat, 1))
        networks = Network(_Plain(g, shape).to(dtype)), Network(_Plain(d, ()).to(dtype))
        self.game = Game(
            generator=networks[0],
            discriminator=networks[1],
            loss=Logistic(),
            regularizers=tuple(regularizers),
            active=[True for _ in regularizers],
            optimizer=Descent(lr_g=0.01, lr_d=0.01),
            ema_decay=0.9,
            derivatives=Autograd(),
        )
        real = torch.randn(32, *shape, generator=stream(0, "data"), dtype=torch.float64).to(dtype)
        self.feed = Feed(
            Samples(real),
            self.game.regularizers,
            seed=0,
            batch=BATCH,
            d_turns=self.update.d_turns,
            latent=LATENT,
            shape=shape,
            dtype=dtype,
            device=torch.device("cpu"),
        )
        self.turns = self.feed.turns(self.game.active)
        self.state = initial_state(
            networks[0],
            networks[1],
            self.game.regularizers,
            self.game.optimizer,
            self.game.loss,
            self.update,
        )

    def step(self, state: State, turns: Any) -> State:
        return self.update.step(self.game, state, turns)

    def play(self) -> State:
        """The state after three steps on the same inputs."""
        state = self.state
        for _ in range(3):
            state = self.game.finish(self.step(state, self.turns))
        return state

    def penalty(self, hook: str) -> tuple[Tensor, Params]:
        """The penalty [] of the only regularizer, and the parameters of its player, which it is a function of."""
        (regularizer,), turn = self.game.regularizers, self.turns.d[0]
        leaves: dict[Side, Params] = {
            player: {n: p.detach().requires_grad_() for n, p in getattr(self.state, player).params.items()}
            for player in SIDES
        }

        def score(x: Tensor) -> Tensor:
            return self.game.discriminator(leaves["d"], self.state.d.buffers, x)[0]

        def generate(z: Tensor) -> Tensor:
            return self.game.generator(leaves["g"], self.state.g.buffers, z)[0]

        def code(x: Tensor) -> Tensor:
            return self.game.discriminator(leaves["d"], self.state.d.buffers, x, None, True)[0]

        def part(player: Side, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
            network = self.game.generator if player == "g" else self.game.discriminator
            return network(leaves[player], getattr(self.state, player).buffers, x, labels, name)[0]

        if hook == "g_penalty":
            value = g_penalty(
                regularizer, score, generate, turn.latents, real=turn.real, state=self.own("g"), code=code, part=part
            )
            return value, leaves["g"]
        fake = generate(turn.latents).detach()
        value = d_penalty(
            regularizer, score, turn.real, fake, latents=turn.latents, generate=generate, state=self.own("d"), part=part
        )
        return value, leaves["d"]

    def scores(self, x: Tensor) -> Tensor:
        """D's scores [B] of ``x`` in the generator's turn."""
        return self.game.critic("g", self.state, self.turns.g).output(x)

    def own(self, player: Literal["g", "d"]) -> Slots:
        """The state of the only regularizer in ``player``'s turn."""
        slots = self.state.regularizers[0]
        return slots.get(player) or next(iter(slots.values()))
