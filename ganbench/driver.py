"""Stacks of trials go to processes, one each, and whatever happens to a process becomes a record."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganbench import codeprint, heartbeat, widths
from ganbench.cell import Trial
from ganbench.claims import Claims
from ganbench.errors import ResultsError, StorageError
from ganbench.grid import Grid
from ganbench.memory import kills
from ganbench.observers import Display, call_observers
from ganbench.plan import TO_RUN, Planned, Stack, inspect
from ganbench.processes import context, death, starved, terminating, without_main
from ganbench.records import Record, Status, storage_fault
from ganbench.registry import Registry, located
from ganbench.results import Results
from ganbench.settings import parse_duration
from ganbench.text import plural
from ganbench.timing import now
from ganbench.training import Training, make_record
from ganbench.widths import Width
from ganbench.worker import LOG, Job, work

if TYPE_CHECKING:
    from ganbench.runner import Options, Run

SMOKE_SECONDS = 1.5
"""Seconds of training, after its first window, that a cell gets in a smoke run: what ``plan`` predicts from."""
LOOK = 2.0
"""Seconds between two looks at what other processes train."""
GRACE = 5.0
"""Seconds between asking a process to end and killing it."""


@dataclass
class _Slot:
    """A process at work, and what it was last heard of."""

    number: int
    device: str
    job: Job
    stack: Stack
    process: BaseProcess
    events: Connection
    lifeline: Connection
    left: list[int]
    """Places in the stack of the trials without a record."""
    running: list[int] = field(default_factory=list)
    """Those in training: one, or all that train together."""
    deadline: float = math.inf
    verdict: tuple[Status, str] | None = None
    """Why the driver killed it."""
    crowded: str = ""
    """What its process said when the memory did not do for all its trials at once."""
    kills: int | None = None
    """Processes that the system had killed for want of memory when it began."""


@dataclass
class Driver:
    """Hands cells to processes and turns whatever happens to them into records."""

    run: Run
    grid: Grid
    registry: Registry
    options: Options
    display: Display
    threads: int
    slots: list[_Slot] = field(default_factory=list)
    complained: set[str] = field(default_factory=set)
    begun: set[Path] = field(default_factory=set)
    """Trials that observers know of: one may go on in a second process."""
    interrupted: bool = False

    def drive(self) -> None:
        """Work until nothing is left to do, or the run is interrupted; every trial that began has a record then."""
        limit = self.options.timeout
        self.limit = parse_duration(self.grid.settings.timeout) if limit is None else limit
        queue, claims = deque(self.run.stacks), Claims(self.run.folder)
        self.elsewhere: list[Stack] = []
        free = deque((n, self.run.devices[n % len(self.run.devices)]) for n in range(self.run.workers))
        self._hook("ganbench_run_started", run=self.run)
        self.display.begin(self.run)
        for note in self.run.plan.notes:
            self.display.note(note)
        try:
            looked = now()
            with terminating():
                while queue or self.slots or (self.elsewhere and not self.options.helping):
                    while queue and free:
                        wanted = queue.popleft()
                        if (stack := self._mine(wanted, claims)) is not None:
                            number, device = free.popleft()
                            self.slots.append(self._start(number, device, self._fitting(stack)))
                        else:
                            queue.extendleft(_chained(wanted.then))
                    if self.elsewhere and not queue and now() - looked >= LOOK:
                        looked = now()
                        queue, self.elsewhere = deque(self.elsewhere), []
                    self.display.tick()
                    for slot in self._listen():
                        self.slots.remove(slot)
                        free.append((slot.number, slot.device))
                        left = tuple(slot.stack.trials[i] for i in sorted(slot.left))
                        again = [Stack(left, slot.stack.numbers)] if left else []
                        queue.extendleft(_chained([*again, *slot.stack.then]))
        except KeyboardInterrupt:
            self.interrupted = True
            self._stop()
        finally:
            self.display.end()
            for slot in self.slots:
                slot.process.kill()
            claims.close()

    def _mine(self, stack: Stack, claims: Claims) -> Stack | None:
        """The trials of ``stack`` that no other process trains, and that none has trained since the plan was made."""
        mine: list[Planned] = []
        others: list[Planned] = []
        for planned in stack.trials:
            taken = claims.take(planned.trial.folder)  # first: what is on disk then is not about to change
            code = codeprint.fingerprint(planned.trial.cell.components)
            found = inspect(planned.trial, self.run.folder, code)
            again = found.record is not None and found.record == planned.record
            if found.stage in TO_RUN or again:
                (mine if taken else others).append(found if taken else planned)
            elif found.record is not None:
                self.display.finished(-1, planned.trial, found.record)
        if others:
            self.elsewhere.append(Stack(tuple(others), stack.numbers))
        return replace(stack, trials=tuple(mine)) if mine else None

    def _fitting(self, stack: Stack) -> Stack:
        """As much of ``stack`` as there is memory for, as far as is known, and the rest when that is done."""
        known = widths.read(self.run.folder).get(widths.kind(stack.cell)) if stack.cell.stacked else None
        return stack if known is None else stack.within(known.most)

    @property
    def timing(self) -> Literal["auto"] | bool:
        """Whether the timing pass is asked for."""
        return self.grid.settings.timing if self.options.timing is None else self.options.timing

    def finished(self) -> None:
        """Tell plugins that the run is over."""
        self._hook("ganbench_run_finished", run=self.run, results=Results(self.run.folder))

    def _start(self, number: int, device: str, stack: Stack) -> _Slot:
        settings = self.grid.settings
        cells = list({planned.trial.cell.id: planned.trial.cell for planned in stack.trials}.values())
        places = {cell.id: i for i, cell in enumerate(cells)}
        job = Job(
            folder=self.run.folder.resolve(),
            specs=tuple(cell.spec for cell in cells),
            trials=tuple((places[planned.trial.cell.id], planned.trial.seed) for planned in stack.trials),
            plugins=tuple(located(f, Path.cwd()) for f in (*self.grid.plugin_files, *self.options.plugins)),
            without=(*settings.without, *self.options.without),
            training=Training(
                device=device,
                threads=self.threads,
                evaluations=1 if self.options.smoke else settings.evaluations,
                enough=SMOKE_SECONDS if self.options.smoke else math.inf,
                snapshots=settings.snapshots,
                checkpoint_every=settings.checkpoint_every,
                exclusive=self.run.workers == 1 and len(heartbeat.here(self.run.folder)) < 2,
                timed_later=not self.options.smoke and self.timing is True,
            ),
            # those to begin from nothing
            fresh=frozenset(i for i, planned in enumerate(stack.trials) if planned.stage in {"stale", "failed"}),
            numbers=stack.numbers,
        )
        engines = {pending.trial.cell.engine for pending in self.run.todo}
        compiling = any("compiled" in engine for engine in engines)
        spawned = context(device, tracing=engines != {"serial"}, compiling=compiling)
        events, events_end = spawned.Pipe(duplex=False)
        lifeline_end, lifeline = spawned.Pipe(duplex=False)
        process = spawned.Process(target=work, args=(job, events_end, lifeline_end), daemon=True)
        with without_main():
            process.start()
        events_end.close()
        lifeline_end.close()
        left = list(range(len(stack.trials)))
        return _Slot(number, device, job, stack, process, events, lifeline, left, kills=kills())

    # -- listening ---------------------------------------------------------------------------------------------

    def _listen(self) -> list[_Slot]:
        """Wait a moment for news; the slots whose process has ended, with their records written."""
        if not self.slots:  # others are at work
            time.sleep(0.2)
        ready = wait([s.events for s in self.slots] + [s.process.sentinel for s in self.slots], timeout=0.2)
        ended = []
        for slot in self.slots:
            if slot.events in ready:
                self._read(slot)
            if slot.process.sentinel in ready:
                self._read(slot)
                self._bury(slot)
                ended.append(slot)
            elif now() > slot.deadline and slot.verdict is None:
                slot.verdict = ("timeout", f"not finished after {self.limit:g} s")
                slot.process.kill()
        return ended

    def _read(self, slot: _Slot) -> None:
        with contextlib.suppress(EOFError, OSError):
            while slot.events.poll():
                kind, content = slot.events.recv()
                self._hear(slot, kind, content)

    def _hear(self, slot: _Slot, kind: str, content: dict[str, Any]) -> None:
        if kind == "broken":
            for i in slot.left:
                self._commit(slot, i, "error", content["reason"], content["log"])
            slot.left.clear()
            return
        if kind == "note":
            if content["text"] not in self.complained:
                self.complained.add(content["text"])
                self.display.note(content["text"])
            return
        if kind == "crowded":
            slot.crowded = content["reason"]
            return
        if kind == "full":
            place = content["place"] or str(self.run.folder)
            raise StorageError(content["reason"], place=place, hint=content["hint"])
        trial = slot.stack.trials[content["trial"]].trial
        if kind == "started":
            slot.running.append(content["trial"])
            slot.deadline = now() + self.limit * len(slot.running)
            self.display.started(slot.number, trial)
            if trial.folder not in self.begun:
                self.begun.add(trial.folder)
                self._hook("ganbench_trial_started", run=self.run, trial=trial)
        elif kind == "step":
            self.display.stepped(slot.number, trial, content["step"], content["logs"])
        elif kind == "record":
            row = content | {"trial": str(trial.folder), "seed": trial.seed, "cell": trial.cell.name}
            row = trial.cell.labels | row
            self._hook("ganbench_record", run=self.run, record=row)
        elif kind == "finished":
            slot.running.remove(content["trial"])
            slot.deadline = slot.deadline if slot.running else math.inf
            slot.left.remove(content["trial"])
            record = Record.read(self.run.folder / trial.folder)
            if record is not None:
                self._announce(slot, trial, record)

    def _bury(self, slot: _Slot) -> None:
        """A process has ended: the trial that it left unfinished becomes a row, the others go to a new process."""
        slot.process.join()
        code = slot.process.exitcode or 0
        slot.events.close()
        slot.lifeline.close()
        if not slot.running and (code == 0 or not slot.left):
            return
        memory = slot.verdict is None and starved(code, slot.kills)
        if slot.stack.cell.stacked and len(slot.stack.trials) > 1 and (slot.crowded or memory or memory is None):
            self._narrow(slot, slot.crowded or death(code))
            return
        status, reason = slot.verdict or ("oom" if memory else "crashed", death(code))
        for place in slot.running or slot.left[:1]:
            self._commit(slot, place, status, reason)
            slot.left.remove(place)

    def _narrow(self, slot: _Slot, why: str) -> None:
        """The trials of a stack that had no record yet go on with fewer in one step, and so does all of their kind."""
        n = len(slot.stack.trials)
        most, cells = -(-n // 2), [planned.trial.cell for planned in slot.stack.trials]
        about = widths.about(list(dict.fromkeys(cells)))
        widths.record(self.run.folder, widths.kind(slot.stack.cell), Width(most, about, {str(n): why}))
        for place in slot.running:
            self.display.stopped(slot.number, slot.stack.trials[place].trial)
        slot.running.clear()
        told = f"{about}: {n} trials in one step ran out of memory ({why})"
        self.display.note(f"{told}: {plural(most, 'trial')} at a time from now on")

    def _commit(self, slot: _Slot, place: int, status: Status, reason: str, log: str = "") -> None:
        trial = slot.stack.trials[place].trial
        folder = self.run.folder / trial.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOG).open("a", encoding="utf-8") as file:
                file.write(f"{log}ganbench: {status}: {reason}\n")
        except OSError as error:
            raise storage_fault(error, folder) or ResultsError(
                f"cannot be written: {error.strerror or error}", place=str(folder)
            ) from error
        record = make_record(trial, status, reason, training=slot.job.training)
        record.write(folder)
        self._announce(slot, trial, record)

    def _announce(self, slot: _Slot, trial: Trial, record: Record) -> None:
        self.display.finished(slot.number, trial, record)
        self._hook("ganbench_trial_finished", run=self.run, result=record)

    # -- ending ------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Interrupted: end the processes; a trial in training keeps its checkpoint and is marked."""
        for slot in self.slots:
            slot.process.kill()
        for slot in self.slots:
            slot.process.join(GRACE)
            self._read(slot)
            for place in slot.running:
                with contextlib.suppress(ResultsError):
                    self._commit(slot, place, "interrupted", "the run was interrupted")

    def _hook(self, name: str, **arguments: Any) -> None:
        """Call every observer; one that raises is reported once, and the run goes on."""
        call_observers(self.registry, name, arguments, self.complained, self.display.note)


def _chained(stacks: Sequence[Stack]) -> list[Stack]:
    """``stacks``, of which each begins when the one before is done, as one; none if there are none."""
    return [replace(stacks[0], then=tuple(stacks[1:]))] if stacks else []
