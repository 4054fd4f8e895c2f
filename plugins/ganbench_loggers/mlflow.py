"""MLflow: one experiment for each ganbench run, one MLflow run for each trial.

They go where `MLFLOW_TRACKING_URI` says, or into files in `RUN/mlruns`. Newer versions of MLflow read such files only
with `MLFLOW_ALLOW_FILE_STORE=true`, which is set here for the process that writes them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench import hookimpl
from ganbench_loggers.facts import final, numbers, require, settings, step_of

if TYPE_CHECKING:
    from ganbench import Record, Results, Run, Trial

require("mlflow", "mlflow")

ENDS = {"done": "FINISHED", "interrupted": "KILLED"}

_clients: dict[Path, tuple[Any, str]] = {}
_runs: dict[str, str] = {}


@hookimpl
def ganbench_trial_started(run: Run, trial: Trial) -> None:
    """Begin a run of theirs."""
    from mlflow.entities import Param

    client, experiment = _client(run)
    theirs = client.create_run(experiment, run_name=f"{trial.cell.name}-seed-{trial.seed}").info.run_id
    client.log_batch(theirs, params=[Param(name, str(value)) for name, value in settings(trial).items()])
    _runs[str(run.folder / trial.folder)] = theirs


@hookimpl
def ganbench_record(run: Run, record: Mapping[str, object]) -> None:
    """Add a point to each curve."""
    _log(run, run.folder / str(record["trial"]), numbers(record), step_of(record))


@hookimpl
def ganbench_trial_finished(run: Run, result: Record) -> None:
    """Write the last measures and the picture, and end the run."""
    folder = run.folder / "trials" / result.cell / f"seed-{result.seed}"
    if str(folder) not in _runs:
        return
    measured = {f"final/{name}": value for name, value in final(result).items()}
    _log(run, folder, measured, result.facts.get("steps", 0))
    client, _ = _client(run)
    theirs = _runs.pop(str(folder))
    client.set_tag(theirs, "status", f"{result.status} {result.reason}".strip())
    if (folder / "samples.png").is_file():
        client.log_artifact(theirs, str(folder / "samples.png"))
    client.set_terminated(theirs, ENDS.get(result.status, "FAILED"))


@hookimpl
def ganbench_run_finished(run: Run, results: Results) -> None:
    """End what an interrupted run left open."""
    del results
    for folder in [folder for folder in _runs if Path(folder).is_relative_to(run.folder)]:
        _client(run)[0].set_terminated(_runs.pop(folder), "KILLED")
    _clients.pop(run.folder, None)


def _log(run: Run, folder: Path, values: Mapping[str, float], step: int) -> None:
    from mlflow.entities import Metric

    if str(folder) in _runs:
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        _client(run)[0].log_batch(_runs[str(folder)], metrics=metrics)


def _client(run: Run) -> tuple[Any, str]:
    """The client of a run, and the number of its experiment."""
    if run.folder not in _clients:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or (run.folder.resolve() / "mlruns").as_uri()
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(run.name)
        experiment = client.create_experiment(run.name) if known is None else known.experiment_id
        _clients[run.folder] = (client, experiment)
    return _clients[run.folder]
