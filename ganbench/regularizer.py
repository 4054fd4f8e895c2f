"""The role regularizer: hook points, each a pure function for one seed with an identity as its default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from ganbench.component import Component, field

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Generator, Tensor

    from ganbench.state import Params, Side, Slots

On: TypeAlias = Literal["d", "g", "both"]
HOOK_POINTS = (
    "init",
    "noise",
    "prepare",
    "reparameterize",
    "mix",
    "augment",
    "score",
    "observe",
    "d_penalty",
    "g_penalty",
    "weight_penalty",
    "transform_grads",
    "project",
)


class ScoreGrad(Protocol):
    """``score_grad(x)``: per-sample input gradient of the score, [B, *shape]."""

    def __call__(self, x: Tensor, labels: Tensor | None = None, *, create_graph: bool = True) -> Tensor:
        """The gradient of ``score(x)[i]`` with respect to ``x[i]``; with ``create_graph`` it is differentiable."""
        ...


class ScoreAndGrad(Protocol):
    """``score_and_grad(x)``: the scores [B] of x and their per-sample gradient [B, *shape], from one forward pass."""

    def __call__(self, x: Tensor, labels: Tensor | None = None, *, create_graph: bool = True) -> tuple[Tensor, Tensor]:
        """``score(x)`` and ``score_grad(x)``; without ``create_graph`` the gradient is a constant."""
        ...


class Part(Protocol):
    """``part(player, name, x)``: another output of a player's network, if its component has a part of that name."""

    def __call__(self, player: Side, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``forward(x, labels, name)`` of generator or discriminator, differentiable as its usual output is."""
        ...


class Score(Protocol):
    """``score(x)``: what the discriminator says of x, [B]; differentiable in x and in the parameters."""

    def __call__(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The scores of ``x [B, *shape]``; labels default to those of the batch. Running statistics stay frozen."""
        ...


class InnerScore(Protocol):
    """The discriminator as hook point ``score`` finds it: D itself, or as the stack before left it."""

    player: Side
    """Whose turn it is."""

    def __call__(self, x: Tensor) -> Tensor:
        """The scores [B] of ``x [B, *shape]``, with the labels of the call that is being answered."""
        ...

    def with_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The scores [B] of ``x`` and their per-sample gradient [B, *shape] in it, from one forward pass.

        Both are differentiable in the parameters and in ``x``.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The shapes of a turn, for hook point ``noise``, which sees no data.

    Args:
        player: whose turn it is, ``d`` or ``g``.
        size: B.
        shape: of one sample.
        latent: dimension of the latents.
        dtype: of what is drawn.
        device: where it is drawn: the host; a step finds it where the networks are.
    """

    player: Side
    size: int
    shape: tuple[int, ...]
    latent: int
    dtype: torch.dtype
    device: torch.device

    def normal(self, rng: Generator, *shape: int) -> Tensor:
        """Standard normal numbers of ``shape`` (default [B, *sample shape]) on the batch's device."""
        import torch

        size = shape or (self.size, *self.shape)
        return torch.randn(size, generator=rng, dtype=self.dtype).to(self.device, non_blocking=True)

    def uniform(self, rng: Generator, *shape: int) -> Tensor:
        """Numbers uniform on [0, 1) of ``shape`` (default [B, *sample shape]) on the batch's device."""
        import torch

        size = shape or (self.size, *self.shape)
        return torch.rand(size, generator=rng, dtype=self.dtype).to(self.device, non_blocking=True)

    def per_sample(self, rng: Generator) -> Tensor:
        """One uniform number a sample, [B, 1, ...]: it broadcasts over a sample, not over the batch."""
        return self.uniform(rng, self.size, *(1 for _ in self.shape))


@dataclass(frozen=True, kw_only=True)
class DStep:
    """What a regularizer sees in the discriminator's turn.

    ``real`` and ``fake`` [B, *shape] are what D saw (after augmentation), without history, unless an update rule
    derives D's objective in what the fakes come from; ``real_scores`` and
    ``fake_scores`` [B] keep theirs. ``score_grad(real)`` and ``score_grad(fake)`` reuse those forward passes.
    ``noise`` and ``state`` are this regularizer's own; ``step []`` counts finished steps. ``kept`` is empty at first:
    what ``d_penalty`` writes there, ``observe`` finds, and it is forgotten after the turn.
    """

    real: Tensor
    fake: Tensor
    labels: Tensor | None
    real_scores: Tensor
    fake_scores: Tensor
    latents: Tensor
    noise: Slots
    state: Slots
    step: Tensor
    score: Score
    score_grad: ScoreGrad
    score_and_grad: ScoreAndGrad
    generate: Generate
    part: Part
    kept: dict[str, Tensor]


class Generate(Protocol):
    """``generate(z)``: samples [B, *shape]; differentiable in z and, in the generator's turn, in its parameters."""

    def __call__(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The samples of latents ``z [B, latent]``; labels default to those of the batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class GStep:
    """What a regularizer sees in the generator's turn.

    ``fake`` [B, *shape] is G's output before augmentation, with history; ``real`` is the batch as loaded;
    ``real_scores`` are given only if the loss is paired. ``code(x)`` is D's code [B, d] of x, from discriminators
    that have one (``Discriminator.has_code``); it costs another forward pass. ``kept`` is empty at first: what
    ``g_penalty`` writes there, ``observe`` finds, and it is forgotten after the turn.
    """

    real: Tensor
    fake: Tensor
    labels: Tensor | None
    latents: Tensor
    real_scores: Tensor | None
    fake_scores: Tensor
    noise: Slots
    state: Slots
    step: Tensor
    score: Score
    score_grad: ScoreGrad
    score_and_grad: ScoreAndGrad
    generate: Generate
    part: Part
    code: Callable[[Tensor], Tensor]
    kept: dict[str, Tensor]


class Regularizer(Component, role="regularizer"):
    """Whatever is added to a loss, wrapped around a network or done to gradients: any subset of the hook points.

    Pure functions of tensors, for one seed: no ``.item()``, no branch on a tensor, no write to ``self``, no
    global generator. Only ``prepare`` and ``observe`` write state. In a stack, parameter hook points fold in the
    order of the list and penalties add.
    """

    every: int = field(
        default=1, ge=1, doc="lazy interval: applied when step % every == 0, penalties scaled by `every`"
    )
    on: On = "d"
    """The network that init, prepare, reparameterize, observe, weight_penalty, transform_grads and project act on."""
    derives: ClassVar[bool] = False
    """Whether its terms are made of derivatives, so that rules that derive objectives take a third one."""
    diagnostics: ClassVar[tuple[str, ...]] = ()
    """What :meth:`diagnose` tells; the mean since the first step is logged as ``d_NAME-i`` for the i-th regularizer."""

    @classmethod
    def uses(cls, hook: str) -> bool:
        """Whether this class overrides the hook point ``hook``."""
        return getattr(cls, hook) is not getattr(Regularizer, hook)

    @classmethod
    def hook_points(cls) -> tuple[str, ...]:
        """The hook points this class overrides, in the order in which a step reaches them."""
        return tuple(h for h in HOOK_POINTS if cls.uses(h))

    def acts_on(self, player: Side) -> bool:
        """Whether the parameter hook points act on ``player``."""
        return self.on in {player, "both"}

    def init(self, params: Params) -> Slots:
        """The first state, from the parameters of the network it acts on."""
        del params
        return {}

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        """All randomness of one turn, drawn on the host from this regularizer's own stream."""
        del batch, rng
        return {}

    def prepare(self, params: Params, state: Slots) -> Slots:
        """The state before the forward pass of that network's own turn (power iteration)."""
        del params
        return state

    def reparameterize(self, params: Params, state: Slots) -> Params:
        """The parameters that the network is called with, as a differentiable function of the trained ones."""
        del state
        return params

    def mix(self, real: Tensor, fake: Tensor, noise: Slots, state: Slots) -> tuple[Tensor, Tensor]:
        """What D is shown as ``real`` and as ``fake`` [B, *shape] in its own turn, before ``augment``."""
        del noise, state
        return real, fake

    def packed(self, size: int, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The size of a batch and the shape of a sample after ``augment``, of ``size`` samples of ``shape`` before.

        Where they change, D is built for that shape, and regularizers later in a stack draw noise for them.
        """
        return size, shape

    def augment(self, x: Tensor, side: Literal["real", "fake"], noise: Slots, state: Slots) -> Tensor:
        """What D sees instead of ``x [B, *shape]``, in both turns; differentiable in x."""
        del side, noise, state
        return x

    def score(self, inner: InnerScore, x: Tensor, noise: Slots, state: Slots) -> Tensor:
        """What counts as D's scores [B] of ``x [B, *shape]``, wherever D is called; differentiable in x."""
        del noise, state
        return inner(x)

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        """The state after the forward pass of that network's own turn (running means); no gradient flows."""
        del at
        return state

    def d_penalty(self, at: DStep) -> Tensor:
        """A term [] of the discriminator's loss."""
        raise NotImplementedError

    def g_penalty(self, at: GStep) -> Tensor:
        """A term [] of the generator's loss."""
        raise NotImplementedError

    def weight_penalty(self, params: Params, state: Slots) -> Tensor:
        """A term [] of that network's loss from its trained parameters alone; they are not reparameterized."""
        raise NotImplementedError

    def transform_grads(self, grads: Params, params: Params, state: Slots) -> Params:
        """The gradients that the optimizer gets."""
        del params, state
        return grads

    def diagnose(self, grads: Params, params: Params, state: Slots) -> dict[str, Tensor]:
        """A number [] for each name in ``diagnostics``, from the gradients that ``transform_grads`` is about to get."""
        del grads, params, state
        return {}

    def project(self, params: Params, state: Slots) -> Params:
        """The parameters after the optimizer's update."""
        del state
        return params
