"""Curves of a run with matplotlib, an optional extra that only this module imports."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganbench.errors import ConfigError, ResultsError, nearest
from ganbench.footers import refusals
from ganbench.records import ROLES
from ganbench.standing import several_protocols

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ganbench.results import Results


def curves(
    results: Results, measure: str, *, dataset: str | None = None, by: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Draw ``measure`` against the step: a line for the mean over seeds, a band from the least to the greatest.

    Args:
        results: of a run.
        measure: a column of :attr:`ganbench.results.Results.curves`.
        dataset: its label; the first of the run by default.
        by: roles that tell lines apart; by default those in which the cells of the data set differ.
        ax: axes to draw into; new ones by default.

    Raises:
        ConfigError: matplotlib is not installed.
        ResultsError: there is no such measure, role or data set, or its values have several protocols.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("plots need matplotlib", hint="pip install 'ganbench[plot]'")
    for role in by:
        if role not in ROLES:
            raise ResultsError(f"no role {role!r}", place="by", hint=nearest(role, ROLES))
    frame = results.curves
    known = [str(column) for column in frame.columns if column not in ("cell", "seed", "step", *ROLES)]
    if measure not in known:
        raise ResultsError(f"no curve of {measure!r}", hint=nearest(measure, known))
    cells = {planned.cell: planned.labels for planned in results.plan if planned.skip is None}
    datasets = list(dict.fromkeys(labels["dataset"] for labels in cells.values()))
    chosen = datasets[0] if dataset is None else dataset
    if chosen not in datasets:
        raise ResultsError(f"no dataset {chosen!r}", hint=nearest(chosen, datasets))
    cells = {cell: labels for cell, labels in cells.items() if labels["dataset"] == chosen}
    refused = several_protocols([record for record in results.trials if record.cell in cells])
    if (name := measure.removesuffix("_ema")) in refused:
        raise ResultsError(f"nothing to plot: {' '.join(refusals({measure: refused[name]}))}")
    roles = list(by) or [role for role in ROLES if len({labels.get(role) for labels in cells.values()}) > 1]
    names = {cell: " · ".join(labels.get(role, "") for role in roles) or chosen for cell, labels in cells.items()}
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots()
    known_cells = frame[frame["cell"].isin(list(names))].dropna(subset=[measure])
    for name, lines in known_cells.groupby(known_cells["cell"].map(names), sort=False):
        steps = lines.groupby("step")[measure]
        mean = steps.mean()
        (line,) = ax.plot(mean.index, mean, label=str(name))
        ax.fill_between(mean.index, steps.min(), steps.max(), color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set_xlabel("step")
    ax.set_ylabel(measure)
    ax.set_title(f"{results.name}: {chosen}")
    ax.legend()
    return ax
