"""One regularizer outside training, so that a test can hold its formula against a closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganbench.critic import Critic
from ganbench.derivatives import Autograd
from ganbench.errors import ContractError
from ganbench.hooked import scalar
from ganbench.loss import Loss
from ganbench.networks import Network
from ganbench.regularizer import Batch, DStep, GStep, Part, Regularizer
from ganbench.seeding import stream
from ganbench.state import Params, Side, Slots

Function = Callable[[Tensor], Tensor]


def d_penalty(
    regularizer: Regularizer,
    score: Function,
    real: Tensor,
    fake: Tensor,
    *,
    seed: int = 0,
    step: int = 0,
    noise: Slots | None = None,
    state: Slots | None = None,
    latents: Tensor | None = None,
    generate: Function | None = None,
    part: Part | None = None,
) -> Tensor:
    """The discriminator penalty [] of ``regularizer``, differentiable in whatever parameters ``score`` closes over.

    It is what a step adds to the loss, but for the factor ``every``; 0 if the regularizer adds none.

    Args:
        regularizer: the one to evaluate, with what it makes of samples and scores, if anything.
        score: any function ``x [B, *shape] -> scores [B]``, such as a module; there are no labels.
        real: samples [B, *shape].
        fake: samples [B, *shape]; no gradient reaches what made them.
        seed: the noise is the first draw from its stream ``regularizer-0``.
        step: how many steps are finished.
        noise: entries that replace those drawn.
        state: entries that replace those of ``init`` and ``prepare``.
        latents: [B, latent] that made ``fake``, for regularizers that ask.
        generate: the generator, for regularizers that ask.
        part: other outputs ``(player, name, x, labels) -> Tensor`` of the networks, for regularizers that ask.

    Raises:
        ContractError: ``score`` or the penalty has the wrong shape, or a generator is asked for and not given.
    """
    real, fake = real.detach(), fake.detach()
    latents = real.new_zeros(len(real), 1) if latents is None else latents
    own = _state(regularizer, "d", score, real, state)
    drawn = _noise(regularizer, "d", fake, latents, seed) | (noise or {})
    critic = _critic(score, regularizer, "d", drawn, own)
    with torch.no_grad():
        shown_real, shown_fake = regularizer.mix(real, fake, drawn, own)
        seen_real = regularizer.augment(shown_real, "real", drawn, own)
        seen_fake = regularizer.augment(shown_fake, "fake", drawn, own)
    real, real_scores = critic.main(seen_real, remember=True)
    fake, fake_scores = critic.main(seen_fake, remember=True)
    if not regularizer.uses("d_penalty"):
        return real_scores.new_zeros(())
    at = DStep(
        real=real,
        fake=fake,
        labels=None,
        real_scores=real_scores,
        fake_scores=fake_scores,
        latents=latents,
        noise=drawn,
        state=own,
        step=torch.tensor(step),
        score=critic.score,
        score_grad=critic.score_grad,
        score_and_grad=critic.score_and_grad,
        generate=_generate(generate),
        part=_part(part),
        kept={},
    )
    return scalar(regularizer.d_penalty(at), regularizer, "d_penalty")


def g_penalty(
    regularizer: Regularizer,
    score: Function,
    generate: Function,
    latents: Tensor,
    *,
    real: Tensor | None = None,
    seed: int = 0,
    step: int = 0,
    noise: Slots | None = None,
    state: Slots | None = None,
    code: Function | None = None,
    part: Part | None = None,
) -> Tensor:
    """The generator penalty [] of ``regularizer``, differentiable in whatever ``score`` and ``generate`` close over.

    It is what a step adds to the loss, but for the factor ``every``; 0 if the regularizer adds none.

    Args:
        regularizer: the one to evaluate, with what it makes of samples and scores, if anything.
        score: any function ``x [B, *shape] -> scores [B]``, such as a module; there are no labels.
        generate: any function ``z [B, latent] -> x [B, *shape]``, such as a module.
        latents: [B, latent].
        real: samples [B, *shape], scored only if they are given; zeros stand for them if not.
        seed: the noise is the first draw from its stream ``regularizer-0``.
        step: how many steps are finished.
        noise: entries that replace those drawn.
        state: entries that replace those of ``init`` and ``prepare``.
        code: the discriminator's code ``x [B, *shape] -> [B, d]``, for regularizers that ask.
        part: other outputs ``(player, name, x, labels) -> Tensor`` of the networks, for regularizers that ask.

    Raises:
        ContractError: ``score`` or the penalty has the wrong shape, or a code is asked for and not given.
    """
    own = _state(regularizer, "g", generate, latents, state)
    fake = generate(latents)
    drawn = _noise(regularizer, "g", fake, latents, seed) | (noise or {})
    critic = _critic(score, regularizer, "g", drawn, own)
    fake_scores = critic.score(regularizer.augment(fake, "fake", drawn, own))
    if not regularizer.uses("g_penalty"):
        return fake_scores.new_zeros(())
    at = GStep(
        real=torch.zeros_like(fake) if real is None else real,
        fake=fake,
        labels=None,
        latents=latents,
        real_scores=None if real is None else critic.score(regularizer.augment(real, "real", drawn, own)),
        fake_scores=fake_scores,
        noise=drawn,
        state=own,
        step=torch.tensor(step),
        score=critic.score,
        score_grad=critic.score_grad,
        score_and_grad=critic.score_and_grad,
        generate=_generate(generate),
        part=_part(part),
        kept={},
        code=_code(code),
    )
    return scalar(regularizer.g_penalty(at), regularizer, "g_penalty")


class _Function(nn.Module):
    """A function as a module without parameters of its own, so that those it closes over stay where they are."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self._hidden = [function]  # a list keeps a module from being registered

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        del y
        return self._hidden[0](x)


def _critic(score: Function, regularizer: Regularizer, player: Side, noise: Slots, state: Slots) -> Critic:
    wrappers = [(regularizer, noise, state)] if regularizer.uses("score") else []
    return Critic(Network(_Function(score)), Loss(), Autograd(), {}, {}, None, player=player, wrappers=wrappers)


def _state(regularizer: Regularizer, player: Side, function: Function, like: Tensor, given: Slots | None) -> Slots:
    params: Params = {"none": like.new_zeros(1)}  # a function names no parameters; type and device are known
    if isinstance(function, nn.Module) and regularizer.acts_on(player):
        params = {name: p.detach() for name, p in function.named_parameters()}
    with torch.no_grad():
        state = regularizer.init(params)
        if regularizer.acts_on(player):
            state = regularizer.prepare(params, state)
    return state | (given or {})


def _noise(regularizer: Regularizer, player: Side, x: Tensor, latents: Tensor, seed: int) -> Slots:
    size, *shape = x.shape
    batch = Batch(
        player=player,
        size=size,
        shape=tuple(shape),
        latent=latents.shape[1],
        dtype=x.dtype,
        device=x.device,
    )
    return regularizer.noise(batch, stream(seed, "regularizer-0"))


def _generate(function: Function | None) -> Callable[..., Tensor]:
    def generate(z: Tensor, labels: Tensor | None = None) -> Tensor:
        del labels
        if function is None:
            raise ContractError("this regularizer calls the generator", hint="pass generate= and latents=")
        return function(z)

    return generate


def _code(function: Function | None) -> Function:
    def code(x: Tensor) -> Tensor:
        if function is None:
            raise ContractError("this regularizer compares codes of the discriminator", hint="pass code=")
        return function(x)

    return code


def _part(function: Part | None) -> Part:
    def part(player: Side, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if function is None:
            raise ContractError(f"this regularizer asks a network for its part {name!r}", hint="pass part=")
        return function(player, name, x, labels)

    return part
