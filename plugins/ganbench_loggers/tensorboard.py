"""TensorBoard: one folder of events for each trial; `tensorboard --logdir RUN/tensorboard` shows them.

Curves of losses and measures, the sample picture, and the last measures beside the components (the HParams tab).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench import hookimpl
from ganbench_loggers.facts import final, numbers, require, settings, step_of

if TYPE_CHECKING:
    from ganbench import Record, Results, Run, Trial

require("tensorboard", "tensorboard")

_trials: dict[str, Trial] = {}
_writers: dict[str, Any] = {}


@hookimpl
def ganbench_trial_started(run: Run, trial: Trial) -> None:
    """Remember what the trial is of."""
    _trials[str(run.folder / trial.folder)] = trial


@hookimpl
def ganbench_record(run: Run, record: Mapping[str, object]) -> None:
    """Add a point to each curve."""
    step = step_of(record)
    writer = _writer(run, run.folder / str(record["trial"]), step)
    for name, value in numbers(record).items():
        writer.add_scalar(name, value, step)


@hookimpl
def ganbench_trial_finished(run: Run, result: Record) -> None:
    """Write the last measures, the picture and how it ended, and close the file."""
    from torch.utils.tensorboard.summary import hparams

    folder = run.folder / "trials" / result.cell / f"seed-{result.seed}"
    steps = result.facts.get("steps", 0)
    writer = _writer(run, folder, steps)
    trial = _trials.pop(str(folder), None)
    if trial is not None:
        measured = {f"final/{name}": value for name, value in final(result).items()}
        for summary in hparams(settings(trial), measured):
            writer.file_writer.add_summary(summary)
        for name, value in measured.items():
            writer.add_scalar(name, value, steps)
    writer.add_text("status", f"{result.status} {result.reason}".strip(), steps)
    if (folder / "samples.png").is_file():
        writer.add_image("samples", _pixels(folder / "samples.png"), steps, dataformats="HWC")
    _writers.pop(str(folder)).close()


@hookimpl
def ganbench_run_finished(run: Run, results: Results) -> None:
    """Close what an interrupted run left open."""
    del results
    for folder in [folder for folder in _writers if Path(folder).is_relative_to(run.folder)]:
        _writers.pop(folder).close()
        _trials.pop(folder, None)


def _writer(run: Run, folder: Path, step: int) -> Any:
    """The writer of a trial; what an earlier execution wrote from ``step`` on is taken back when it begins."""
    if str(folder) not in _writers:
        from torch.utils.tensorboard import SummaryWriter

        place = run.folder / "tensorboard" / folder.parent.name / folder.name
        _writers[str(folder)] = SummaryWriter(str(place), purge_step=step)
    return _writers[str(folder)]


def _pixels(picture: Path) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))
