"""A bank: one set of samples seen through one extractor, and whatever metrics need of it, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ganbench import neighbours
from ganbench.errors import ConfigError, ContractError
from ganbench.samples import Samples

if TYPE_CHECKING:
    from ganbench.keeping import Shelf

T = TypeVar("T")
CHUNK = 2**24
"""Numbers that are turned to float64 at a time."""
WIDE = 512
"""Dimension from which a covariance is worth the call of another library."""


class Bank:
    """Samples, their features, and what is computed from them: everything lazily, and once.

    Metrics ask a bank and never write to what it gives. Two metrics that need the same thing share it, and what is
    dear to compute of real samples is kept on disk.

    Args:
        samples: ``x [n, *shape]`` as they were generated or loaded, with labels where there are some.
        features: the fitted extractor; None makes the samples their own features.
        side: ``fake`` or ``real``, for messages.
        train: gives the bank of the training set, through the same extractor, to metrics that look for copies.
        shelf: where dear things are kept between runs; None keeps nothing.
        device: where the features of an extractor lie; None leaves them where it made them.
    """

    def __init__(
        self,
        samples: Samples | Tensor,
        features: Callable[[Tensor], Tensor] | None = None,
        *,
        side: str = "fake",
        train: Callable[[], Bank | None] | None = None,
        shelf: Shelf | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.samples = samples if isinstance(samples, Samples) else Samples(samples)
        self.side = side
        self.notes: list[str] = []
        """What a reader of the numbers should know, such as that all samples are equal."""
        self._extractor, self._train, self._shelf, self._device = features, train, shelf, device
        self._memo: dict[object, object] = {}
        self._expected: dict[int, dict[tuple[int, bool], bool]] = {}
        self._wanted: dict[int, None] = {}
        self._radii: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.samples)

    # -- what the samples are ----------------------------------------------------------------------------------

    @property
    def features(self) -> Tensor:
        """[n, d], or the samples themselves [n, *shape] without an extractor; in float32 or float64."""
        return self.once("features", self._extract)

    @property
    def rows(self) -> Tensor:
        """The features [n, d] in the precision that they have; on the CPU where the device lacks float64."""
        return self.once("rows", self._rows)

    @property
    def double(self) -> Tensor:
        """The rows [n, d] in float64: for computations whose cost is small beside that of a copy."""
        return self.once("double", self.rows.double)

    @property
    def logits(self) -> Tensor | None:
        """[n, classes] in float64 of an extractor with ``head`` or ``logits``, the samples themselves without one.

        None where an extractor does not classify.
        """
        return self.once("logits", self._logits)

    @property
    def labels(self) -> Tensor | None:
        """[n] int64, of the dataset or asked of the generator; None without classes."""
        return self.samples.y

    @property
    def train(self) -> Bank | None:
        """The training set through the same extractor; None where training samples never repeat or were not given."""
        return self.once("train", self._train) if self._train is not None else None

    @property
    def finite(self) -> Tensor:
        """[n] bool: whether a sample and its features are numbers throughout."""
        return self.once("finite", self._finite)

    @property
    def bad(self) -> int:
        """The number of samples that are not finite."""
        return self.once("bad", lambda: int((~self.finite).sum()))

    @property
    def constant(self) -> bool:
        """Whether all samples have the same features."""
        return self.once("constant", lambda: bool((self.rows == self.rows[:1]).all()))

    def need(self, least: int, why: str = "the metric") -> None:
        """Raise :class:`ConfigError` if there are fewer than ``least`` samples."""
        if len(self) < least:
            raise ConfigError(
                f"{why} needs at least {least} {self.side} samples, not {len(self)}", hint="evaluate on more samples"
            )

    def note(self, text: str) -> None:
        """Say something about the numbers, once."""
        if text not in self.notes:
            self.notes.append(text)

    # -- what is computed of them ------------------------------------------------------------------------------

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What ``make`` gives, computed the first time that ``key`` is asked for."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]  # type: ignore[return-value] # whoever chose the key chose the type

    def kept(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """As :meth:`once`, and from disk for a real set; ``name`` has all that ``make`` depends on beside the set.

        A metric puts its own name and version into ``name``: ``"kid-3 sums"``.
        """
        if self._shelf is None:
            return self.once(name, make)
        shelf = self._shelf
        return self.once(name, lambda: shelf.kept(name, make, self.rows.device))

    @property
    def mean(self) -> Tensor:
        """[d] in float64."""
        return self.once("mean", lambda: self.rows.sum(0, dtype=torch.float64) / len(self))

    @property
    def covariance(self) -> Tensor:
        """[d, d] in float64, of divisor n - 1; the mean is subtracted before anything is squared."""
        return self.once("covariance", self._covariance)

    @property
    def centred(self) -> Tensor:
        """X [n, d] in float64 with X'X the covariance."""
        return self.once("centred", lambda: (self.rows.double() - self.mean) / math.sqrt(len(self) - 1))

    def expect(self, other: Bank, k: int, *, strict: bool = False, mutual: bool = False) -> None:
        """Say that :meth:`inside`, or :meth:`mutual`, will be asked: one pass over distances then answers all of them.

        It computes nothing, and nothing depends on it but the time.
        """
        if self.rows.shape[1] == other.rows.shape[1] and k < len(other) and (k < len(self) or not mutual):
            self._expected.setdefault(id(other), {})[k, strict] = mutual
            other._wanted[k] = None
            self._wanted |= {k: None} if mutual else {}

    def radii(self, k: int) -> Tensor:
        """[n] in float64: the squared distance of each sample to its k-th nearest other one."""
        self.need(k + 1, f"the distance to the {k}. neighbour")

        def all_wanted() -> dict[int, Tensor]:
            ks = [k, *(w for w in self._wanted if w != k and f"radii-1 k={w}" not in self._memo)]
            found = neighbours.several(self.rows, self.rows, ks, others=True)
            return {one: radii for one, (radii, _) in zip(ks, found, strict=True)}

        def make() -> Tensor:
            if k not in self._radii:
                self._radii |= all_wanted()
            return self._radii[k]

        radii = self.kept(f"radii-1 k={k}", make)
        if zero := self.once(("zero radii", k), lambda: int((radii == 0).sum())):
            self.note(f"{zero} of {len(self)} {self.side} samples have {k} duplicates or more")
        return radii

    def nearest(self, other: Bank) -> tuple[Tensor, Tensor]:
        """For each sample the squared distance [n] to the nearest one of ``other``, in float64, and its place [n]."""
        self.same_size(other)
        return self.once(("nearest", id(other)), lambda: neighbours.nearest(self.rows, other.rows))

    def inside(self, other: Bank, k: int, *, strict: bool = False) -> neighbours.Inside:
        """How many balls of ``other`` hold each sample [n], and how many samples each ball holds [m].

        The ball of a sample of ``other`` reaches to its k-th nearest other one; its rim belongs to it unless
        ``strict``.
        """
        return self._counted(other, k, strict=strict, mutual=False)[0]

    def mutual(self, other: Bank, k: int, *, strict: bool = False) -> tuple[neighbours.Inside, neighbours.Inside]:
        """``self.inside(other, k)`` and ``other.inside(self, k)``, from the same distances."""
        return self._counted(other, k, strict=strict, mutual=True)

    def same_size(self, other: Bank) -> None:
        """Raise :class:`ContractError` if samples of ``other`` have another number of values."""
        mine, theirs = self.rows.shape[1], other.rows.shape[1]
        if mine != theirs:
            raise ContractError(f"a {self.side} sample has {mine} values and a {other.side} one {theirs}")

    def _counted(
        self, other: Bank, k: int, *, strict: bool, mutual: bool
    ) -> tuple[neighbours.Inside, neighbours.Inside]:
        """The answer to one question, with those to all that are expected."""
        self.same_size(other)
        known: dict[tuple[int, bool, bool], tuple[neighbours.Inside, neighbours.Inside]]
        known = self.once(("balls", id(other)), dict)
        if (k, strict, True) in known:
            return known[k, strict, True]
        if (k, strict, mutual) not in known:
            asked = self._expected.pop(id(other), {})
            asked[k, strict] = mutual or asked.get((k, strict), False)
            questions = [
                neighbours.Balls(other.radii(k), self.radii(k) if back else None, strict)
                for (k, strict), back in asked.items()
            ]
            found = neighbours.counted(self.rows, other.rows, questions)
            known |= {(*ball, back): one for (ball, back), one in zip(asked.items(), found, strict=True)}
        return known[k, strict, True] if (k, strict, True) in known else known[k, strict, mutual]

    # -- how -----------------------------------------------------------------------------------------------------

    @property
    def _given(self) -> Tensor:
        """The samples in float32 or float64."""

        def make() -> Tensor:
            x = self.samples.x.detach()
            return x if x.dtype in (torch.float32, torch.float64) else x.float()

        return self.once("given", make)

    def _extract(self) -> Tensor:
        x, extractor = self._given, self._extractor
        if self.samples.x.dtype == torch.uint8 and hasattr(extractor, "preprocessing"):
            x = self.samples.x  # bytes are another range than the same numbers as floats
        if extractor is None:
            return x
        shelf = self._shelf
        found = extractor(x) if shelf is None else shelf.kept("features-1", lambda: extractor(x), x.device)
        same = found.data_ptr() == x.data_ptr()  # the samples themselves, or a view of them
        return found if same or self._device is None else found.to(self._device)

    def _rows(self) -> Tensor:
        x = self.features
        if x.device.type == "mps":  # Apple's devices have no float64
            x = x.cpu()
        return x.reshape(len(x), -1)

    def _logits(self) -> Tensor | None:
        head: Callable[[Tensor], Tensor] | None = getattr(self._extractor, "head", None)
        whole: Callable[[Tensor], Tensor] | None = getattr(self._extractor, "logits", None)
        found = head(self.features) if head else whole(self.samples.x) if whole else None
        if found is None and self.features.data_ptr() == self._given.data_ptr():  # an identity, and no view of pixels
            return self.double if self.features.shape == self._given.shape else None
        return None if found is None else found.to(self.rows.device, torch.float64)

    def _finite(self) -> Tensor:
        x = self.samples.x.reshape(len(self), -1)
        rows = self.rows
        # a sum is finite where all its terms are, unless it overflows: then the terms are looked at
        sums = x.sum(1).to(rows.device) if rows is x else x.sum(1).to(rows.device) + rows.sum(1)
        if bool(sums.isfinite().all()):
            return torch.ones(len(self), dtype=torch.bool, device=rows.device)
        return x.isfinite().all(1).to(rows.device) & rows.isfinite().all(1)

    def _covariance(self) -> Tensor:
        size = self.rows.shape[1]
        total = torch.zeros(size, size, dtype=torch.float64, device=self.rows.device)
        for part in torch.split(self.rows, max(1, CHUNK // max(1, size))):
            centred = part.to(torch.float64, copy=True).sub_(self.mean)
            total += squared(centred) if size >= WIDE and centred.device.type == "cpu" else centred.T @ centred
        return total / (len(self) - 1)


def squared(x: Tensor) -> Tensor:
    """X'x on the CPU by numpy, which sees that the result is symmetric and computes half of it."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(torch.get_num_threads(), user_api="blas"):
        rows = x.numpy()
        return torch.from_numpy(rows.T @ rows)
