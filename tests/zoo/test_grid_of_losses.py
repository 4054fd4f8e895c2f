"""Every loss trains with nothing, with a gradient penalty and with normalised weights, and what cannot says so."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ganbench.cli import main
from ganbench.grid import Grid
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench_zoo.losses_divergence import Divergence

DISCRIMINATORS = {"scores": "mlp", "embedding": "mlp-embedding", "energy": "mlp-autoencoder"}
STACKS = ["none", "r1", "spectral-norm"]


def losses() -> list[Any]:
    """Every loss, and every divergence of f-gan with either generator loss."""
    divergences = [
        {"use": "f-gan", "divergence": d, "alternative": a} for d in typing.get_args(Divergence) for a in (False, True)
    ]
    return [*(name for name in Registry.load().names("loss") if name != "f-gan"), *divergences]


def block(chosen: Sequence[Any] | str, discriminator: str) -> dict[str, Any]:
    """Losses on a discriminator."""
    return {
        "dataset": "ring",
        "generator": {"use": "mlp", "width": 32, "depth": 2},
        "discriminator": {"use": discriminator, "width": 32, "depth": 2},
        "loss": chosen,
        "regularizer": STACKS,
        "metrics": ["sliced-wasserstein"],
    }


def grid() -> Grid:
    """All losses on the discriminators they ask for, and all of them on one that most do not fit."""
    registry = Registry.load()
    by_output: dict[str, list[Any]] = {}
    for loss in losses():
        output = registry.get("loss", loss["use"] if isinstance(loss, dict) else loss).output
        by_output.setdefault(output, []).append(loss)
    run = {"name": "losses", "seeds": 1, "steps": 60, "batch": 32, "samples": 64, "evaluations": 1}
    fitting = [block(chosen, DISCRIMINATORS[output]) for output, chosen in by_output.items()]
    return Grid.load({"run": run, "grid": [*fitting, block("*", "mlp-autoencoder")]})


@pytest.mark.slow
def test_a_grid_of_all_losses_runs_to_a_table_without_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = grid().combinations(Registry.load())
    runs = [c for c in planned if c.skip is None]
    assert {c.cell.loss.name for c in runs} == set(Registry.load().names("loss"))
    assert len({c.cell.labels["loss"] for c in runs}) == len(losses())

    outcome = execute(grid(), tmp_path, Options(device="cpu", workers=2))
    records = outcome.results.records
    failed = records[~records["status"].isin({"done", "skipped"})]
    assert failed[["loss", "regularizer", "status", "reason"]].to_dict("records") == []
    assert outcome.exit_code == 0
    assert Counter(records["status"]) == {"done": len(runs), "skipped": len(planned) - len(runs)}
    assert all(records.loc[records["status"] == "skipped", "reason"])
    assert main(["table", str(tmp_path / "losses"), "--format", "json"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in Registry.load().names("loss") if f'"{name}' not in shown] == []
