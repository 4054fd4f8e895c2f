"""Weights & Biases: one run for each trial, grouped by the ganbench run; `WANDB_MODE=offline` sends nothing anywhere.

Its own variables say where runs go (`WANDB_PROJECT`, default `ganbench`; `WANDB_MODE`; `WANDB_ENTITY`). Files lie in
`RUN/wandb`. A trial that is resumed begins a new run, from the step it resumes at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench import hookimpl
from ganbench_loggers.facts import final, numbers, require, settings, step_of

if TYPE_CHECKING:
    from ganbench import Record, Results, Run, Trial

require("wandb", "wandb")

_runs: dict[str, Any] = {}


@hookimpl
def ganbench_trial_started(run: Run, trial: Trial) -> None:
    """Begin a run of theirs, silent: the terminal is ours."""
    import wandb

    _runs[str(run.folder / trial.folder)] = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ganbench"),
        group=run.name,
        name=f"{trial.cell.name}-seed-{trial.seed}",
        config=settings(trial),
        dir=str(run.folder),
        reinit="create_new",
        settings=wandb.Settings(console="off", silent=True),
    )


@hookimpl
def ganbench_record(run: Run, record: Mapping[str, object]) -> None:
    """Add a point to each curve."""
    theirs = _runs.get(str(run.folder / str(record["trial"])))
    if theirs is not None:
        theirs.log(numbers(record), step=step_of(record))


@hookimpl
def ganbench_trial_finished(run: Run, result: Record) -> None:
    """Write the summary and the picture, and end the run."""
    folder = run.folder / "trials" / result.cell / f"seed-{result.seed}"
    theirs = _runs.pop(str(folder), None)
    if theirs is None:
        return
    picture = folder / "samples.png"
    if picture.is_file():
        import wandb

        theirs.log({"samples": wandb.Image(str(picture))})
    theirs.summary.update({**final(result), "status": result.status, "reason": result.reason})
    theirs.finish(exit_code=0 if result.status == "done" else 1)


@hookimpl
def ganbench_run_finished(run: Run, results: Results) -> None:
    """End what an interrupted run left open."""
    del results
    for folder in [folder for folder in _runs if Path(folder).is_relative_to(run.folder)]:
        _runs.pop(folder).finish(exit_code=1)
