"""An example of a plugin: a drift penalty around a running mean, which is state that checkpoints carry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ganbench import Component, ConfigError, DStep, GStep, Regularizer, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Params, Slots
    from torch import Tensor


class RunningDrift(Regularizer, name="running-drift", source="https://arxiv.org/abs/1710.10196"):
    """weight E (D(x) - m)^2 over real x, where m <- decay m + (1 - decay) E D(x) after each turn of D, from 0.

    With decay = 1, m stays 0: that is the drift term of Karras et al., whose weight is 0.001.
    """

    weight: float = field(default=0.001, ge=0.0, doc="coefficient")
    decay: float = field(default=0.99, ge=0.0, le=1.0, doc="weight of the past in the running mean")

    def validate(self) -> None:
        if self.on != "d":
            raise ConfigError(f"{self.on!r} has no meaning here: the running mean is of D's turn", place=".on")

    def init(self, params: Params) -> Slots:
        like = next(iter(params.values()))  # of the type and on the device of the network
        return {"mean": like.new_zeros(())}

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        assert at.real_scores is not None  # in D's turn they always are
        mean = at.real_scores.mean()
        return {"mean": self.decay * state["mean"] + (1 - self.decay) * mean}

    def d_penalty(self, at: DStep) -> Tensor:
        return self.weight * (at.real_scores - at.state["mean"]).square().mean()


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """What this plugin offers."""
    return [RunningDrift]
