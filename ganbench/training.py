"""Train one trial: networks from their streams, steps in timed windows, evaluations, checkpoints, a record."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganbench import checkpoint, codeprint, environment, players
from ganbench.counting import Counted
from ganbench.derivatives import Autograd
from ganbench.devices import synchronize, use
from ganbench.errors import ConfigError, ResultsError
from ganbench.evaluation import Bench, check_spec, generate
from ganbench.feed import Feed, runs, split
from ganbench.grid import Trial
from ganbench.initial import initial_state
from ganbench.networks import Network
from ganbench.pictures import sample_picture
from ganbench.players import WHICH, Which
from ganbench.records import Record, Status, Value, append_line, read_json, read_lines, replacing, write_json
from ganbench.samples import Samples
from ganbench.seeding import stream
from ganbench.state import Params
from ganbench.step import Game
from ganbench.timing import StepClock, now

Report = Callable[[str, Mapping[str, Any]], None]
"""``report(kind, content)`` tells the driver of progress; it must be cheap."""
WINDOW, GPU_WINDOW = 0.05, 0.25
"""Seconds that a window of steps should last: a GPU idles while the first inputs of one are drawn."""
CURVES, PICTURE, SNAPSHOTS = "curves.jsonl", "samples.png", "snapshots"


class DivergedError(Exception):
    """A loss or a weight is not finite."""


@dataclass(frozen=True)
class Training:
    """How this process trains; none of it enters a trial's identity."""

    device: str = "cpu"
    threads: int = 1
    evaluations: int = 5
    snapshots: bool = False
    """Whether each evaluation leaves a picture."""
    checkpoint_every: int = 1_000
    enough: float = math.inf
    """Seconds of training after which a trial ends early: those of a smoke run."""
    exclusive: bool = True
    """Whether nothing else of this run trains on the machine at the same time."""
    timed_later: bool = False
    """Whether the timing pass is to come, so that nobody needs to time the serial step of seeds that train together."""


@dataclass
class Progress:
    """What training accumulates beside the state; it is checkpointed with it."""

    train_s: float = 0.0
    eval_s: float = 0.0
    windows: list[tuple[int, float]] = field(default_factory=list)
    warm_up: list[tuple[int, float]] = field(default_factory=list)
    passes: dict[str, float] = field(default_factory=dict)
    measuring: dict[str, float] = field(default_factory=dict)
    """Seconds of ``eval_s`` by what they went to: ``extract_s`` for features, ``NAME_s`` for each metric."""
    resumed: int = 0
    """How often training went on from a checkpoint."""


def make_record(  # the keyword arguments are Record's
    trial: Trial, status: Status, reason: str, *, training: Training, started: str = "", **content: Any
) -> Record:
    """A record of ``trial`` with its identity, facts and fingerprints filled in."""
    cell = trial.cell
    facts = {
        "steps": cell.steps,
        "batch": cell.batch,
        "samples": cell.samples,
        "engine": cell.engine,
        "arithmetic": cell.precision,  # "precision" is a measure
        "channels_last": cell.channels_last,
        **cell.later,
        "device": training.device,
        "threads": training.threads,
        "exclusive": training.exclusive,
    }
    return Record(
        cell=cell.name,
        id=cell.id,
        seed=trial.seed,
        status=status,
        labels=cell.labels,
        reason=reason,
        measures=content.get("measures", {}),
        timing=content.get("timing", {}),
        cost=content.get("cost", {}),
        facts=facts | content.get("facts", {}),
        fingerprints={
            "code": codeprint.combined(codeprint.fingerprint(cell.components)),
            **environment.fingerprints(training.device),
        },
        started=started or utc(),
        finished=utc(),
    )


def utc() -> str:
    """The time of day, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _set_arithmetic(precision: str, device: torch.device, *, deterministic: bool = True) -> None:
    """Let products of float32 be products of float32, whatever torch's defaults are, or of TF32 where asked.

    Convolutions give the same numbers each time that they are given the same ones, if they are to be ``deterministic``.

    Raises:
        ConfigError: TF32 on a device that has none.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(f"tf32 is arithmetic of NVIDIA GPUs, and this is {device.type}", place="[run].precision")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    # convolutions by the same algorithm in every run, whatever was fastest in this one
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, deterministic


class Trainer:
    """One trial in training; ``like`` may be another of this process, which has the training set already."""

    def __init__(
        self, trial: Trial, folder: Path, training: Training, report: Report, like: Trainer | None = None
    ) -> None:
        cell = trial.cell
        self.trial, self.cell, self.folder, self.training, self.report = trial, cell, folder, training, report
        self.device = torch.device(training.device)
        self.dtype: torch.dtype = getattr(torch, cell.dtype)
        self.spec = cell.dataset.spec()
        self.games: dict[tuple[bool, ...], Game] = {}
        self.progress = Progress()
        self.logs: dict[str, float] = {}
        self.step = 0
        """Finished steps, as ``state.step`` but on the host."""
        self.over = False
        """Whether its record is written."""
        torch.set_num_threads(training.threads)
        use(self.device)
        _set_arithmetic(cell.precision, self.device, deterministic=cell.deterministic)
        known = like.feed.samples if like is not None and self._shares(like) else None
        source = known or cell.dataset.load("train", stream(0, "dataset-train"))
        if isinstance(source, Samples):
            check_spec(source, self.spec.shape, cell.dataset)
        self.generator, self.discriminator = players.build(cell, trial.seed, self.device)
        self.feed: Feed = Feed(
            source,
            cell.regularizers,
            seed=trial.seed,
            batch=cell.batch,
            d_turns=cell.update.d_turns,
            latent=cell.generator.latent,
            shape=self.spec.shape,
            dtype=self.dtype,
            device=self.device,
            discriminator=self.discriminator,
        )
        self.state = initial_state(
            self.generator, self.discriminator, cell.regularizers, cell.optimizer, cell.loss, cell.update
        )

    def _shares(self, other: Trainer) -> bool:
        """Whether ``other`` has the same training set in the same place, as the same numbers."""
        cells = self.cell, other.cell
        data = {(c.dataset.fingerprint, codeprint.of_class(type(c.dataset))) for c in cells}
        return len(data) == 1 and (self.device, self.dtype) == (other.device, other.dtype)

    # -- stepping ----------------------------------------------------------------------------------------------

    def active(self, step: int) -> tuple[bool, ...]:
        """For each regularizer, whether it takes part in step number ``step``."""
        return tuple(step % r.every == 0 for r in self.cell.regularizers)

    def game(self, step: int, discriminator: Network | None = None) -> Game:
        """The objectives of step number ``step``: one for each set of regularizers that are active together."""
        cell = self.cell
        active = self.active(step)
        if active in self.games and discriminator is None:
            return self.games[active]
        game = Game(
            generator=self.generator,
            discriminator=discriminator or self.discriminator,
            loss=cell.loss,
            regularizers=cell.regularizers,
            active=active,
            optimizer=cell.optimizer,
            ema_decay=cell.ema,
            ema_warmup=cell.ema_warmup,
            lowered=cell.precision == "bf16",
            derivatives=Autograd(),
        )
        if discriminator is None:
            self.games[active] = game
        return game

    def advance(self, steps: int) -> None:
        """Train ``steps`` steps."""
        for start, length in runs(self.step, steps, self.active, self.feed.longest):
            game = self.game(start)
            block = self.feed.block(game.active, length)
            for turns in split(block, length):
                self.state = game.finish(self.cell.update.step(game, self.state, turns))
        self.step += steps

    # -- a whole trial -----------------------------------------------------------------------------------------

    def prepare(self, like: Trainer | None = None) -> None:
        """Go on from the checkpoint in the folder, if there is one, and load what evaluations compare with.

        Extractors are not loaded again where ``like``, another trial of this process, has them.
        """
        cell = self.cell
        environment.reset_peak_memory()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._resume()
        identity = {"spec": cell.spec, "seed": self.trial.seed, "code": codeprint.fingerprint(cell.components)}
        write_json(self.folder / "spec.json", identity)
        begun = now()
        known = None if like is None else like.bench
        self.bench: Bench = Bench.prepare(
            cell.dataset, cell.metrics, n=cell.samples, seed=self.trial.seed, device=self.device, like=known
        )
        self.progress.eval_s += now() - begun
        if not self.progress.passes:
            self.progress.passes = self.count_passes()

    def clock(self) -> StepClock:
        """The clock of this training, with the windows of before an interruption; what follows one is warm-up again."""
        progress = self.progress
        warm_up = [] if progress.resumed else progress.warm_up
        least = WINDOW if self.device.type == "cpu" else GPU_WINDOW
        return StepClock(self.synchronize, period=self.period, least=least, windows=progress.windows, warm_up=warm_up)

    def content(self, values: dict[str, Value], timing: Mapping[str, float]) -> dict[str, Any]:
        """What the record of the finished trial says, and its picture."""
        self._picture(self.folder / PICTURE, self.generated("ema"))
        return {
            "measures": values,
            "timing": {**timing, "train_s": self.progress.train_s, "eval_s": self.progress.eval_s}
            | {f"eval_{name}": seconds for name, seconds in self.measuring().items()},
            "cost": self._cost() | self.progress.passes,
            "facts": {"n": self.bench.n, "resumed": self.progress.resumed, "evaluations": self.training.evaluations}
            | {"checkpoint_every": self.training.checkpoint_every}
            | {name: float(total / n) for name, (total, n) in self.state.tallies.items() if n},
        }

    @property
    def period(self) -> int:
        """Steps after which the kinds of step repeat."""
        return math.lcm(self.cell.update.period, *(r.every for r in self.cell.regularizers))

    def count_passes(self) -> dict[str, float]:
        """D forward and backward passes a step, over one period; neither the state nor a stream moves on.

        A backward pass is counted whenever a gradient enters the output of a forward pass.
        """
        counted = Counted(self.discriminator.module)
        kept = self.feed.state()
        state = self.state
        for number in range(self.period):
            game = self.game(number, counted)
            state = game.finish(self.cell.update.step(game, state, self.feed.turns(game.active)))
        self.feed.restore(kept)
        per_step = self.cell.batch * self.period
        return {"d_forwards": counted.forwards / per_step, "d_backwards": counted.backwards / per_step}

    def look(self, scalars: Mapping[str, Tensor], seconds: float) -> None:
        """Ask the device for the last step's scalars, report them, and count the ``seconds`` of the window.

        Raises:
            DivergedError: one is not finite.
        """
        self.progress.train_s += seconds
        told = torch.stack([value.double() for value in scalars.values()]).tolist() if scalars else []  # one transfer
        self.logs = logs = dict(zip(scalars, told, strict=True))
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(f"{bad[0]} is {logs[bad[0]]} at step {self.step}")
        self.report("step", {"step": self.step, "logs": logs})

    def evaluate(self) -> dict[str, Value]:
        """Measure the last iterate and the running average, and add a line to the curves.

        Raises:
            DivergedError: a weight is not finite.
        """
        begun, bench = now(), self.bench
        for name, weights in (("the generator's weights", self.state.g.params), ("its average", self.state.ema)):
            if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
                raise DivergedError(f"{name} are not finite at step {self.step}")
        samples = {which: self.generated(which) for which in WHICH}
        last, ema = (bench.measure(samples[which]) for which in WHICH)
        values = bench.values(last, ema)
        self.progress.eval_s += now() - begun
        row: dict[str, Any] = {"step": self.step, "train_s": self.progress.train_s}
        row |= self.logs
        for name, value in values.items():
            row |= {name: value.last, f"{name}_ema": value.ema}
        append_line(self.folder / CURVES, row)
        if self.training.snapshots:
            (self.folder / SNAPSHOTS).mkdir(exist_ok=True)
            self._picture(self.folder / SNAPSHOTS / f"step-{self.step:09}.png", samples["ema"])
        self.report("record", row)
        return values

    def measuring(self) -> dict[str, float]:
        """Seconds by what they went to, those of before an interruption included."""
        names = dict.fromkeys((*self.progress.measuring, *self.bench.seconds))
        return {n: self.progress.measuring.get(n, 0.0) + self.bench.seconds.get(n, 0.0) for n in names}

    def weights(self, which: Which) -> Params:
        """The generator's weights and buffers as it is sampled with: the last iterate or the running average."""
        return players.weights(self.cell, self.generator, self.state, which)

    def generated(self, which: Which) -> Samples:
        """As many samples as an evaluation takes, of the same latents in every cell, for one seed."""
        latents, labels = players.evaluated(self.cell, self.trial.seed, self.bench.n, self.device)
        made = generate(self.generator, self.weights(which), latents, labels)
        return Samples(made, None if labels is None else labels.to(made.device))

    def _picture(self, path: Path, samples: Samples) -> None:
        with replacing(path) as partial:
            sample_picture(samples.x.float(), self.spec, partial, real=self.bench.real.x)

    # -- keeping -----------------------------------------------------------------------------------------------

    def save(self, clock: StepClock) -> None:
        """Write a checkpoint."""
        self.progress.windows, self.progress.warm_up = clock.windows, clock.warm_up
        rest = dataclasses.asdict(self.progress) | {"measuring": self.measuring()}
        checkpoint.save(self.folder, self.state, self.feed.state(), rest)

    def _resume(self) -> None:
        """Go on from the checkpoint in the folder, if it is of this specification and this code."""
        try:
            before = read_json(self.folder / "spec.json") or {}
        except ResultsError:
            before = {}
        code = codeprint.fingerprint(self.cell.components)
        same = before.get("spec") == self.cell.spec and before.get("code") == code
        found = checkpoint.load(self.folder, self.state, self.device) if same else None
        curve = self.folder / CURVES
        if found is None:
            curve.unlink(missing_ok=True)
            shutil.rmtree(self.folder / SNAPSHOTS, ignore_errors=True)
            return
        self.state, feed, rest = found
        self.feed.restore(feed)
        self.step = int(self.state.step)
        self.progress = Progress(**rest)
        self.progress.resumed += 1
        lines = [line for line in read_lines(curve) if line["step"] <= self.step]
        with replacing(curve) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _cost(self) -> dict[str, float]:
        """Trained parameters of both players, and peak memory in MiB: of the process, or allocated on the GPU."""
        cost = {
            "params_g": float(sum(p.numel() for p in self.generator.params.values())),
            "params_d": float(sum(p.numel() for p in self.discriminator.params.values())),
        }
        if self.device.type == "cuda":
            cost["peak_mib"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        elif (peak := environment.peak_memory_mib()) is not None:
            cost["peak_mib"] = peak
        return cost

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        synchronize(self.device)
