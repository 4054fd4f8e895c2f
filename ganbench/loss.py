"""The role loss: what discriminator and generator minimise, as functions of scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ganbench.component import Component
from ganbench.errors import ContractError

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench.grid import Cell
    from ganbench.state import Slots


@dataclass(frozen=True, kw_only=True)
class LossStep:
    """What a loss may see beside the discriminator's outputs.

    ``real`` and ``fake`` [B, *shape] are what D saw, after augmentation; in the generator's turn ``fake`` keeps
    its history. ``state`` is the loss's own. ``code(x)`` is D's code [B, d] of x, from discriminators that have
    one; it costs another forward pass.
    """

    real: Tensor
    fake: Tensor
    state: Slots
    code: Callable[[Tensor], Tensor]


class Loss(Component, role="loss"):
    """A pair of functions of scores, both minimised; scores are raw (no sigmoid) and high on real samples.

    Most losses are ``d_loss`` and ``g_loss`` and nothing more. One that also needs the samples, a code of them or
    a state of its own overrides ``d_loss_at`` and ``g_loss_at`` instead, whose last argument is a
    :class:`LossStep`; its state begins with ``init`` and moves with ``observe``, once in each discriminator turn.
    All of them are pure functions of tensors for one seed.

    Shapes are checked exactly before any of the four is called: [B, 1] against [B] would broadcast to [B, B]
    without a word, so it is a :class:`ContractError`.
    """

    paired: ClassVar[bool] = False
    """True if :meth:`g_loss` needs the scores of real samples too; both batches must then be of one size."""
    output: ClassVar[Literal["scores", "embedding", "energy"]] = "scores"
    """What it asks of the discriminator: [B], [B, d], or [B] that are low on real samples."""

    diagnostics: ClassVar[tuple[str, ...]] = ()
    """What :meth:`diagnose` tells; the mean since the first step is logged as ``loss-NAME``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for method in ("d_loss", "g_loss", "d_loss_at", "g_loss_at"):
            if method in cls.__dict__:
                setattr(cls, method, _checked(cls.__dict__[method]))

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss [] from ``real [B]`` and ``fake [B]`` scores."""
        raise NotImplementedError(self._unsaid("d_loss"))

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """The generator's loss [] from ``fake [B]`` scores, and ``real [B]`` scores if the loss is paired."""
        raise NotImplementedError(self._unsaid("g_loss"))

    def d_loss_at(self, real: Tensor, fake: Tensor, at: LossStep) -> Tensor:
        """``d_loss``, for losses that see more than scores."""
        del at
        return self.d_loss(real, fake)

    def g_loss_at(self, fake: Tensor, real: Tensor | None, at: LossStep) -> Tensor:
        """``g_loss``, for losses that see more than scores."""
        del at
        return self.g_loss(fake, real)

    def init(self, like: Tensor) -> Slots:
        """The first state, in the type and on the device of ``like``."""
        del like
        return {}

    def observe(self, real: Tensor, fake: Tensor, state: Slots) -> Slots:
        """The state after a discriminator turn, from the scores of that turn; no gradient flows."""
        del real, fake
        return state

    def diagnose(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """A number [] for each name in ``diagnostics``, from D's outputs in its own turn; no gradient flows."""
        del real, fake
        return {}

    def score(self, output: Tensor, real: Tensor | None, fake: Tensor) -> Tensor:
        """The score [B] that regularizers see and differentiate, from D's ``output`` for any samples.

        Scores and energies are their own. An embedding [B, d] becomes one by comparison with the outputs of the
        turn's two batches; those of real samples are there in the discriminator's turn and for paired losses.
        """
        del real, fake
        if self.output == "embedding":
            raise ContractError(f"{self.name} does not say what the score of an embedding is", hint="define score()")
        return output

    def _unsaid(self, method: str) -> str:
        if getattr(type(self), f"{method}_at") is getattr(Loss, f"{method}_at"):
            return f"{self.name} does not define {method}"
        return f"{self.name} sees more than scores: call {method}_at, whose last argument is a LossStep"

    @classmethod
    def informed(cls) -> bool:
        """Whether it sees more than scores."""
        return cls.d_loss_at is not Loss.d_loss_at or cls.g_loss_at is not Loss.g_loss_at

    @classmethod
    def observes(cls) -> bool:
        """Whether it has a state that moves."""
        return cls.observe is not Loss.observe

    def mismatch(self, cell: Cell) -> str | None:
        if self.output == "embedding" and type(self).score is Loss.score:
            for r in cell.regularizers:
                if r.uses("d_penalty") or r.uses("g_penalty"):
                    return f"{r.name} needs a score, and {self.name} does not make one of an embedding"
        return None


def _checked(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(method)
    def call(self: Loss, first: Tensor, second: Tensor | None = None, *at: LossStep) -> Tensor:
        dim = 2 if self.output == "embedding" else 1
        for tensor in (first, second):
            if tensor is not None and tensor.dim() != dim:
                wanted = "[B, d]" if dim == 2 else "[B]"
                raise ContractError(
                    f"{self.name}.{method.__name__} got scores of shape {list(tensor.shape)}, expected {wanted}",
                    hint="squeeze the last dimension" if tensor.shape[-1:] == (1,) else "",
                )
        if self.paired and second is None:
            raise ContractError(f"{self.name} is paired: its generator loss needs the scores of real samples")
        if second is not None and (self.paired or at) and first.shape != second.shape:
            raise ContractError(
                f"{self.name} pairs samples by index: {list(first.shape)} and {list(second.shape)} do not match"
            )
        return method(self, first, second, *at)

    return call
