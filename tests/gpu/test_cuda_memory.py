"""A stack that a GPU has no memory for trains with fewer trials at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from making import Heard

from ganbench import widths
from ganbench.grid import Grid
from ganbench.memory import lacked
from ganbench.runner import Options, execute

pytestmark = pytest.mark.gpu


@pytest.mark.slow
def test_eight_trials_that_do_not_fit_train_a_few_at_a_time(
    cuda: torch.device, small: dict[str, Any], plugins: Path, tmp_path: Path
) -> None:
    mib = torch.cuda.mem_get_info(cuda)[0] // 2**20
    small["run"] |= {"engine": "fused", "compile": False, "seeds": 8, "evaluations": 1, "timing": False}
    small["run"] |= {"plugins": [str(plugins / "hungry.py")]}
    small["grid"]["regularizer"] = {"use": "hungry", "mib": mib // 12}  # two of them a trial are 16 / 12 for all
    heard = Heard()
    outcome = execute(Grid.load(small), tmp_path, Options(device=str(cuda)), heard)
    found = outcome.results.records
    assert set(found["status"]) == {"done"}, list(found["reason"])
    (width,) = widths.read(outcome.results.path).values()
    assert set(width.tried) >= {"8"}
    assert found["stack"].max() == width.most < 8
    assert [note for note in heard.notes if "8 trials in one step ran out of memory" in note]


def test_what_a_gpu_says_when_memory_runs_out_is_understood(cuda: torch.device) -> None:
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(2**50, device=cuda)
    assert lacked(raised.value)
