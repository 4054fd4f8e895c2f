"""Records as a tidy frame of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganbench.records import ROLES, Record
from ganbench.steptimes import APART, StepTimes, timed
from ganbench.table import STEP

if TYPE_CHECKING:
    import pandas as pd

_EMPTY = Record(cell="", id="", seed=None, status="skipped", labels=dict.fromkeys(ROLES, ""))


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
