"""What is allowed but doubtful is said in the plan, when a run begins and in run.json; and it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganbench import Regularizer
from ganbench.cli import main
from ganbench.errors import PluginError
from ganbench.grid import Grid
from ganbench.observers import Silent
from ganbench.plan import make
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench_zoo.losses import Wasserstein

REGISTRY = Registry.load()


def advice(**axes: Any) -> set[str]:
    """All advice on the cells of a grid; nothing is skipped."""
    base = {"dataset": "ring", "generator": "mlp", "discriminator": "mlp", "loss": "non-saturating"}
    combinations = Grid.load({"grid": base | axes}).combinations(REGISTRY)
    assert all(c.skip is None for c in combinations)
    return {reason for c in combinations for reason in c.advice}


@pytest.mark.parametrize(
    "stack", ["none", "instance-noise", "gradient-clipping", "lecam", {"use": "spectral-norm", "on": "g"}], ids=str
)
def test_a_wasserstein_critic_that_nothing_bounds_is_doubtful(stack: Any) -> None:
    told = advice(loss="wasserstein", regularizer=stack, optimizer="sgd")
    assert [reason for reason in told if "Lipschitz" in reason]


@pytest.mark.parametrize(
    "stack",
    [
        "weight-clipping",
        "gradient-penalty",
        "r1",
        "spectral-norm",
        "bjorck",
        "gradient-normalization",
        ["instance-noise", "r1"],
        {"use": "spectral-norm", "on": "both"},
    ],
    ids=str,
)
def test_a_bounded_wasserstein_critic_is_not(stack: Any) -> None:
    assert advice(loss="wasserstein", regularizer=[stack]) == set()


DERIVING = {
    "r1",
    "r2",
    "gradient-penalty",
    "lipschitz-penalty",
    "max-gradient-penalty",
    "zero-centered-gradient-penalty",
    "dragan",
    "analytic-noise",
    "gradient-normalization",
    "path-length",
}


def test_rules_that_derive_objectives_cost_a_third_order_of_penalties_on_gradients() -> None:
    told = advice(
        update=["consensus", "jare", "unrolled", {"use": "lookahead", "inner": "consensus"}], regularizer="r1"
    )
    assert sorted(reason.split()[0] for reason in told) == ["consensus", "jare", "unrolled"]
    assert all("third order" in reason for reason in told)
    assert advice(update=["consensus", "unrolled"], regularizer=["none", "vat", "spectral-norm"]) == set()
    assert advice(update=["extragradient", "lookahead"], regularizer="r1") == set()
    for name in REGISTRY.names("regularizer"):
        cls = REGISTRY.get("regularizer", name)
        assert issubclass(cls, Regularizer)
        assert cls.derives == (name in DERIVING), name


def test_clipping_gradients_is_doubtful_under_adam_and_not_under_sgd() -> None:
    for optimizer in ("adam", "rmsprop"):
        (reason,) = advice(regularizer="gradient-clipping", optimizer=optimizer)
        assert optimizer in reason
    assert advice(regularizer="gradient-clipping", optimizer="sgd") == set()


def test_reading_a_critics_scores_as_logits_is_doubtful() -> None:
    for loss in ("wasserstein", "hinge"):
        assert [reason for reason in advice(regularizer="vat", loss=loss) if "logits" in reason]
    for loss in ("non-saturating", "minimax", "relativistic-pairing"):
        assert advice(regularizer="vat", loss=loss) == set()


def test_adaptive_augmentation_is_doubtful_with_hinge_and_refused_with_differences() -> None:
    images = {
        "dataset": "digits",
        "generator": "mlp",
        "discriminator": "mlp",
        "regularizer": "ada",
        "loss": ["non-saturating", "hinge", "wasserstein"],
    }
    good, hinge, wasserstein = Grid.load({"grid": images}).combinations(REGISTRY)
    assert good.skip is None
    assert good.advice == ()
    assert hinge.skip is None
    assert "sign" in hinge.advice[0]
    assert "sign" in str(wasserstein.skip)
    assert wasserstein.advice == ()


def test_a_plan_groups_advice_and_counts_its_cells(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small["grid"] |= {"loss": ["wasserstein", "hinge"], "regularizer": ["none", "instance-noise", "r1", "vat"]}
    # what is said of engines depends on what was measured before
    notes = [n for n in make(Grid.load(small), REGISTRY, tmp_path).notes if not n.startswith("engine")]
    assert len(notes) == 3
    assert [n for n in notes if n.startswith("2 cells: wasserstein is no distance")]
    assert len([n for n in notes if n.startswith("1 cell: vat reads")]) == 2

    path = tmp_path / "grid.toml"
    path.write_text(
        '[grid]\ndataset = "ring"\ngenerator = "mlp"\ndiscriminator = "mlp"\nloss = "wasserstein"\n', encoding="utf-8"
    )
    assert main(["plan", "--grid", str(path), "--results", str(tmp_path)]) == 0
    assert "note: 1 cell: wasserstein is no distance" in capsys.readouterr().out.replace("\n", " ")
    assert main(["plan", "--grid", str(path), "--results", str(tmp_path), "--json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert "Lipschitz" in cell["advice"][0]


class Listening(Silent):
    """What a display is told beside progress."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_run_begins_with_the_advice_trains_and_keeps_it(small: dict[str, Any], tmp_path: Path) -> None:
    small["run"] |= {"seeds": 1, "steps": 2, "evaluations": 1}
    small["grid"] |= {"loss": "wasserstein"}
    display = Listening()
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"), display=display)
    assert outcome.exit_code == 0
    assert [n for n in display.notes if "Lipschitz" in n]
    cells = json.loads((tmp_path / "small" / "run.json").read_text())["cells"]
    assert {c["labels"]["regularizer"]: len(c["advice"]) for c in cells} == {"none": 1, "r1": 0}


def test_advice_that_fails_names_the_component(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ValueError("no")

    monkeypatch.setattr(Wasserstein, "advice", broken)
    with pytest.raises(PluginError, match="loss 'wasserstein' failed to say"):
        advice(loss="wasserstein")
