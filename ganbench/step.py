"""One seed's objectives as pure functions of its state; no technique is known here by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ganbench.critic import Critic
from ganbench.derivatives import Derivatives
from ganbench.errors import ContractError
from ganbench.loss import Loss, LossStep
from ganbench.networks import Network
from ganbench.optimizer import Optimizer, is_plain
from ganbench.regularizer import HOOK_POINTS, DStep, GStep, Regularizer
from ganbench.state import SIDES, Params, Player, Side, Slots, State, Turn
from ganbench.update import Update

AllSlots = tuple[dict[str, Slots], ...]


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
    hooked: dict[str, tuple[tuple[int, Regularizer], ...]] = field(init=False)
    """For each hook point, the active regularizers that use it, with their positions."""

    def __post_init__(self) -> None:
        movers = {player: self.optimizer.slowed(lazy_share(player, self.regularizers)) for player in SIDES}
        active = [(i, r) for i, (r, on) in enumerate(zip(self.regularizers, self.active, strict=True)) if on]
        hooked = {hook: tuple((i, r) for i, r in active if r.uses(hook)) for hook in HOOK_POINTS}
        # the only writes to a frozen value
        object.__setattr__(self, "movers", movers)
        object.__setattr__(self, "hooked", hooked)

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

    @property
    def _generator(self) -> Callable[..., tuple[Tensor, Params]]:
        """The generator as the objectives call it."""
        return self.generator.lowered if self.lowered else self.generator

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
        return self._transform(player, grads, after)

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        """The gradient of ``function``, itself differentiable in whatever ``at`` and the function depend on."""
        return self.derivatives.slope(function, at)

    def fake_scores(self, state: State, turn: Turn) -> Tensor:
        """D(G(z)) [B], differentiable as :meth:`d_objective` is."""
        slots = self._prepare("d", state)
        fake, _ = self.generator(
            self._effective("g", state.g.params, slots), state.g.buffers, turn.latents, turn.labels
        )
        return self.critic("d", state, turn, slots).output(self._augment(fake, "fake", turn, slots))

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """``d_loss(D(x), D(G(z))) + sum of every * d_penalty``, and the state after the turn.

        It is differentiable, as often as its components are, in the parameters of both players in ``state`` and
        in the latents of ``turn``. Where these carry no history, none is recorded for the fakes.
        """
        slots = self._prepare("d", state)
        g_params = self._effective("g", state.g.params, slots)
        raw, g_buffers = self._generator(g_params, state.g.buffers, turn.latents, turn.labels)
        self._check_samples(raw, turn.real)

        def generate(z: Tensor, labels: Tensor | None = None) -> Tensor:
            return self.generator(g_params, state.g.buffers, z, turn.labels if labels is None else labels)[0]

        critic = self.critic("d", state, turn, slots)
        remember = bool(self.hooked["d_penalty"])
        shown = turn.real, raw
        for i, r in self.hooked["mix"]:
            shown = r.mix(*shown, turn.noise[i], self._own(i, "d", slots))
        real, real_output = critic.main(self._augment(shown[0], "real", turn, slots), remember=remember)
        fake, fake_output = critic.main(self._augment(shown[1], "fake", turn, slots), remember=remember)
        critic.judge = lambda output: self.loss.score(output, real_output, fake_output)
        seen = LossStep(real=real, fake=fake, state=state.loss, code=critic.code)
        loss = total = self.loss.d_loss_at(real_output, fake_output, seen)
        real_told, fake_told = real_output.detach(), fake_output.detach()
        own = state.loss
        if self.loss.observes():
            with torch.no_grad():
                own = self.loss.observe(real_told, fake_told, own)
        logs = {"d_loss": loss.detach(), "d_real": real_told.mean(), "d_fake": fake_told.mean()}
        logs |= {f"loss-{name}": value for name, value in own.items() if value.dim() == 0}

        def part(player: Side, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
            if player == "d":
                return critic.part(name, x, labels)
            labels = turn.labels if labels is None else labels
            return self.generator(g_params, state.g.buffers, x, labels, name)[0]

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
                state=self._own(i, "d", slots),
                step=state.step,
                score=critic.score,
                score_grad=critic.score_grad,
                score_and_grad=critic.score_and_grad,
                generate=generate,
                part=part,
                kept=kept[i],
            )

        for i, regularizer in self.hooked["d_penalty"]:
            penalty = scalar(regularizer.d_penalty(at(i)), regularizer, "d_penalty")
            total = total + regularizer.every * penalty
            logs[f"d_penalty-{i}"] = penalty.detach()
        total, weights = self._weighed("d", total, state, slots)
        logs |= weights
        after = state._replace(
            g=state.g._replace(buffers=g_buffers),
            d=state.d._replace(buffers=critic.buffers),
            regularizers=self._observe("d", at, slots),
            loss=own,
            logs=state.logs | logs,
        )
        if self.loss.diagnostics:
            with torch.no_grad():
                told = self.loss.diagnose(real_told, fake_told)
                after = after.tallied({f"loss-{name}": told[name] for name in self.loss.diagnostics})
        return total, after

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """``g_loss(D(G(z)), D(x)) + sum of every * g_penalty``, and the state after the turn.

        It is differentiable as :meth:`d_objective` is.
        """
        slots = self._prepare("g", state)
        critic = self.critic("g", state, turn, slots)
        seen_real = turn.real
        if self.loss.paired or self.loss.informed():
            seen_real = self._augment(turn.real, "real", turn, slots)
        real_output = critic.judged(seen_real) if self.loss.paired else None
        g_params = self._effective("g", state.g.params, slots)
        fake, g_buffers = self._generator(g_params, state.g.buffers, turn.latents, turn.labels)
        seen_fake = self._augment(fake, "fake", turn, slots)
        fake_output = critic.judged(seen_fake)
        # what a score compares with is a constant, or one sample's gradient would pass through the others
        critic.judge = lambda output: self.loss.score(output, real_output, fake_output.detach())
        seen = LossStep(real=seen_real, fake=seen_fake, state=state.loss, code=critic.code)
        loss = total = self.loss.g_loss_at(fake_output, real_output, seen)
        logs = {"g_loss": loss.detach()}

        def generate(z: Tensor, labels: Tensor | None = None) -> Tensor:
            return self.generator(g_params, state.g.buffers, z, turn.labels if labels is None else labels)[0]

        def part(player: Side, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
            if player == "d":
                return critic.part(name, x, labels)
            labels = turn.labels if labels is None else labels
            return self.generator(g_params, state.g.buffers, x, labels, name)[0]

        kept: list[Slots] = [{} for _ in self.regularizers]

        def at(i: int) -> GStep:
            return GStep(
                real=turn.real,
                fake=fake,
                labels=turn.labels,
                latents=turn.latents,
                real_scores=None if real_output is None else critic.judge(real_output),
                fake_scores=critic.judge(fake_output),
                noise=turn.noise[i],
                state=self._own(i, "g", slots),
                step=state.step,
                score=critic.score,
                score_grad=critic.score_grad,
                score_and_grad=critic.score_and_grad,
                generate=generate,
                part=part,
                kept=kept[i],
                code=critic.code,
            )

        for i, regularizer in self.hooked["g_penalty"]:
            penalty = scalar(regularizer.g_penalty(at(i)), regularizer, "g_penalty")
            total = total + regularizer.every * penalty
            logs[f"g_penalty-{i}"] = penalty.detach()
        total, weights = self._weighed("g", total, state, slots)
        logs |= weights
        after = state._replace(
            g=state.g._replace(buffers=g_buffers),
            regularizers=self._observe("g", at, slots),
            logs=state.logs | logs,
        )
        return total, after

    @torch.no_grad()
    def apply_d(self, state: State, grads: Params) -> State:
        """The state after the optimizer moved the discriminator and ``project`` was applied."""
        return state._replace(d=self._move("d", state.d, grads, state))

    @torch.no_grad()
    def apply_g(self, state: State, grads: Params) -> State:
        """The state after the optimizer moved the generator and ``project`` was applied."""
        return state._replace(g=self._move("g", state.g, grads, state))

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
            torch._foreach_mul_(moved, weights)
            torch._foreach_add_(moved, old)
        return state._replace(ema={**dict(zip(names, moved, strict=True)), **state.g.buffers}, step=state.step + 1)

    # -- folding the regularizers ------------------------------------------------------------------------------

    def _own(self, i: int, player: Side, slots: AllSlots) -> Slots:
        """The state of the i-th regularizer in ``player``'s turn: one for each network it acts on."""
        on = self.regularizers[i].on
        return slots[i][player if on == "both" else on]

    def _prepare(self, player: Side, state: State) -> AllSlots:
        slots = state.regularizers
        params = getattr(state, player).params
        for i, r in self.hooked["prepare"]:
            if r.acts_on(player):
                with torch.no_grad():
                    slots = _put(slots, i, player, r.prepare(params, slots[i][player]))
        return slots

    def _effective(self, player: Side, params: Params, slots: AllSlots) -> Params:
        """The parameters the network is called with. Not lazy: a network is the same function in every step."""
        for i, r in enumerate(self.regularizers):
            if r.acts_on(player) and r.uses("reparameterize"):
                params = r.reparameterize(params, slots[i][player])
        return params

    def critic(self, player: Side, state: State, turn: Turn, slots: AllSlots | None = None) -> Critic:
        """The discriminator as it is called in ``player``'s turn, with ``slots`` in place of the state's."""
        slots = state.regularizers if slots is None else slots
        wrappers = [(r, turn.noise[i], self._own(i, "d", slots)) for i, r in self.hooked["score"]]
        params = self._effective("d", state.d.params, slots)
        return Critic(
            self.discriminator,
            self.loss,
            self.derivatives,
            params,
            state.d.buffers,
            turn.labels,
            player=player,
            wrappers=wrappers,
            noise=turn.d_noise,
            lowered=self.lowered,
        )

    def _weighed(self, player: Side, total: Tensor, state: State, slots: AllSlots) -> tuple[Tensor, dict[str, Tensor]]:
        """``total`` with the penalties on the parameters of ``player``, and what is to be logged of them."""
        logs = {}
        for i, r in self.hooked["weight_penalty"]:
            if r.acts_on(player):
                value = r.weight_penalty(getattr(state, player).params, slots[i][player])
                penalty = scalar(value, r, "weight_penalty")
                total = total + r.every * penalty
                logs[f"{player}_weight_penalty-{i}"] = penalty.detach()
        return total, logs

    def _augment(self, x: Tensor, side: Literal["real", "fake"], turn: Turn, slots: AllSlots) -> Tensor:
        for i, r in self.hooked["augment"]:
            x = r.augment(x, side, turn.noise[i], self._own(i, "d", slots))
        return x

    def _observe(self, player: Side, at: Callable[[int], Any], slots: AllSlots) -> AllSlots:
        for i, r in self.hooked["observe"]:
            if r.acts_on(player):
                with torch.no_grad():
                    slots = _put(slots, i, player, r.observe(at(i), slots[i][player]))
        return slots

    def _transform(self, player: Side, grads: Params, state: State) -> tuple[Params, State]:
        if not self.hooked["transform_grads"]:
            return grads, state
        with torch.no_grad():
            return self._transformed(player, grads, state)

    def _transformed(self, player: Side, grads: Params, state: State) -> tuple[Params, State]:
        params = getattr(state, player).params
        for i, r in self.hooked["transform_grads"]:
            if r.acts_on(player):
                own = state.regularizers[i][player]
                if r.diagnostics:
                    told = r.diagnose(grads, params, own)
                    state = state.tallied({f"{player}_{name}-{i}": told[name] for name in r.diagnostics})
                grads = r.transform_grads(grads, params, own)
        return grads, state

    def _move(self, player: Side, net: Player, grads: Params, state: State) -> Player:
        mover = self.movers[player]
        params, slots = mover.update(net.params, grads, net.optimizer, mover.rate(player))
        return net._replace(params=self.project(player, params, state.regularizers), optimizer=slots)

    def projects(self, player: Side) -> bool:
        """Whether an active regularizer projects the parameters of ``player``."""
        return any(r.acts_on(player) for _, r in self.hooked["project"])

    def project(self, player: Side, params: Params, slots: AllSlots) -> Params:
        """The parameters of ``player`` after every active projection."""
        for i, r in self.hooked["project"]:
            if r.acts_on(player):
                params = r.project(params, slots[i][player])
        return params

    @staticmethod
    def _check_samples(fake: Tensor, real: Tensor) -> None:
        if fake.shape != real.shape:
            raise ContractError(
                f"the generator returned samples of shape {list(fake.shape)}, expected {list(real.shape)}"
            )


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


def lazy_share(player: Side, regularizers: Sequence[Regularizer]) -> float:
    """1 / (1 + sum of 1 / every), over the penalties of ``player`` that are not in every step; k / (k + 1) for one."""
    own = [r for r in regularizers if r.every > 1 and _penalizes(r, player)]
    return 1 / (1 + sum(1 / r.every for r in own))


def _penalizes(regularizer: Regularizer, player: Side) -> bool:
    on_weights = regularizer.uses("weight_penalty") and regularizer.acts_on(player)
    return on_weights or regularizer.uses(f"{player}_penalty")


def effective_generator(params: Params, regularizers: Sequence[Regularizer], slots: AllSlots) -> Params:
    """The parameters that the generator is sampled with, reparameterized as in training."""
    for r, own in zip(regularizers, slots, strict=True):
        if r.acts_on("g") and r.uses("reparameterize"):
            params = r.reparameterize(params, own["g"])
    return params


def _put(slots: AllSlots, i: int, player: Side, new: Slots) -> AllSlots:
    return (*slots[:i], {**slots[i], player: new}, *slots[i + 1 :])


def scalar(value: Tensor, regularizer: Regularizer, hook: str) -> Tensor:
    """``value``, which a penalty returned, if it is a single number.

    Raises:
        ContractError: it has dimensions.
    """
    if value.dim() != 0:
        raise ContractError(
            f"{regularizer.name}.{hook} returned a tensor of shape {list(value.shape)}, expected a single number []",
            hint="average it over the batch with .mean()",
        )
    return value
