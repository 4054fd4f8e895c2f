"""Three kinds of test that every regularizer deserves: its formula, its contract, and a short run."""

from pathlib import Path

import ganbench
import pytest
import torch
from ganbench import testing
from safetensors.torch import load_file
from torch import Tensor

import ganbench_example
from ganbench_example import RunningDrift


def score(x: Tensor) -> Tensor:
    """A discriminator whose scores are known: the first coordinate."""
    return x[:, 0]


def test_it_is_the_mean_squared_distance_of_real_scores_from_the_running_mean() -> None:
    real, fake = torch.tensor([[1.0, 0.0], [4.0, 0.0]]), torch.zeros(2, 2)
    state = {"mean": torch.tensor(2.0)}
    value = testing.d_penalty(RunningDrift(weight=3.0), score, real, fake, state=state)
    torch.testing.assert_close(value, torch.tensor(3.0 * (1.0 + 4.0) / 2))


def test_it_is_the_drift_term_of_the_paper_before_the_mean_has_moved() -> None:
    real, fake = torch.randn(8, 2), torch.zeros(8, 2)
    value = testing.d_penalty(RunningDrift(decay=1.0), score, real, fake)
    torch.testing.assert_close(value, 0.001 * real[:, 0].square().mean())


@pytest.mark.parametrize("decay", [0.0, 0.99, 1.0])
def test_it_keeps_the_contract_of_regularizers(decay: float) -> None:
    findings = testing.check(RunningDrift(decay=decay))
    assert [finding for finding in findings if not finding.ok] == []


def test_it_acts_on_the_discriminator_only() -> None:
    with pytest.raises(ganbench.ConfigError, match=r"\.on: 'g' has no meaning here"):
        RunningDrift(on="g")


def test_a_run_trains_with_it_and_its_checkpoint_holds_the_running_mean(tmp_path: Path) -> None:
    installed = "running-drift" in ganbench.available("regularizer")
    results = ganbench.run(
        {
            "run": {"seeds": 1, "steps": 20, "samples": 100, "evaluations": 1},
            "grid": {
                "dataset": "ring",
                "generator": "mlp",
                "discriminator": "mlp",
                "loss": "non-saturating",
                "regularizer": {"use": "running-drift", "weight": 0.01},
            },
        },
        results=tmp_path,
        device="cpu",
        workers=1,
        plugins=() if installed else (ganbench_example.__file__,),
    )
    assert list(results.records["status"]) == ["done"]
    (checkpoint,) = tmp_path.glob("*/trials/*/seed-0/checkpoint.safetensors")
    mean = load_file(checkpoint)["regularizers/0/d/mean"]
    assert mean.shape == ()
    assert mean != 0
