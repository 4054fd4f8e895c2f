"""The discriminator as one turn calls it, with the regularizers that wrap its score around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ganbench.derivatives import Derivatives, Gradient, Scored
from ganbench.errors import ContractError
from ganbench.loss import Loss
from ganbench.networks import Network
from ganbench.regularizer import Regularizer
from ganbench.state import Params, Side, Slots


class Critic:
    """The discriminator under one set of parameters, remembering the forward passes that the objective made.

    ``score`` and ``score_grad`` are what regularizers get; ``judge`` makes scores of outputs that are none yet.
    Passes of the objective go through :meth:`main`: they alone write running statistics, and their input gradients
    are had without another forward pass.
    """

    def __init__(
        self,
        discriminator: Network,
        loss: Loss,
        derivatives: Derivatives,
        params: Params,
        buffers: Params,
        labels: Tensor | None,
        *,
        player: Side,
        wrappers: Sequence[tuple[Regularizer, Slots, Slots]] = (),
        noise: Params | None = None,
        lowered: bool = False,
    ) -> None:
        """``wrappers`` are regularizers with a ``score``, and their noise and state in the turn of ``player``.

        ``noise`` are buffers that hold for this turn alone. With ``lowered``, the passes of the objective are in
        bfloat16, and input gradients come from passes of their own, in full precision.
        """
        self.noise, self.lowered = noise or {}, lowered
        self.discriminator, self.loss, self.derivatives = discriminator, loss, derivatives
        self.params, self.frozen, self.labels = params, buffers, labels
        self.buffers, self.player, self.wrappers = buffers, player, wrappers
        self.judge: Callable[[Tensor], Tensor] = lambda output: output
        self._made: list[tuple[Tensor, Gradient]] = []

    def main(self, x: Tensor, *, remember: bool) -> tuple[Tensor, Tensor]:
        """``x`` as D saw it, and D's output; with ``remember``, its input gradient can be asked for later."""
        # the gradient of an embedding is not that of a score
        if not remember or self.loss.output == "embedding" or self.lowered:
            scores, self.buffers = self._call(x, self.buffers, self.labels, lowered=self.lowered)
            return x, scores
        x, scores, self.buffers, gradient = self.derivatives.scored(
            lambda seen: self._call(seen, self.buffers, self.labels), x
        )
        self._made.append((x, gradient))
        return x, scores

    def judged(self, x: Tensor) -> Tensor:
        """D's output for a pass of the generator's objective, which leaves the running statistics as they are."""
        return self._call(x, self.frozen, self.labels, lowered=self.lowered)[0]

    def output(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self._call(x, self.frozen, self.labels if labels is None else labels)[0]

    def score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(self.output(x, labels))

    def code(self, x: Tensor) -> Tensor:
        return self.discriminator(self.params, self.frozen | self.noise, x, self.labels, True)[0]

    def score_grad(self, x: Tensor, labels: Tensor | None = None, *, create_graph: bool = True) -> Tensor:
        if labels is None:
            for made, gradient in self._made:
                if made is x:
                    return gradient(create_graph)
        return self.score_and_grad(x, labels, create_graph=create_graph)[1]

    def score_and_grad(
        self, x: Tensor, labels: Tensor | None = None, *, create_graph: bool = True
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():  # `observe` runs without gradients, and may ask for this one
            _, scores, _, gradient = self.derivatives.scored(lambda seen: (self.score(seen, labels), {}), x)
            return scores, gradient(create_graph)

    def part(self, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
        labels = self.labels if labels is None else labels
        return self.discriminator(self.params, self.frozen | self.noise, x, labels, name)[0]

    def _call(
        self, x: Tensor, buffers: Params, labels: Tensor | None, *, lowered: bool = False
    ) -> tuple[Tensor, Params]:
        network = self.discriminator.lowered if lowered else self.discriminator

        def call(seen: Tensor) -> tuple[Tensor, Params]:
            scores, written = network(self.params, buffers | self.noise, seen, labels)
            dims = 2 if self.loss.output == "embedding" else 1
            if scores.dim() != dims or scores.shape[0] != seen.shape[0]:
                wanted = f"[{seen.shape[0]}]" if dims == 1 else f"[{seen.shape[0]}, d]"
                raise ContractError(
                    f"the discriminator returned scores of shape {list(scores.shape)}, expected {wanted}",
                    hint="end forward() with .squeeze(1)" if tuple(scores.shape[1:]) == (1,) else "",
                )
            return scores, written | {name: buffers[name] for name in self.noise}

        scored: Scored = call
        for regularizer, noise, own in self.wrappers:
            scored = self._wrapped(scored, regularizer, noise, own)
        return scored(x)

    def _wrapped(self, call: Scored, regularizer: Regularizer, noise: Slots, own: Slots) -> Scored:
        """``call`` with ``regularizer.score`` around it; the buffers are those that its last call left."""

        def outer(x: Tensor) -> tuple[Tensor, Params]:
            inner = Inner(call, self.derivatives, self.player)
            scores = regularizer.score(inner, x, noise, own)
            if inner.buffers is None or scores.shape != inner.shape:
                expected = "no call of D" if inner.shape is None else f"{list(inner.shape)}"
                raise ContractError(
                    f"{regularizer.name}.score returned scores of shape {list(scores.shape)}, expected {expected}",
                )
            return scores, inner.buffers

        return outer


class Inner:
    """What ``Regularizer.score`` calls: the scores of a discriminator, and their input gradients."""

    def __init__(self, call: Scored, derivatives: Derivatives, player: Side) -> None:
        self.call, self.derivatives, self.player = call, derivatives, player
        self.buffers: Params | None = None
        self.shape: torch.Size | None = None

    def __call__(self, x: Tensor) -> Tensor:
        scores, self.buffers = self.call(x)
        self.shape = scores.shape
        return scores

    def with_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():  # scores are also asked for where nobody derives them
            _, scores, self.buffers, gradient = self.derivatives.scored(self.call, x)
            self.shape = scores.shape
            return scores, gradient(True)
