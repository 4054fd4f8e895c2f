"""One seed's objectives as pure functions of its state; no technique is known here by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ganbench.critic import Critic
from ganbench.derivatives import Derivatives
from ganbench.errors import ContractError
from ganbench.fakes import Fakes
from ganbench.hooked import AllSlots, Hooked, lazy_share
from ganbench.loss import Loss, LossStep
from ganbench.networks import Network
from ganbench.optimizer import Optimizer, is_plain
from ganbench.regularizer import DStep, GStep, Part, Regularizer
from ganbench.state import SIDES, Params, Player, Side, Slots, State, Turn


@dataclass(frozen=True, kw_only=True)
class Game:
    """Both players' objectives for one seed, with the regularizers that are active in this kind of step.

    Args:
        active: for each regularizer, whether ``step % every == 0``; the host decides, so no tensor is asked.
        ema_decay: weight of the past in the generator's running average; at step t it is
            ``min(ema_decay, (1 + t) / (ema_warmup + t))``, so that the first steps do not linger.
        ema_warmup: 1 for no warm-up; its half-life is at most log 2 / (ema_warmup - 1) of the steps so far.
    """

    generator: Network
    discriminator: Network
    loss: Loss
    regularizers: Sequence[Regularizer]
    active: Sequence[bool]
    optimizer: Optimizer
    ema_decay: float
    derivatives: Derivatives
    ema_warmup: float = 10.0
    lowered: bool = False
    """Whether the networks' passes of the objectives, and not those of penalties, are in bfloat16."""
    movers: dict[Side, Optimizer] = field(init=False)
    """``optimizer`` as each player has it."""
    hooked: Hooked = field(init=False)
    """``regularizers`` at the hook points of this kind of step."""

    def __post_init__(self) -> None:
        movers = {player: self.optimizer.slowed(lazy_share(player, self.regularizers)) for player in SIDES}
        # the only writes to a frozen value
        object.__setattr__(self, "movers", movers)
        object.__setattr__(self, "hooked", Hooked(self.regularizers, self.active))

    def given(self, numbers: Slots) -> Game:
        """This game with ``numbers`` [] in place of the fields of its components, by the names of ``family``."""
        if not numbers:
            return self
        values: dict[str, dict[str, Any]] = {}
        for name, value in numbers.items():
            place, _, leaf = name.rpartition(".")
            values.setdefault(place, {})[leaf] = value
        stack = (r.with_values(**values.get(f"regularizer.{i}", {})) for i, r in enumerate(self.regularizers))
        return replace(
            self,
            loss=self.loss.with_values(**values.get("loss", {})),
            optimizer=self.optimizer.with_values(**values.get("optimizer", {})),
            regularizers=tuple(stack),
        )

    def d_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """Gradients of :meth:`d_objective`, and the state after the turn."""
        return self.grads("d", lambda given: self.d_objective(given, turn), state)

    def g_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """Gradients of :meth:`g_objective`, and the state after the turn."""
        return self.grads("g", lambda given: self.g_objective(given, turn), state)

    def grads(
        self, player: Side, objective: Callable[[State], tuple[Tensor, State]], state: State
    ) -> tuple[Params, State]:
        """Gradients of any ``objective`` in ``player``'s parameters after ``transform_grads``, and its state."""
        grads, after = self.derivatives.gradients(
            lambda params: objective(state.with_params(player, params)), getattr(state, player).params
        )
        for side in SIDES:  # the objective had others, or leaves of a graph
            after = after.with_params(side, getattr(state, side).params)
        return self.hooked.transformed(player, grads, after)

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        """The gradient of ``function``, itself differentiable in whatever ``at`` and the function depend on."""
        return self.derivatives.slope(function, at)

    def fake_scores(self, state: State, turn: Turn) -> Tensor:
        """D(G(z)) [B], differentiable as :meth:`d_objective` is."""
        slots = self.hooked.prepared("d", state.d.params, state.regularizers)
        fake = self.fakes(state, turn, slots)(turn.latents)
        return self.critic("d", state, turn, slots).output(self.hooked.augmented(fake, "fake", turn, slots))

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """``d_loss(D(x), D(G(z))) + sum of every * d_penalty``, and the state after the turn.

        It is differentiable, as often as its components are, in the parameters of both players in ``state`` and
        in the latents of ``turn``. Where these carry no history, none is recorded for the fakes.
        """
        hooked = self.hooked
        slots = hooked.prepared("d", state.d.params, state.regularizers)
        fakes = self.fakes(state, turn, slots)
        made, g_buffers = fakes.main(turn.latents)
        _check_samples(made, turn.real)

        critic = self.critic("d", state, turn, slots)
        remember = hooked.uses("d_penalty")
        real, fake = hooked.mixed(turn.real, made, turn, slots)
        real, real_output = critic.main(hooked.augmented(real, "real", turn, slots), remember=remember)
        fake, fake_output = critic.main(hooked.augmented(fake, "fake", turn, slots), remember=remember)
        critic.judge = lambda output: self.loss.score(output, real_output, fake_output)
        seen = LossStep(real=real, fake=fake, state=state.loss, code=critic.code)
        loss = self.loss.d_loss_at(real_output, fake_output, seen)
        own, logs = self._observed(loss, real_output, fake_output, state)
        kept: list[Slots] = [{} for _ in self.regularizers]

        def at(i: int) -> DStep:
            return DStep(
                real=real,
                fake=fake,
                labels=turn.labels,
                real_scores=critic.judge(real_output),
                fake_scores=critic.judge(fake_output),
                latents=turn.latents,
                noise=turn.noise[i],
                state=hooked.own(i, "d", slots),
                step=state.step,
                score=critic.score,
                score_grad=critic.score_grad,
                score_and_grad=critic.score_and_grad,
                generate=fakes,
                part=_parts(critic, fakes),
                kept=kept[i],
            )

        total, penalties = hooked.penalized("d", loss, at, state.d.params, slots)
        after = state._replace(
            g=state.g._replace(buffers=g_buffers),
            d=state.d._replace(buffers=critic.buffers),
            regularizers=hooked.observed("d", at, slots),
            loss=own,
            logs=state.logs | logs | penalties,
        )
        return total, self._diagnosed(after, real_output, fake_output)

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """``g_loss(D(G(z)), D(x)) + sum of every * g_penalty``, and the state after the turn.

        It is differentiable as :meth:`d_objective` is.
        """
        hooked = self.hooked
        slots = hooked.prepared("g", state.g.params, state.regularizers)
        critic = self.critic("g", state, turn, slots)
        real = turn.real
        if self.loss.paired or self.loss.informed():
            real = hooked.augmented(real, "real", turn, slots)
        real_output = critic.judged(real) if self.loss.paired else None
        fakes = self.fakes(state, turn, slots)
        made, g_buffers = fakes.main(turn.latents)
        fake = hooked.augmented(made, "fake", turn, slots)
        fake_output = critic.judged(fake)
        # what a score compares with is a constant, or one sample's gradient would pass through the others
        critic.judge = lambda output: self.loss.score(output, real_output, fake_output.detach())
        seen = LossStep(real=real, fake=fake, state=state.loss, code=critic.code)
        loss = self.loss.g_loss_at(fake_output, real_output, seen)
        kept: list[Slots] = [{} for _ in self.regularizers]

        def at(i: int) -> GStep:
            return GStep(
                real=turn.real,
                fake=made,
                labels=turn.labels,
                latents=turn.latents,
                real_scores=None if real_output is None else critic.judge(real_output),
                fake_scores=critic.judge(fake_output),
                noise=turn.noise[i],
                state=hooked.own(i, "g", slots),
                step=state.step,
                score=critic.score,
                score_grad=critic.score_grad,
                score_and_grad=critic.score_and_grad,
                generate=fakes,
                part=_parts(critic, fakes),
                kept=kept[i],
                code=critic.code,
            )

        total, penalties = hooked.penalized("g", loss, at, state.g.params, slots)
        after = state._replace(
            g=state.g._replace(buffers=g_buffers),
            regularizers=hooked.observed("g", at, slots),
            logs=state.logs | {"g_loss": loss.detach()} | penalties,
        )
        return total, after

    def fakes(self, state: State, turn: Turn, slots: AllSlots) -> Fakes:
        """The generator as it is called in a turn."""
        params = self.hooked.effective("g", state.g.params, slots)
        return Fakes(self.generator, params, state.g.buffers, turn.labels, lowered=self.lowered)

    def critic(self, player: Side, state: State, turn: Turn, slots: AllSlots | None = None) -> Critic:
        """The discriminator as it is called in ``player``'s turn, with ``slots`` in place of the state's."""
        slots = state.regularizers if slots is None else slots
        return Critic(
            self.discriminator,
            self.loss,
            self.derivatives,
            self.hooked.effective("d", state.d.params, slots),
            state.d.buffers,
            turn.labels,
            player=player,
            wrappers=self.hooked.wrappers(turn, slots),
            noise=turn.d_noise,
            lowered=self.lowered,
        )

    def _observed(self, value: Tensor, real: Tensor, fake: Tensor, state: State) -> tuple[Slots, dict[str, Tensor]]:
        """The loss's own state after D's outputs ``real`` and ``fake``, and the logs of its ``value``."""
        real, fake, own = real.detach(), fake.detach(), state.loss
        if self.loss.observes():
            with torch.no_grad():
                own = self.loss.observe(real, fake, own)
        logs = {"d_loss": value.detach(), "d_real": real.mean(), "d_fake": fake.mean()}
        return own, logs | {f"loss-{name}": number for name, number in own.items() if number.dim() == 0}

    def _diagnosed(self, state: State, real: Tensor, fake: Tensor) -> State:
        """``state`` with what the loss tells of D's outputs tallied."""
        if not self.loss.diagnostics:
            return state
        with torch.no_grad():
            told = self.loss.diagnose(real.detach(), fake.detach())
            return state.tallied({f"loss-{name}": told[name] for name in self.loss.diagnostics})

    @torch.no_grad()
    def apply_d(self, state: State, grads: Params) -> State:
        """The state after the optimizer moved the discriminator and ``project`` was applied."""
        return state._replace(d=self._moved("d", state, grads))

    @torch.no_grad()
    def apply_g(self, state: State, grads: Params) -> State:
        """The state after the optimizer moved the generator and ``project`` was applied."""
        return state._replace(g=self._moved("g", state, grads))

    @torch.no_grad()
    def finish(self, state: State) -> State:
        """The state after a whole step: the generator's average follows, the step is counted."""
        names = list(state.g.params)
        old, new = [state.ema[n] for n in names], list(state.g.params.values())
        if is_plain(state.step) and state.step.device.type == "cpu":  # where reading the step costs less than not to
            t = int(state.step)
            weight = 1 - min((1 + t) / (self.ema_warmup + t), self.ema_decay)
            moved = torch._foreach_lerp(old, new, weight)  # noqa: SLF001 # the only public door to them is the optimizers'
        else:
            t64 = state.step.to(torch.float64)
            moved = torch._foreach_sub(new, old)  # noqa: SLF001 # as above
            weights = 1 - torch.clamp((1 + t64) / (self.ema_warmup + t64), max=self.ema_decay)
            # of their type: a GPU takes a whole list at once then, and a CPU need not convert it for each tensor
            torch._foreach_mul_(moved, weights.to(new[0].dtype))
            torch._foreach_add_(moved, old)
        return state._replace(ema={**dict(zip(names, moved, strict=True)), **state.g.buffers}, step=state.step + 1)

    def _moved(self, player: Side, state: State, grads: Params) -> Player:
        net: Player = getattr(state, player)
        mover = self.movers[player]
        params, slots = mover.update(net.params, grads, net.optimizer, mover.rate(player))
        return net._replace(params=self.hooked.projected(player, params, state.regularizers), optimizer=slots)


def _parts(critic: Critic, fakes: Fakes) -> Part:
    """Further outputs of either network."""

    def part(player: Side, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return (critic if player == "d" else fakes).part(name, x, labels)

    return part


def _check_samples(fake: Tensor, real: Tensor) -> None:
    if fake.shape != real.shape:
        raise ContractError(f"the generator returned samples of shape {list(fake.shape)}, expected {list(real.shape)}")
