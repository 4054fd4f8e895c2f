"""Train trials to their records: alone, one after the other, or stacked in one step."""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ganbench import family
from ganbench.engines import Engine, engine_of
from ganbench.errors import GanbenchError
from ganbench.grid import Trial
from ganbench.memory import lacked
from ganbench.records import Record, Status, Value, storage_fault
from ganbench.stacking import apart
from ganbench.timing import Phases, StepClock, now
from ganbench.training import DivergedError, Report, Trainer, Training, make_record, utc

TIMING_SECONDS, TIMING_SHARE, TIMING_LEAST, TIMING_WINDOWS = 1.0, 0.05, 0.2, 20
"""How the serial step of a cell is timed whose seeds trained in another engine: seconds at most, as a share of training
and at least; and windows that are aimed at."""


class CrowdedError(Exception):
    """Trials in one step need more memory than there is; fewer at a time may not."""


def run_trials(
    trials: Sequence[Trial],
    folders: Sequence[Path],
    training: Training,
    reports: Sequence[Report],
    finished: Callable[[Record], None],
    numbers: Sequence[str] = (),
) -> None:
    """Train ``trials``, of one family, into ``folders``, and commit a record of each, whatever happens short of dying.

    In the serial engine they must be one. ``numbers`` are inputs of the step; the trials may differ in no others.

    Raises:
        CrowdedError: memory ran out, and the trials are several. Those without a record go on from what is on disk.
    """
    _Cohort(training, finished).run(trials, folders, reports, numbers)


def run_trial(trial: Trial, folder: Path, training: Training, report: Report) -> Record:
    """Train one trial into ``folder`` and commit its record."""
    records: list[Record] = []
    run_trials([trial], [folder], training, [report], records.append)
    return records[0]


@dataclasses.dataclass
class _Cohort:
    """Trials of one family in training, and what becomes of them."""

    training: Training
    finished: Callable[[Record], None]
    phases: Phases = dataclasses.field(default_factory=Phases)
    together: int = 1
    """Trials that share this wall time."""
    started: str = dataclasses.field(default_factory=utc)

    def run(
        self, trials: Sequence[Trial], folders: Sequence[Path], reports: Sequence[Report], numbers: Sequence[str]
    ) -> None:
        groups: dict[int, list[Trainer]] = {}
        self.together = len(trials)
        for trial, folder, report in zip(trials, folders, reports, strict=True):
            try:
                with self.phases.of("build"):
                    like = next((trainers[0] for trainers in groups.values()), None)
                    trainer = Trainer(trial, folder, self.training, report, like)
                with self.phases.of("prepare"):
                    trainer.prepare(like)
                    if self.training.enough < math.inf:  # the real side is paid once: not by the evaluation to come
                        trainer.bench.measure(trainer.generated("ema"))
            except Exception as error:  # noqa: BLE001 # a plugin may raise anything; its trial becomes a row
                self._fail(trial, folder, error)
            else:
                groups.setdefault(trainer.step, []).append(trainer)
        for trainers in groups.values():  # of one step: after a crash, seeds may have checkpoints of different ones
            self._together(trainers, numbers)

    def _together(self, trainers: Sequence[Trainer], numbers: Sequence[str]) -> None:
        """Train ``trainers`` in one step; where that fails at once and numbers may be the reason, in several."""
        first, kept = trainers[0].step, [t.feed.state() for t in trainers] if numbers else []
        try:
            with self.phases.of("build"):
                engine = engine_of(trainers, numbers)
            self._train(engine)
        except Exception as error:  # noqa: BLE001 # a plugin may raise anything; what breaks a step breaks it for all
            begun = any(t.over or t.step != first for t in trainers)
            if not kept or begun or storage_fault(error) is not None or _status(error)[0] == "oom":
                for trainer in trainers:
                    if not trainer.over:
                        self._fail(trainer.trial, trainer.folder, error)
                return
            with self.phases.of("build"):
                for trainer, position in zip(trainers, kept, strict=True):
                    trainer.feed.restore(position)
                stacks = apart(trainers, numbers)
            what = self._constant(trainers[0], [n for n in numbers if any(n not in inputs for _, inputs in stacks)])
            trainers[0].report("note", {"text": f"{what} cannot vary within a step: {_status(error)[1]:.100}"})
            for members, inputs in stacks:
                self._together(members, inputs)

    @staticmethod
    def _constant(lead: Trainer, numbers: Sequence[str]) -> str:
        """What messages call the numbers that turned out to be constants of a step."""
        of = dict(family.parts(lead.cell))
        told = (number.rpartition(".") for number in numbers)
        return ", ".join(f"{place.partition('.')[0]}.{name} of {of[place].name}" for place, _, name in told) or (
            f"what {lead.cell.generator.name} and {lead.cell.discriminator.name} train with"
        )

    def _train(self, engine: Engine) -> None:
        lead = engine.trainers[0]
        cell, training, width = lead.cell, self.training, len(engine.trainers)
        clock = lead.clock()
        marks = {round(cell.steps * (i + 1) / training.evaluations) for i in range(training.evaluations)}
        values: dict[Trainer, dict[str, Value]] = {}
        while engine.trainers and lead.step < cell.steps and not self._enough(lead, clock):
            ahead = [m for m in marks if m > lead.step]
            if training.checkpoint_every:
                ahead.append((lead.step // training.checkpoint_every + 1) * training.checkpoint_every)
            steps = min(clock.size(), min(ahead) - lead.step)
            with self.phases.of(clock.phase):
                clock.begin()
                engine.advance(steps)
                seconds = clock.end(steps) / len(engine.trainers)
            evaluate = lead.step in marks
            save = training.checkpoint_every and lead.step % training.checkpoint_every == 0 and lead.step < cell.steps
            with self.phases.of("look"):
                if evaluate or save:
                    engine.settle()
                self._each(engine, lambda t, s=seconds: self._look(engine, t, s))  # type: ignore[misc] # a default binds the loop's value
            if evaluate:
                with self.phases.of("evaluate"):
                    self._each(engine, lambda t: values.__setitem__(t, t.evaluate()))
            if save:
                with self.phases.of("checkpoint"):
                    self._each(engine, lambda t: t.save(clock))
            lead = engine.trainers[0] if engine.trainers else lead
        with self.phases.of("look"):
            engine.settle()
        with self.phases.of("checkpoint"):  # first: what follows may want more memory than there is
            for trainer in engine.trainers:
                trainer.save(clock)
        timing = clock.summary()
        if cell.engine != "serial" and engine.trainers:
            timing = {f"fused_{name}": value for name, value in timing.items()}
            if not self.training.timed_later:
                with self.phases.of("timing"):
                    timing |= self._serial_timing(engine.trainers[0])
        for trainer in list(engine.trainers):
            with self.phases.of("evaluate"):
                last = values.get(trainer) or trainer.evaluate()
            with self.phases.of("sample"):
                content = trainer.content(last, timing)
            content["facts"] |= {"stack": width}
            self._commit(trainer.trial, trainer.folder, "done", "", **content)
            trainer.over = True

    def _enough(self, lead: Trainer, clock: StepClock) -> bool:
        """Whether a smoke run has seen enough of a cell: two periods at least, and seconds after the first window."""
        steps = [*clock.warm_up, *clock.windows][1:]
        return sum(s for _, s in steps) >= self.training.enough and sum(n for n, _ in steps) >= lead.period

    def _look(self, engine: Engine, trainer: Trainer, seconds: float) -> None:
        trainer.look(engine.logs(trainer), seconds)

    def _each(self, engine: Engine, action: Callable[[Trainer], object]) -> None:
        """Do ``action`` to each trial; one that diverged ends, the others go on."""
        for trainer in list(engine.trainers):
            try:
                action(trainer)
            except DivergedError as error:
                engine.drop(trainer)
                trainer.over = True
                self._fail(trainer.trial, trainer.folder, error)

    def _serial_timing(self, trainer: Trainer) -> dict[str, float]:
        """The time of a plain serial step, which is what a user's own training costs: measured apart, then undone."""
        kept, state, step = trainer.feed.state(), trainer.state, trainer.step
        trained = TIMING_SHARE * trainer.progress.train_s * self.together
        budget = min(TIMING_SECONDS, max(TIMING_LEAST, trained))
        # many short windows: one that something else slowed down must not be the median
        clock = StepClock(
            trainer.synchronize, period=trainer.period, least=budget / TIMING_WINDOWS, warm_seconds=0.3 * budget
        )
        begun = now()
        until, latest = begun + 1.3 * budget, begun + 5 * budget
        while now() < until or (len(clock.windows) < TIMING_WINDOWS / 2 and now() < latest) or not clock.begun_windows:
            n = clock.size()
            clock.begin()
            trainer.advance(n)
            clock.end(n)
        trainer.feed.restore(kept)
        trainer.state, trainer.step = state, step
        return clock.summary()

    def _fail(self, trial: Trial, folder: Path, error: Exception) -> None:
        if (fault := storage_fault(error)) is not None:
            raise fault from error
        status, reason = _status(error)
        if status == "oom" and self.together > 1:
            traceback.print_exception(error)
            raise CrowdedError(reason)
        if status == "error":
            traceback.print_exception(error)
        self._commit(trial, folder, status, reason)

    def _commit(self, trial: Trial, folder: Path, status: Status, reason: str, **content: Any) -> None:
        with self.phases.of("record"):
            record = make_record(trial, status, reason, training=self.training, started=self.started, **content)
            spent = {f"phase_{name}_s": seconds for name, seconds in self.phases.seconds().items()}
            record = dataclasses.replace(
                record,
                timing={**record.timing, **spent, "wall_s": self.phases.wall},
                facts={**record.facts, "together": self.together, "accounted": self.phases.accounted},
            )
            record.write(folder)
        self.finished(record)


def _status(error: Exception) -> tuple[Status, str]:
    """What an exception that ended a trial means, and says in one line."""
    if isinstance(error, DivergedError):
        return "diverged", str(error)
    if lack := lacked(error):
        return "oom", lack
    if isinstance(error, GanbenchError):
        return "error", str(error)
    return "error", f"{type(error).__name__}: {error}".splitlines()[0]
