"""Train one trial: networks from their streams, steps in timed windows, evaluations, checkpoints, a record."""

from __future__ import annotations

import dataclasses
import json
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganbench import checkpoint, codeprint, environment
from ganbench.errors import GanbenchError, ResultsError
from ganbench.evaluation import Bench, check_spec, generate
from ganbench.feed import Feed
from ganbench.grid import Trial
from ganbench.networks import Discriminator, Generator, Network
from ganbench.pictures import sample_picture
from ganbench.records import Record, Status, Value, append_line, read_json, read_lines, replacing, write_json
from ganbench.samples import Samples, SampleSpec
from ganbench.seeding import global_stream, stream
from ganbench.state import Params
from ganbench.step import Autograd, Game, effective_generator, initial_state
from ganbench.timing import StepClock, now

Report = Callable[[str, Mapping[str, Any]], None]
"""``report(kind, content)`` tells the driver of progress; it must be cheap."""
CURVES, PICTURE = "curves.jsonl", "samples.png"


class DivergedError(Exception):
    """A loss or a weight is not finite."""


@dataclass(frozen=True)
class Training:
    """How this process trains; none of it enters a trial's identity."""

    device: str = "cpu"
    threads: int = 1
    evaluations: int = 5
    checkpoint_every: int = 1_000
    exclusive: bool = True
    """Whether nothing else of this run trains on the machine at the same time."""


@dataclass
class Progress:
    """What training accumulates beside the state; it is checkpointed with it."""

    train_s: float = 0.0
    eval_s: float = 0.0
    windows: list[tuple[int, float]] = field(default_factory=list)
    warm_up: list[tuple[int, float]] = field(default_factory=list)
    passes: dict[str, float] = field(default_factory=dict)
    resumed: int = 0
    """How often training went on from a checkpoint."""


def run_trial(trial: Trial, folder: Path, training: Training, report: Report) -> Record:
    """Train ``trial`` into ``folder`` and commit its record, whatever happens short of the process dying."""
    started = _utc()
    begun = now()
    content: dict[str, Any] = {}
    status: Status = "done"
    reason = ""
    try:
        content = Trainer(trial, folder, training, report).run()
    except DivergedError as error:
        status, reason = "diverged", str(error)
    except (torch.OutOfMemoryError, MemoryError) as error:
        status, reason = "oom", str(error).splitlines()[0] if str(error) else "out of memory"
    except GanbenchError as error:
        status, reason = "error", str(error)
        traceback.print_exc()
    except Exception as error:  # noqa: BLE001 # a plugin may raise anything; its trial becomes a row
        status, reason = "error", f"{type(error).__name__}: {error}".splitlines()[0]
        traceback.print_exc()
    record = make_record(trial, status, reason, training=training, started=started, **content)
    record = dataclasses.replace(record, timing={**record.timing, "wall_s": now() - begun})
    record.write(folder)
    return record


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
        "precision": cell.precision,
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
        started=started or _utc(),
        finished=_utc(),
    )


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Trainer:
    """One trial in training."""

    def __init__(self, trial: Trial, folder: Path, training: Training, report: Report) -> None:
        cell = trial.cell
        self.trial, self.cell, self.folder, self.training, self.report = trial, cell, folder, training, report
        self.device = torch.device(training.device)
        self.dtype: torch.dtype = getattr(torch, cell.precision)
        self.spec = cell.dataset.spec()
        self.games: dict[tuple[bool, ...], Game] = {}
        self.progress = Progress()
        self._step = 0  # as state.step, but on the host
        torch.set_num_threads(training.threads)
        source = cell.dataset.load("train", stream(0, "dataset-train"))
        if isinstance(source, Samples):
            check_spec(source, self.spec.shape, cell.dataset)
        self.generator = self._network("init-g", cell.generator, self.spec)
        seen = self.spec.shape
        for r in cell.regularizers:
            _, seen = r.packed(cell.batch, seen)
        self.discriminator = self._network("init-d", cell.discriminator, dataclasses.replace(self.spec, shape=seen))
        self.feed = Feed(
            source,
            cell.regularizers,
            seed=trial.seed,
            batch=cell.batch,
            d_turns=cell.update.d_turns,
            latent=cell.generator.latent,
            shape=self.spec.shape,
            dtype=self.dtype,
            device=self.device,
        )
        self.state = initial_state(
            self.generator, self.discriminator, cell.regularizers, cell.optimizer, cell.loss, cell.update
        )

    def _network(self, name: str, component: Generator | Discriminator, spec: SampleSpec) -> Network:
        """A network whose initial weights depend on the seed and its own specification, and on nothing else."""
        about = f"{name}/{component.fingerprint}/{spec.shape}/{spec.classes}"
        with global_stream(self.trial.seed, about):
            module = component.build(spec)
        return Network(module.to(self.device, self.dtype))

    # -- stepping ----------------------------------------------------------------------------------------------

    def game(self, step: int, discriminator: Network | None = None) -> Game:
        """The objectives of step number ``step``: one for each set of regularizers that are active together."""
        cell = self.cell
        active = tuple(step % r.every == 0 for r in cell.regularizers)
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
            derivatives=Autograd(),
        )
        if discriminator is None:
            self.games[active] = game
        return game

    def advance(self, steps: int) -> None:
        """Train ``steps`` steps."""
        for number in range(self._step, self._step + steps):
            game = self.game(number)
            turns = self.feed.turns(game.active)
            self.state = game.finish(self.cell.update.step(game, self.state, turns))
        self._step += steps

    # -- a whole trial -----------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train to the end from the checkpoint in the folder, or from the start; what a record says of it."""
        cell, training = self.cell, self.training
        environment.reset_peak_memory()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._resume()
        identity = {"spec": cell.spec, "seed": self.trial.seed, "code": codeprint.fingerprint(cell.components)}
        write_json(self.folder / "spec.json", identity)
        begun = now()
        bench = Bench.prepare(cell.dataset, cell.metrics, n=cell.samples, seed=self.trial.seed, device=self.device)
        self.progress.eval_s += now() - begun
        if not self.progress.passes:
            self.progress.passes = self.count_passes()
        clock = StepClock(
            self._synchronize,
            period=self.period,
            windows=self.progress.windows,
            warm_up=[] if self.progress.resumed else self.progress.warm_up,
        )
        marks = {round(cell.steps * (i + 1) / training.evaluations) for i in range(training.evaluations)}
        values: dict[str, Value] = {}
        while self._step < cell.steps:
            ahead = [m for m in marks if m > self._step]
            if training.checkpoint_every:
                ahead.append((self._step // training.checkpoint_every + 1) * training.checkpoint_every)
            steps = min(clock.size(), min(ahead) - self._step)
            clock.begin()
            self.advance(steps)
            self.progress.train_s += clock.end(steps)
            self._look()
            if self._step in marks:
                values = self._evaluate(bench)
            if training.checkpoint_every and self._step % training.checkpoint_every == 0 and self._step < cell.steps:
                self._save(clock)
        self._save(clock)
        if not values:  # resumed after the last step
            values = self._evaluate(bench)
        self._picture(bench)
        return {
            "measures": values,
            "timing": clock.summary() | {"train_s": self.progress.train_s, "eval_s": self.progress.eval_s},
            "cost": self._cost() | self.progress.passes,
            "facts": {"n": bench.n, "resumed": self.progress.resumed}
            | {name: float(total / n) for name, (total, n) in self.state.tallies.items() if n},
        }

    @property
    def period(self) -> int:
        """Steps after which the kinds of step repeat."""
        return math.lcm(*(r.every for r in self.cell.regularizers))

    def count_passes(self) -> dict[str, float]:
        """D forward and backward passes a step, over one period; neither the state nor a stream moves on.

        A backward pass is counted whenever a gradient enters the output of a forward pass.
        """
        counted = _Counted(self.discriminator.module)
        kept = self.feed.state()
        state = self.state
        for number in range(self.period):
            game = self.game(number, counted)
            state = game.finish(self.cell.update.step(game, state, self.feed.turns(game.active)))
        self.feed.restore(kept)
        per_step = self.cell.batch * self.period
        return {"d_forwards": counted.forwards / per_step, "d_backwards": counted.backwards / per_step}

    def _look(self) -> None:
        """Ask the device for the last step's scalars, write and report them, and stop if one is not finite."""
        logs = {name: float(value) for name, value in self.state.logs.items()}
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(f"{bad[0]} is {logs[bad[0]]} at step {self._step}")
        self.report("step", {"step": self._step, "logs": logs})

    def _evaluate(self, bench: Bench) -> dict[str, Value]:
        begun = now()
        for name, weights in (("the generator's weights", self.state.g.params), ("its average", self.state.ema)):
            if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
                raise DivergedError(f"{name} are not finite at step {self._step}")
        latents, labels = self._latents(bench.n)
        last = bench.measure(generate(self.generator, self.weights("last"), latents, labels))
        ema = bench.measure(generate(self.generator, self.weights("ema"), latents, labels))
        values = bench.values(last, ema)
        self.progress.eval_s += now() - begun
        row: dict[str, Any] = {"step": self._step, "train_s": self.progress.train_s}
        row |= {name: float(value) for name, value in self.state.logs.items()}
        for name, value in values.items():
            row |= {name: value.last, f"{name}_ema": value.ema}
        append_line(self.folder / CURVES, row)
        self.report("record", row)
        return values

    def weights(self, which: Literal["last", "ema"]) -> Params:
        """The generator's weights and buffers as it is sampled with: the last iterate or the running average."""
        weights = self.state.ema if which == "ema" else self.state.g.params | self.state.g.buffers
        params = {name: weights[name] for name in self.generator.params}
        effective = effective_generator(params, self.cell.regularizers, self.state.regularizers)
        return {**weights, **effective}

    def _latents(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Latents and labels for evaluation: the same in every cell, for one seed."""
        rng = stream(self.trial.seed, "eval")
        latents = torch.randn(n, self.cell.generator.latent, generator=rng, dtype=self.dtype)
        labels = torch.arange(n) % self.spec.classes if self.spec.classes else None
        return latents.to(self.device), None if labels is None else labels.to(self.device)

    def _picture(self, bench: Bench) -> None:
        latents, labels = self._latents(bench.n)
        fake = generate(self.generator, self.weights("ema"), latents, labels)
        with replacing(self.folder / PICTURE) as partial:
            sample_picture(fake.float(), self.spec, partial, real=bench.real.x)

    # -- keeping -----------------------------------------------------------------------------------------------

    def _save(self, clock: StepClock) -> None:
        self.progress.windows, self.progress.warm_up = clock.windows, clock.warm_up
        checkpoint.save(self.folder, self.state, self.feed.state(), dataclasses.asdict(self.progress))

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
            return
        self.state, feed, rest = found
        self.feed.restore(feed)
        self._step = int(self.state.step)
        self.progress = Progress(**rest)
        self.progress.resumed += 1
        lines = [line for line in read_lines(curve) if line["step"] <= self._step]
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

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _Counted(Network):
    """A discriminator that counts the samples that go through it, forwards and backwards."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.forwards = self.backwards = 0

    def __call__(self, params: Params, buffers: Params, *inputs: Tensor | bool | None) -> tuple[Tensor, Params]:
        scores, written = super().__call__(params, buffers, *inputs)
        n = scores.shape[0]
        self.forwards += n
        if scores.requires_grad:

            def entered(gradient: Tensor) -> None:
                del gradient
                self.backwards += n

            scores.register_hook(entered)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return scores, written
