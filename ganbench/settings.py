"""The ``[run]`` table: how every cell of a grid is trained."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from ganbench.component import Component, field, plain
from ganbench.errors import ConfigError

DEFAULT_EMA = 0.999


class Settings(Component, role="run", name="run"):
    """The ``[run]`` table: how every cell of a grid is trained."""

    seeds: int | tuple[int, ...] = field(default=5, ge=0, doc="number of seeds (0, 1, ...), or a list of them")
    steps: int = field(default=5_000, ge=1, doc="whole training iterations")
    batch: int = field(default=64, ge=2, doc="samples a player sees in one turn")
    ema: float = field(default=DEFAULT_EMA, ge=0.0, lt=1.0, doc="weight of the past in the generator's running average")
    ema_images: float = field(
        default=0.0, ge=0.0, doc="half-life of that average in samples seen, instead of `ema`; 0: `ema` counts"
    )
    ema_warmup: float = field(
        default=10.0, ge=1.0, doc="at step t the past weighs at most (1 + t) / (ema_warmup + t); 1: no warm-up"
    )
    samples: int = field(default=2_500, ge=2, doc="generated samples per evaluation, against as many real ones")
    evaluations: int = field(default=5, ge=1, doc="evaluations during training, evenly spaced, the last one at the end")
    precision: Literal["float32", "tf32", "bf16", "float64"] = field(
        default="float32",
        doc="tf32: products on a GPU keep 10 bits; bf16: so do the networks in the losses, and penalties stay float32",
    )
    channels_last: bool = field(default=False, doc="lay images out with the channels last, where one seed trains alone")
    deterministic: bool = field(
        default=True, doc="on a GPU, deterministic convolutions only, so that an interrupted trial goes on bit for bit"
    )
    engine: Literal["auto", "serial", "fused"] = field(
        default="auto", doc="fused: the seeds of a cell train in one step; auto: whichever is measured to take least"
    )
    compile: Literal["auto"] | bool = field(
        default="auto",
        doc="compile a whole step into one graph, for each kind of step; auto: if it is measured to pay",
    )
    stack: int = field(default=64, ge=1, doc="most trials in one fused step: seeds, and cells that differ in numbers")
    threads: int = field(default=0, ge=0, doc="CPU threads of each process; 0: one, and as many processes as cores")
    snapshots: bool = field(default=False, doc="keep a picture of samples at each evaluation, as for an animation")
    checkpoint_every: int = field(
        default=1_000, ge=0, doc="steps between checkpoints that an interrupted trial resumes from"
    )
    timing: Literal["auto"] | bool = field(
        default="auto",
        doc="measure step times apart, after training; auto: unless that would take longer than the training did",
    )
    timing_seconds: float = field(default=3.0, gt=0.0, doc="budget of that for each cell")
    targets: Mapping[str, float] | None = field(
        default=None, doc="for measures, the value whose first reaching is timed, such as { fd = 30 }"
    )
    timeout: str = "none"
    plugins: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @classmethod
    def title(cls) -> str:
        """What messages call it."""
        return "a run"

    def validate(self) -> None:
        parse_duration(self.timeout, place=".timeout")
        if isinstance(self.seeds, tuple) and len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"{list(self.seeds)} names a seed twice", place=".seeds")
        if self.ema_images and self.ema != DEFAULT_EMA:
            raise ConfigError("ema and ema_images both say how long the average lasts", place=".ema_images")
        if not self.seed_list:
            raise ConfigError(f"{plain(self.seeds)!r} means no seed at all", place=".seeds")

    @property
    def ema_decay(self) -> float:
        """The weight of the past in the average, a step: ``ema``, or 0.5 ** (batch / ema_images)."""
        return 0.5 ** (self.batch / self.ema_images) if self.ema_images else self.ema

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str | float, *, place: str = "") -> float:
    """Seconds in ``"90s"``, ``"30m"``, ``"2h"``, ``"1d"`` or a number; ``"none"`` is infinite.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(text, int | float):
        return float(text)
    if text == "none":
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{text!r} is not a duration", place=place, hint='write "90s", "30m", "2h" or "none"')
    return float(match[1]) * _UNITS[match[2] or "s"]
