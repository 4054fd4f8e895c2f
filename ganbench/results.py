"""Reading a run's folder: one tidy row for each trial, failed ones too, and for each skipped cell."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ganbench.errors import ResultsError, nearest
from ganbench.footers import refusals
from ganbench.records import FAILED, ROLES, Record, read_json, read_lines
from ganbench.standing import several_protocols
from ganbench.steptimes import APART, StepTimes, timed
from ganbench.table import STEP
from ganbench.targets import column, frontier, reached

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ganbench.table import Table

RUN = "run.json"
Better: TypeAlias = Literal["lower", "higher"] | None


@dataclass(frozen=True)
class Planned:
    """A cell as the run's plan has it: ``skip`` is the reason why it is not trained, or None."""

    cell: str
    id: str
    labels: Mapping[str, str]
    skip: str | None
    seeds: tuple[int, ...]


class Results:
    """What a run has left on disk so far, read when first asked for.

    A result that cannot be read is a row of status ``error`` that says so, never an exception.

    Args:
        path: the run's folder.

    Raises:
        ResultsError: ``path`` is not the folder of a run.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        raw = read_json(self.path / RUN)
        if raw is None:
            raise ResultsError(
                f"not the folder of a run: it has no {RUN}",
                place=str(self.path),
                hint="name a folder that `ganbench run` has made",
            )
        try:
            self.plan = tuple(
                Planned(
                    cell=cell["cell"],
                    id=cell["id"],
                    labels=dict(cell["labels"]),
                    skip=cell.get("skip"),
                    seeds=tuple(cell.get("seeds") or ()),
                )
                for cell in raw["cells"]
            )
            self.name: str = raw.get("name") or self.path.resolve().name
            self.settings: Mapping[str, Any] = raw.get("settings") or {}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultsError(f"not the plan of a run: {error!r}", place=str(self.path / RUN)) from error

    def __repr__(self) -> str:
        return f"Results({str(self.path)!r}, {len(self.trials)} trials, {self.missing} missing)"

    @functools.cached_property
    def trials(self) -> tuple[Record, ...]:
        """The finished trials of the plan, in its order."""
        read = (
            self._read(planned, self.path / "trials" / planned.cell / f"seed-{seed}", seed)
            for planned in self.plan
            if planned.skip is None
            for seed in planned.seeds
        )
        return tuple(record for record in read if record is not None)

    @functools.cached_property
    def stale(self) -> tuple[Record, ...]:
        """The trials on disk that the plan no longer has: of another grid, other seeds or other settings."""
        by_cell = {planned.cell: planned for planned in self.plan if planned.skip is None}
        records = []
        for folder in sorted(self.path.glob("trials/*/seed-*")):
            seed = folder.name.removeprefix("seed-")
            planned = by_cell.get(folder.parent.name)
            if not seed.isdecimal() or (planned is not None and int(seed) in planned.seeds):
                continue
            _, _, id_ = folder.parent.name.rpartition("-")
            unplanned = Planned(folder.parent.name, id_, {}, None, ())
            record = self._read(planned or unplanned, folder, int(seed))
            if record is not None:
                records.append(record)
        return tuple(records)

    @staticmethod
    def _read(planned: Planned, folder: Path, seed: int) -> Record | None:
        try:
            return Record.read(folder)
        except ResultsError as error:
            return Record(
                cell=planned.cell,
                id=planned.id,
                seed=seed,
                status="error",
                labels=planned.labels,
                reason=f"unreadable result: {error}",
            )

    @property
    def missing(self) -> int:
        """How many trials of the plan have no result yet."""
        return sum(len(planned.seeds) for planned in self.plan if planned.skip is None) - len(self.trials)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials have each status, how many are ``missing``, and how many cells are ``skipped``."""
        counts = Counter[str](record.status for record in self.trials)
        skipped = sum(planned.skip is not None for planned in self.plan)
        return {k: n for k, n in (counts | {"skipped": skipped, "missing": self.missing}).items() if n}

    @functools.cached_property
    def measures(self) -> dict[str, tuple[Better, str]]:
        """For each measure that any trial has, in order of appearance: which way is better, and its unit."""
        found: dict[str, tuple[Better, str]] = {}
        for record in self.trials:
            for name, value in record.measures.items():
                found.setdefault(name, (value.better, value.unit))
        return found

    @functools.cached_property
    def records(self) -> pd.DataFrame:
        """One row for each finished trial of the plan and each skipped cell; see :meth:`Record.row` for the columns."""
        finished: dict[str, list[Record]] = {}
        for record in self.trials:
            finished.setdefault(record.cell, []).append(record)
        rows = []
        for planned in self.plan:
            if planned.skip is None:
                rows += finished.get(planned.cell, [])
            else:
                rows.append(_skipped(planned, planned.skip))
        return self._with_targets(frame(rows, self.step_times))

    @property
    def targets(self) -> dict[str, float]:
        """The values of measures whose first reaching is timed, from ``[run] targets``."""
        return {str(measure): float(value) for measure, value in (self.settings.get("targets") or {}).items()}

    def _with_targets(self, table: pd.DataFrame) -> pd.DataFrame:
        """``table`` with the seconds that each trial needed to reach each target: infinite for one that failed."""
        for measure, target in self.targets.items():
            better = self.measures.get(measure.removesuffix("_ema"), (None, ""))[0]
            seconds: dict[tuple[str, int | None], float | None] = {}
            for record in self.trials:
                lines = read_lines(self.path / "trials" / record.cell / f"seed-{record.seed}" / "curves.jsonl")
                when = reached(lines, measure, target, better)
                missed = record.status in FAILED and better is not None
                seconds[record.cell, record.seed] = math.inf if missed and when is None else when
            keys = zip(table["cell"], table["seed"], strict=True)
            table[column(measure, target)] = [seconds.get(key) for key in keys]
            table = table.astype({column(measure, target): float})
        return table

    def frontier(self, measure: str) -> pd.DataFrame:
        """Quality against time: for each cell the evaluations that no earlier one matches, medians over its seeds.

        Columns: ``cell``, ``step``, ``train_s`` (seconds of training, evaluations excluded) and the measure. Data sets
        on which the measure has several protocols are left out, as by tables.

        Raises:
            ResultsError: there is no such measure, it has no better way, or every data set is left out.
        """
        import pandas as pd

        better = self.measures.get(measure.removesuffix("_ema"), (None, ""))[0]
        if better is None or not {measure, "train_s"} <= set(self.curves.columns):
            raise ResultsError(
                f"no curves of a measure {measure!r} with a better way", hint=nearest(measure, self.measures)
            )
        datasets = {record.labels.get("dataset", "") for record in self.trials}
        parts = {d: [r for r in self.trials if r.labels.get("dataset", "") == d] for d in datasets}
        mixed = {
            d: of for d, part in parts.items() if (of := several_protocols(part).get(measure.removesuffix("_ema")))
        }
        if mixed.keys() == datasets:
            raise ResultsError(" ".join(refusals({measure: next(iter(mixed.values()))})))
        curves = self.curves[~self.curves["dataset"].isin(list(mixed))]
        rows = []
        for cell, lines in curves.dropna(subset=[measure]).groupby("cell", sort=False):
            middle = lines.groupby("step")[["train_s", measure]].median()
            kept = frontier(zip(middle["train_s"], middle[measure], strict=True), better)
            found = middle[[pair in kept for pair in zip(middle["train_s"], middle[measure], strict=True)]]
            rows += [{"cell": cell, "step": step, **line} for step, line in found.to_dict("index").items()]
        return pd.DataFrame(rows, columns=["cell", "step", "train_s", measure])

    @functools.cached_property
    def step_times(self) -> StepTimes:
        """What the timing pass has measured of the serial step, of the code that was trained; empty without a pass."""
        codes: dict[str, set[str]] = {}
        for record in self.trials:
            if record.status == "done" and "code" in record.fingerprints:
                codes.setdefault(record.cell, set()).add(record.fingerprints["code"])
        return StepTimes.read(self.path).of(codes)

    @functools.cached_property
    def all_records(self) -> pd.DataFrame:
        """As :attr:`records`, followed by the stale trials; the column ``planned`` tells them apart."""
        import pandas as pd

        tables = [self.records.assign(planned=True), frame(self.stale).assign(planned=False)]
        tables = [table for table in tables if len(table)] or tables[:1]
        return pd.concat(tables, ignore_index=True)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """What was measured during training: one row for each trial and step that was evaluated.

        Columns: ``cell``, ``seed``, one for each role, ``step``, ``train_s`` (seconds of training so far), losses and
        measures, those of the running average as ``NAME_ema``.
        """
        import pandas as pd

        lines = [
            {"cell": record.cell, "seed": record.seed} | {role: record.labels.get(role, "") for role in ROLES} | line
            for record in self.trials
            for line in read_lines(self.path / "trials" / record.cell / f"seed-{record.seed}" / "curves.jsonl")
        ]
        return pd.DataFrame(lines, columns=None if lines else ["cell", "seed", *ROLES, "step"])

    def tables(
        self,
        *,
        by: Sequence[str] = (),
        measures: Sequence[str] = (),
        baseline: str = "none",
        pivot: str | None = None,
        columns: Mapping[str, pd.Series[Any]] | None = None,
        diff: bool = False,
        pareto: str | None = None,
    ) -> list[Table]:
        """What ``ganbench table`` shows, as plain data: one table for each data set.

        See :func:`ganbench.tabulate.tables`; :func:`ganbench.render.render` makes text of it.
        """
        from ganbench.tabulate import tables

        return tables(
            self,
            by=by,
            measures=measures,
            baseline=baseline,
            pivot=pivot,
            columns=columns,
            diff=diff,
            pareto=pareto,
        )

    def table(
        self,
        *,
        by: Sequence[str] = (),
        measures: Sequence[str] = (),
        baseline: str = "none",
        columns: Mapping[str, pd.Series[Any]] | None = None,
        diff: bool = False,
        pareto: str | None = None,
    ) -> pd.DataFrame:
        """What ``ganbench table`` shows, with its raw numbers: one row for each row, and for each skipped cell.

        An estimate NAME is followed by ``NAME_low`` and ``NAME_high``, its 95 % interval, and ``NAME_n``; a measure
        also by ``NAME_floor``, ``NAME_best`` and ``NAME_tied``. ``ok`` of ``total`` trials were done; ``failures``
        says what became of the others.

        Args:
            by: one row for each choice of these roles, averaged over the others; by default one for each cell.
            measures: only these; by default all.
            baseline: the label of the regularizer, or ``role=label``, that step times are divided by.
            columns: more columns, by name, each indexed as :attr:`records`.
            diff: differences from the baseline, in units and in percent.
            pareto: mark rows that none beats in both this measure and step time.

        Raises:
            ResultsError: there is no such role, measure or baseline; the message names the nearest one.
        """
        import pandas as pd

        from ganbench.rawdata import flat

        made = self.tables(by=by, measures=measures, baseline=baseline, columns=columns, diff=diff, pareto=pareto)
        head, rows = flat(made)
        return pd.DataFrame(rows, columns=head)

    def compare(
        self,
        other: Results | None = None,
        *,
        by: Sequence[str] = ("regularizer",),
        measures: Sequence[str] = (),
        baseline: str = "none",
    ) -> pd.DataFrame:
        """What a factor does within this run, or what ``other`` changes: one row for each comparison.

        Differences are paired by seed and block; an estimate NAME is followed by ``NAME_low`` and ``NAME_high``, its
        95 % interval; ``p`` is corrected for the tests of its family. See :func:`ganbench.compare.comparisons` and
        :func:`ganbench.versus.versus`.

        Args:
            other: another run, matched cell by cell; ``by`` and ``baseline`` are of no use with it.
            by: the factor, a role; further roles split it.
            measures: only these; by default all.
            baseline: the level to compare with.

        Raises:
            ResultsError: there is no such role, measure or level; the message names the nearest one.
        """
        if other is not None:
            from ganbench import versus

            return versus.frame(versus.versus(self, other, show=measures))
        from ganbench import compare

        return compare.frame(
            compare.comparisons(
                self.records, self.measures, by=by, show=measures, baseline=baseline, times=self.step_times
            )
        )

    def rank(self, by: str = "regularizer", *, measures: Sequence[str] = (), baseline: str = "none") -> pd.DataFrame:
        """How the levels of a role stand over all cells of all data sets, failures last: a row for each and measure.

        ``iqm`` is in percent where ``scale`` is ``ratio``. See :func:`ganbench.overall.overall`.

        Args:
            by: the role.
            measures: only these; by default all that have a better way.
            baseline: the level to compare with.

        Raises:
            ResultsError: there is no such role, measure or level, or nothing can be ranked.
        """
        from ganbench import overall

        return overall.frame(overall.overall(self.records, self.measures, role=by, show=measures, baseline=baseline))

    def plot(self, measure: str, *, dataset: str | None = None, by: Sequence[str] = (), ax: Axes | None = None) -> Axes:
        """A measure during training against the step: the mean over seeds as a line, their range as a band.

        Args:
            measure: a column of :attr:`curves`, such as a loss, a measure or ``NAME_ema``.
            dataset: its label; the first of the run by default.
            by: roles that tell lines apart; by default those in which the cells of the data set differ.
            ax: axes to draw into; new ones by default.

        Raises:
            ConfigError: matplotlib is not installed.
            ResultsError: there is no such measure, role or data set.
        """
        from ganbench.plot import curves

        return curves(self, measure, dataset=dataset, by=by, ax=ax)


def _skipped(planned: Planned, reason: str) -> Record:
    return Record(cell=planned.cell, id=planned.id, seed=None, status="skipped", labels=planned.labels, reason=reason)


def frame(records: Sequence[Record], times: StepTimes | None = None) -> pd.DataFrame:
    """Records as a tidy frame: seeds are nullable integers, and a measure without a value is NaN.

    Where a cell was timed apart, ``step_ms`` and its kin are those of the timing pass, and those of training are called
    ``train_step_ms`` and so on; the column ``timed`` says which: ``apart`` or ``in training``.
    """
    import pandas as pd

    rows = [timed(record, times) for record in records]
    table = pd.DataFrame(rows, columns=None if rows else list(_EMPTY.row()))
    numbers = {name for record in records for name in (*record.measures, *record.timing, *record.cost)}
    numbers |= {f"{name}_{kind}" for record in records for name in record.measures for kind in ("ema", "floor")}
    numbers |= {f"train_{name}" for name in numbers if name.startswith(STEP)} | set(APART)
    return table.astype({"seed": "Int64"} | {name: float for name in table.columns if name in numbers})


_EMPTY = Record(cell="", id="", seed=None, status="skipped", labels=dict.fromkeys(ROLES, ""))


def load(run: Path | str, results_dir: Path | str = "results") -> Results:
    """The results of ``run``: the path of its folder, or its name in ``results_dir``.

    Raises:
        ResultsError: there is no such run; the message names the nearest one.
    """
    named = Path(results_dir) / run
    for folder in (Path(run), named):
        if (folder / RUN).is_file():
            return Results(folder)
    for folder in (named, Path(run)):
        if folder.is_dir():
            return Results(folder)  # which raises, and says what the folder lacks
    names = runs(results_dir)
    hint = nearest(Path(run).name, names) if names else "`ganbench run --grid FILE` makes one"
    raise ResultsError(f"no run {str(run)!r}", place=str(results_dir), hint=hint)


def runs(results_dir: Path | str = "results") -> list[str]:
    """The names of the runs in ``results_dir``."""
    return sorted(path.parent.name for path in Path(results_dir).glob(f"*/{RUN}"))
