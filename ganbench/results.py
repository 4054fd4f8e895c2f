"""The results of a run: one tidy row for each trial, failed ones too, and for each skipped cell, and views of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.errors import ResultsError, nearest
from ganbench.footers import refusals
from ganbench.frames import frame
from ganbench.records import FAILED, ROLES, Record
from ganbench.runfolder import RUN, RunFolder
from ganbench.standing import several_protocols
from ganbench.targets import column, frontiers, reached

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ganbench.stats import Better
    from ganbench.table import Table


class Results(RunFolder):
    """What a run has left on disk so far, as frames and tables.

    A result that cannot be read is a row of status ``error`` that says so, never an exception.

    Args:
        path: the run's folder.

    Raises:
        ResultsError: ``path`` is not the folder of a run.
    """

    @functools.cached_property
    def records(self) -> pd.DataFrame:
        """One row for each finished trial of the plan and each skipped cell; see :meth:`Record.row` for the columns."""
        finished: dict[str, list[Record]] = {}
        for record in self.trials:
            finished.setdefault(record.cell, []).append(record)
        rows = []
        for planned in self.plan:
            rows += finished.get(planned.cell, []) if planned.skip is None else [planned.skipped()]
        return self._with_targets(frame(rows, self.step_times))

    def _with_targets(self, table: pd.DataFrame) -> pd.DataFrame:
        """``table`` with the seconds that each trial needed to reach each target: infinite for one that failed."""
        for measure, target in self.targets.items():
            better = self._better(measure)
            seconds: dict[tuple[str, int | None], float | None] = {}
            for record in self.trials:
                when = reached(self.lines(record), measure, target, better)
                missed = record.status in FAILED and better is not None
                seconds[record.cell, record.seed] = math.inf if missed and when is None else when
            keys = zip(table["cell"], table["seed"], strict=True)
            table[column(measure, target)] = [seconds.get(key) for key in keys]
            table = table.astype({column(measure, target): float})
        return table

    def _better(self, measure: str) -> Better:
        """Which way ``measure`` is better, also that of the running average."""
        return self.measures.get(measure.removesuffix("_ema"), (None, ""))[0]

    def frontier(self, measure: str) -> pd.DataFrame:
        """Quality against time: for each cell the evaluations that no earlier one matches, medians over its seeds.

        Columns: ``cell``, ``step``, ``train_s`` (seconds of training, evaluations excluded) and the measure. Data sets
        on which the measure has several protocols are left out, as by tables.

        Raises:
            ResultsError: there is no such measure, it has no better way, or every data set is left out.
        """
        better = self._better(measure)
        if better is None or not {measure, "train_s"} <= set(self.curves.columns):
            raise ResultsError(
                f"no curves of a measure {measure!r} with a better way", hint=nearest(measure, self.measures)
            )
        parts: dict[str, list[Record]] = {}
        for record in self.trials:
            parts.setdefault(record.labels.get("dataset", ""), []).append(record)
        name = measure.removesuffix("_ema")
        mixed = {d: several for d, part in parts.items() if (several := several_protocols(part).get(name))}
        if mixed.keys() == parts.keys():
            raise ResultsError(" ".join(refusals({measure: next(iter(mixed.values()))})))
        return frontiers(self.curves[~self.curves["dataset"].isin(list(mixed))], measure, better)

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
            for line in self.lines(record)
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
