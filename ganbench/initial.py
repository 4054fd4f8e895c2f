"""The state before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ganbench.loss import Loss
from ganbench.networks import Network
from ganbench.optimizer import Optimizer
from ganbench.regularizer import Regularizer
from ganbench.state import SIDES, Player, State
from ganbench.update import Update


def initial_state(
    generator: Network,
    discriminator: Network,
    regularizers: Sequence[Regularizer],
    optimizer: Optimizer,
    loss: Loss | None = None,
    update: Update | None = None,
) -> State:
    """The state before the first step, from freshly built networks; what has no state of its own may be left out."""
    like = next(iter(generator.params.values()))
    players = {
        "g": Player(generator.params, generator.buffers, optimizer.init(generator.params)),
        "d": Player(discriminator.params, discriminator.buffers, optimizer.init(discriminator.params)),
    }
    state = State(
        g=players["g"],
        d=players["d"],
        ema={name: p.clone() for name, p in (generator.params | generator.buffers).items()},
        regularizers=tuple(
            {player: r.init(net.params) for player, net in players.items() if r.acts_on(player)}  # type: ignore[arg-type] # the keys are "g" and "d"
            for r in regularizers
        ),
        loss={} if loss is None else loss.init(like),
        update={},
        step=torch.zeros((), dtype=torch.int64, device=like.device),
        tallies={name: like.new_zeros(2) for name in _diagnostics(regularizers, loss)},
        logs={},
    )
    return state if update is None else state._replace(update=update.init(state))


def _diagnostics(regularizers: Sequence[Regularizer], loss: Loss | None) -> Iterator[str]:
    """The names under which diagnostics are tallied."""
    for name in loss.diagnostics if loss else ():
        yield f"loss-{name}"
    for i, r in enumerate(regularizers):
        for player in SIDES:
            if r.acts_on(player):
                yield from (f"{player}_{name}-{i}" for name in r.diagnostics)
