"""The timing pass over a run: blocks of comparable cells, one process at a time, and only those not on disk."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganbench import codeprint, environment
from ganbench.cell import Cell
from ganbench.errors import ConfigError, ResultsError
from ganbench.eta import duration
from ganbench.heartbeat import TimingBeat
from ganbench.processes import context, death, only_timing, without_main
from ganbench.records import read_json
from ganbench.results import Results
from ganbench.runfolder import RUN
from ganbench.settings import Settings
from ganbench.steptimes import Block, block_id, file_of
from ganbench.text import plural
from ganbench.timer import BlockJob, work
from ganbench.timing import now

MOST = 14
"""Cells that are timed against each other at most: all of them are in memory at once."""
PATIENCE = 20.0
"""Times its budget that a block may take before its process is killed."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What to time, and how.

    Args:
        folder: of the run.
        cells: to time.
        mode: ``serial``, or ``compiled``.
        device: to time on.
        threads: of the CPU.
        seconds: the budget for each cell.
        plugins: files to load.
        without: plugins to block.
        again: time also what is on disk.
    """

    folder: Path
    cells: Sequence[Cell]
    mode: Literal["serial", "compiled"] = "serial"
    device: str = "cpu"
    threads: int = 1
    seconds: float = 3.0
    plugins: tuple[Path, ...] = ()
    without: tuple[str, ...] = ()
    again: bool = False
    tell: Callable[[str], None] = field(default=lambda _: None)

    def run(self) -> list[str]:
        """Time every block that is not on disk, and return what went wrong, a line for each block.

        A block on disk is kept if it has these cells with this code, on this hardware and in this environment.
        """
        todo = self.todo()
        wrong = []
        if todo:
            with only_timing(self.tell), TimingBeat(self.folder) as beat:
                begun, finished = now(), 0.0
                for number, (id_, cells) in enumerate(todo, 1):
                    pace = (now() - begun) / finished if finished else 1.0
                    left = pace * sum(self._budget(block) for _, block in todo[number - 1 :])
                    doing = f"timing pass: block {number} of {len(todo)}, {plural(len(cells), 'cell')}"
                    beat.show(doing, left)
                    self.tell(f"{doing}, about {duration(left)} left")
                    if trouble := self._time(id_, cells, beat):
                        wrong.append(f"timing of {', '.join(c.name for c in cells)} failed: {trouble}")
                    finished += self._budget(cells)
        return wrong

    def _budget(self, cells: Sequence[Cell]) -> float:
        """Seconds that a block may take: its cells, and the one without regularizers twice."""
        return self.seconds * (len(cells) + 2)

    @property
    def expected(self) -> float:
        """Seconds that the whole pass may take, with what is on disk already."""
        return sum(self._budget(cells) for _, cells in self.blocks())

    def todo(self) -> list[tuple[str, list[Cell]]]:
        """The blocks that are not on disk, or all of them if they are to be timed ``again``."""
        return [(id_, cells) for id_, cells in self.blocks() if self.again or not self.kept(id_, cells)]

    def blocks(self) -> list[tuple[str, list[Cell]]]:
        """The cells that are timed together, by the identity of their block, in the order of the grid."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(block_id(cell.spec), []).append(cell)
        parts = []
        for id_, cells in found.items():
            pieces = [cells[i : i + MOST] for i in range(0, len(cells), MOST)]
            parts += [(id_ if len(pieces) == 1 else f"{id_}-{n}", piece) for n, piece in enumerate(pieces)]
        return parts

    def kept(self, id_: str, cells: Sequence[Cell]) -> bool:
        """Whether the block is on disk already, as this machine and this code would time it."""
        try:
            block = Block.read(file_of(self.folder, id_, self.mode))
        except ResultsError:
            return False
        if block is None or block.raw.get("fingerprints") != environment.fingerprints(self.device):
            return False
        codes = {cell.name: codeprint.combined(codeprint.fingerprint(cell.components)) for cell in cells}
        same = block.raw.get("device") == self.device and block.raw.get("threads") == self.threads
        return same and {name: found.get("code") for name, found in block.cells.items()} == codes

    def _time(self, id_: str, cells: Sequence[Cell], beat: TimingBeat) -> str:
        """Time one block in a process of its own; what went wrong, or nothing."""
        job = BlockJob(
            file=file_of(self.folder.resolve(), id_, self.mode),
            block=id_,
            mode=self.mode,
            specs={cell.name: cell.spec for cell in cells},
            plugins=tuple(Path(p).resolve() for p in self.plugins),
            without=self.without,
            device=self.device,
            threads=self.threads,
            seconds=self.seconds,
        )
        started = context(self.device)
        answers, answer_end = started.Pipe(duplex=False)
        lifeline_end, lifeline = started.Pipe(duplex=False)
        process = started.Process(target=work, args=(job, answer_end, lifeline_end), daemon=True)
        with without_main():
            process.start()
        answer_end.close()
        lifeline_end.close()
        deadline = now() + PATIENCE * max(self.seconds, 1.0) * (len(cells) + 2)
        try:
            while process.is_alive() and now() < deadline:
                process.join(0.5)
                beat.tick()
            late = process.is_alive()
            answer: str | None = None
            with contextlib.suppress(EOFError, OSError):
                answer = answers.recv() if answers.poll() else None
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            answers.close()
            lifeline.close()
        if late:
            return f"not finished after {PATIENCE:g} times its budget"
        return death(process.exitcode or 0) if answer is None else answer


def specs_of(results: Results) -> tuple[list[dict[str, Any]], Settings, tuple[Path, ...]]:
    """The specifications of a run's cells of which a trial is done, its settings, and the plugin files it names.

    Raises:
        ResultsError: the run's grid or a specification cannot be read.
    """
    done = dict.fromkeys(record.cell for record in results.trials if record.status == "done")
    specs = []
    for cell in done:
        folders = sorted((results.path / "trials" / cell).glob("seed-*"))
        kept = (read_json(folder / "spec.json") or {} for folder in folders)
        spec = next((found["spec"] for found in kept if "spec" in found), None)
        if spec is None:
            place = str(results.path / "trials" / cell)
            raise ResultsError("no trial of this cell has its spec.json, which says what to time", place=place)
        specs.append(spec)
    path = results.path / "grid.toml"
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if text.startswith("{") else tomllib.loads(text)  # a grid given in Python is JSON
        run = {key: value for key, value in table.get("run", {}).items() if key != "name"}
        settings = Settings.from_table(run, place="[run]")
    except (OSError, ValueError, ConfigError) as error:
        raise ResultsError(f"the grid of the run cannot be read: {error}", place=str(path)) from error
    source = Path((read_json(results.path / RUN) or {}).get("grid", "grid"))
    return specs, settings, tuple(source.resolve().parent / file for file in settings.plugins)
