"""Losses of energies: the discriminator is an autoencoder, and a sample's energy is how badly it is rebuilt.

In the formulas r [B] are the energies of real samples, f [B] those of fakes: at least 0, low on real samples, the
mean over the values of a sample. E is the mean over the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Loss, LossStep, field, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Cell, Slots


def alignment(code: Tensor) -> Tensor:
    """The mean [] of the squared cosines between different rows of ``code [B, d]``."""
    n = code.shape[0]
    unit = F.normalize(code, dim=1)
    squared = (unit @ unit.mT).square()
    return (squared.sum() - squared.diagonal().sum()) / (n * (n - 1))


class EBGAN(Loss, name="ebgan", source="https://arxiv.org/abs/1609.03126"):
    """D: E r + E max(0, margin - f); G: E f + pulling_away E_i!=j cos(S_i, S_j)^2, S being codes of the fakes.

    The margin is in units of the energy, so it depends on the data's range and on the autoencoder's distance. The
    second term of G costs one more pass.
    """

    output = "energy"

    margin: float = field(default=1.0, gt=0.0, doc="energy beyond which D leaves a fake alone")
    pulling_away: float = field(default=0.0, ge=0.0, doc="coefficient of the pulling-away term; 0.1 in EBGAN-PT")

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return real.mean() + F.relu(self.margin - fake).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """G's first term, which is all of it where nothing pulls away."""
        del real
        return fake.mean()

    def g_loss_at(self, fake: Tensor, real: Tensor | None, at: LossStep) -> Tensor:
        value = self.g_loss(fake, real)
        return value + self.pulling_away * alignment(at.code(at.fake)) if self.pulling_away else value

    def mismatch(self, cell: Cell) -> str | None:
        if self.pulling_away and not cell.discriminator.has_code:
            return f"the pulling-away term of {self.name} compares codes, and {cell.discriminator.name} has none"
        return None


class BEGAN(Loss, name="began", source="https://arxiv.org/abs/1703.10717"):
    """D: E r - k E f; G: E f; then k <- min(1, max(0, k + rate (gamma E r - E f))), from k = 0.

    k moves once in each discriminator turn, on the energies of that turn. The paper's energy is the mean absolute
    error.
    """

    output = "energy"

    gamma: float = field(default=0.5, ge=0.0, le=1.0, doc="diversity: the ratio of E f to E r that k holds")
    rate: float = field(default=0.001, ge=0.0, doc="step of k")

    def init(self, like: Tensor) -> Slots:
        return {"k": like.new_zeros(())}

    def observe(self, real: Tensor, fake: Tensor, state: Slots) -> Slots:
        return {"k": (state["k"] + self.rate * (self.gamma * real.mean() - fake.mean())).clamp(0.0, 1.0)}

    def d_loss_at(self, real: Tensor, fake: Tensor, at: LossStep) -> Tensor:
        return real.mean() - at.state["k"] * fake.mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return fake.mean()


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every loss of this module."""
    return [EBGAN, BEGAN]
