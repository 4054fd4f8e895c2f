"""Regression gates: ``fd>5%`` fails where fd has risen by more than 5 %, and by more than noise explains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ganbench.effects import Effect, holm
from ganbench.errors import ConfigError
from ganbench.numerals import change_text
from ganbench.stats import LEVEL

PATTERN = re.compile(r"\s*(?P<measure>[^<>\s]+)\s*(?P<sign>[<>])\s*(?P<bound>[-+]?\d+(?:\.\d+)?)\s*(?P<percent>%?)\s*")
SHOWN = 5
"""Changes that a message names; the table has them all."""


@dataclass(frozen=True)
class Gate:
    """A condition on the change of a measure, at which a comparison fails."""

    measure: str
    sign: Literal["<", ">"]
    bound: float
    percent: bool

    def __str__(self) -> str:
        return f"{self.measure}{self.sign}{self.bound:g}{'%' if self.percent else ''}"

    @classmethod
    def parse(cls, text: str) -> Gate:
        """The gate that ``text`` describes.

        Raises:
            ConfigError: it is no such condition.
        """
        match = PATTERN.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"not a condition: {text!r}",
                place="--fail-on",
                hint="write MEASURE>CHANGE or MEASURE<CHANGE, such as 'fd>5%', 'coverage<-0.02' or 'step_ms>10%'",
            )
        sign: Literal["<", ">"] = ">" if match["sign"] == ">" else "<"
        return cls(match["measure"], sign, float(match["bound"]), bool(match["percent"]))

    def beyond(self, effect: Effect) -> bool | None:
        """Whether the mean change is beyond the bound; None if there is no such change to look at."""
        change = effect.percent if self.percent else effect.difference
        if change is None:
            return None
        return change.mean > self.bound if self.sign == ">" else change.mean < self.bound


@dataclass(frozen=True)
class Outcome:
    """What a gate has found: the changes beyond it that noise does not explain, those it may, and new failures."""

    gate: Gate
    checked: int
    breaches: tuple[str, ...]
    noise: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.gate} in {len(self.breaches)} of {self.checked}: {_listed(self.breaches)}"
        return text + (f" (beyond it too, but within noise: {_listed(self.noise)})" if self.noise else "")


def _listed(texts: Sequence[str]) -> str:
    shown = "; ".join(texts[:SHOWN])
    return shown + (f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def check(gate: Gate, changes: Sequence[tuple[str, Effect, int]]) -> Outcome:
    """Hold ``changes`` of the gate's measure, each with a name and its number of new failures, to the gate.

    A change is a breach if its mean is beyond the bound and its paired t test, corrected by Holm over all
    changes, says that there is one. With one seed there is no test, and the mean decides. A trial
    that failed where its counterpart did not is a breach of any gate.

    Raises:
        ConfigError: a gate in percent is for a measure that is not always positive.
    """
    ps = holm([1.0 if e.p is None else e.p for _, e, _ in changes])
    breaches, noise = [], []
    for (name, effect, failures), p in zip(changes, ps, strict=True):
        beyond = gate.beyond(effect)
        if beyond is None and effect.n:
            raise ConfigError(
                f"{gate.measure} is not always positive, so that it has no change in %",
                place="--fail-on",
                hint=f"give the bound in its units, such as '{gate.measure}{gate.sign}{gate.bound / 100:g}'",
            )
        change = change_text(effect.percent, "percent") if gate.percent else change_text(effect.difference, "change")
        if failures:
            breaches.append(f"{name}: {failures} more failed")
        elif beyond and (effect.n < 2 or p <= 1 - LEVEL):
            breaches.append(f"{name} {change}")
        elif beyond:
            noise.append(f"{name} {change}")
    return Outcome(gate, len(changes), tuple(breaches), tuple(noise))
