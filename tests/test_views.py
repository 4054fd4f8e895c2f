"""What reading commands print: it fits, nothing is cut, and markup or control characters in names do nothing."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import making
import pytest

from ganbench import plan as planning
from ganbench import views
from ganbench.component import Component
from ganbench.doctor import Verdict
from ganbench.facts import toml
from ganbench.grid import Grid
from ganbench.registry import Registry
from ganbench.results import Results
from ganbench.testing import Finding

ESCAPE = "\033"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def plan(registry: Registry, folder: Path, *, seeds: tuple[int, ...] = (0, 1), **axes: Any) -> planning.Plan:
    base = {"dataset": "ring", "generator": "mlp", "discriminator": "mlp", "loss": "hinge"}
    exclude = axes.pop("exclude", [])
    grid = Grid.load({"run": {"name": "toy"}, "grid": base | axes, "exclude": exclude})
    return planning.make(grid, registry, folder, seeds=seeds)


def text(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, after checks that hold for all of it."""
    out = capsys.readouterr().out
    assert ESCAPE not in out
    assert out.endswith("\n")
    assert all(line == line.rstrip() for line in out.splitlines())
    return out


def fits(out: str) -> str:
    assert max(len(line) for line in out.splitlines()) <= 80
    return out


def flat(out: str) -> str:
    return " ".join(out.split())


# -- plan ----------------------------------------------------------------------------------------------------------


def test_a_plan_is_a_row_for_each_cell_and_a_sum(registry, tmp_path, capsys) -> None:
    axes = {"loss": ["hinge", "wasserstein"], "regularizer": ["none", "r1"]}
    exclude = [{"loss": "wasserstein", "regularizer": "none", "because": "no bound"}, {"loss": "minimax"}]
    views.print_plan(plan(registry, tmp_path, **axes, exclude=exclude))
    lines = fits(text(capsys)).splitlines()
    assert flat(lines[0] + lines[1]).startswith("dataset ring, generator mlp, discriminator mlp, optimizer adam")
    rows = [line.split() for line in lines if line.endswith("missing")]
    assert rows[:3] == [
        ["hinge", "none", "2", "missing"],
        ["hinge", "r1", "2", "missing"],
        ["wasserstein", "r1", "2", "missing"],
    ]
    assert "1 cell skipped: excluded: no bound" in lines
    assert "    wasserstein / none" in lines
    assert "note: grid: [[exclude]] 2 matches no cell" in lines
    assert lines[-1] == "3 cells x 2 seeds = 6 trials: 6 missing; 1 cell skipped"


def test_a_plan_says_what_is_on_disk(registry, tmp_path, capsys) -> None:
    made = plan(registry, tmp_path)
    (cell,) = {p.trial.cell for p in made.trials}
    done, stale = made.trials
    found = [
        planning.Planned(done.trial, "done"),
        planning.Planned(stale.trial, "stale", why="code of regularizer:r1 changed"),
    ]
    views.print_plan(planning.Plan("toy", made.combinations, found, made.seeds))
    out = fits(text(capsys))
    assert "1 done, 1 stale (code of regularizer:r1 changed)" in flat(out)
    assert out.splitlines()[-1] == "1 cell x 2 seeds = 2 trials: 1 done, 1 stale"
    facts = views.plan_facts(planning.Plan("toy", made.combinations, found, made.seeds))
    assert [t["stage"] for t in facts["cells"][0]["trials"]] == ["done", "stale"]
    assert facts["cells"][0]["cell"] == cell.name
    assert json.loads(json.dumps(facts)) == facts


def test_one_column_serves_networks_that_are_always_called_the_same(registry, tmp_path, capsys) -> None:
    networks = [{"use": "mlp", "width": w} for w in (8, 16)]
    views.print_plan(
        plan(registry, tmp_path, generator=networks, discriminator=networks, zip=["generator", "discriminator"])
    )
    out = text(capsys)
    assert "networks" in out
    assert "mlp(width=8)" in out
    views.print_plan(plan(registry, tmp_path, generator=networks, discriminator=networks))
    assert "networks" not in text(capsys)


def test_data_sets_have_a_table_each_and_long_labels_are_folded_not_cut(registry, tmp_path, capsys) -> None:
    stack = ["spectral-norm", {"use": "r1", "gamma": 0.123}, "gradient-penalty", "instance-noise"]
    axes = {
        "dataset": ["ring", "grid25"],
        "generator": ["mlp", {"use": "mlp", "width": 12, "depth": 3}],
        "loss": ["non-saturating", "relativistic-pairing"],
        "regularizer": ["none", stack],
        "optimizer": ["adam", {"use": "sgd", "lr_g": 0.01, "lr_d": 0.02, "momentum": 0.5}],
        "update": ["alternating", {"use": "alternating", "critic_steps": 5}],
    }
    views.print_plan(plan(registry, tmp_path, **axes))
    out = fits(text(capsys))
    lines = out.splitlines()
    assert lines.index("ring") < lines.index("grid25")
    assert "…" not in out
    assert lines[-1] == "64 cells x 2 seeds = 128 trials: 128 missing"


def test_many_cells_that_share_a_reason_are_told_once(registry, tmp_path, capsys) -> None:
    sweep = {"use": "r1", "gamma": {"sweep": list(range(20))}}
    views.print_plan(plan(registry, tmp_path, generator="dcgan", regularizer=sweep))
    out = fits(text(capsys))
    assert out.count("dcgan is for images") == 1
    assert "20 cells skipped" in out
    assert "    and 12 more; --json has them all" in out
    assert out.splitlines()[-1] == "0 cells x 2 seeds = 0 trials; 20 cells skipped"


# -- components ----------------------------------------------------------------------------------------------------


def test_components_are_listed_by_role_with_summary_and_plugin(registry, capsys) -> None:
    facts = views.component_facts(registry)
    assert len(facts) == len(list(registry.components()))
    views.print_components(facts)
    out = fits(text(capsys))
    for fact in facts:
        assert fact["name"] in out
    assert flat("D: E max(0, 1 - r)") in flat(out)
    assert {f["role"] for f in views.component_facts(registry, "loss")} == {"loss"}
    views.print_components([])
    assert text(capsys) == "none\n"


def test_a_component_is_shown_whole(registry, capsys) -> None:
    facts = views.one_component(registry, registry.get("regularizer", "r1"))
    assert [f["name"] for f in facts["fields"]] == ["gamma", "every", "on"]  # its own first
    gamma, every, on = facts["fields"]
    assert (gamma["type"], gamma["default"], gamma["range"]) == ("float", 10.0, ">= 0")
    assert every["range"] == ">= 1"
    assert on["type"] == "'d' | 'g' | 'both'"
    assert on["doc"].startswith("The network that")  # the string under the field
    assert facts["hook_points"] == ["d_penalty"]
    views.print_component(facts)
    out = fits(text(capsys))
    for words in (
        "(gamma / 2) E ||grad_x D(x)||^2",
        "hook points",
        "d_penalty",
        "https://arxiv.org/abs/1801.04406",
        "zoo-reg",
    ):
        assert words in out
    assert 'regularizer = [{ use = "r1", gamma = 10.0 }]' in out.splitlines()


def test_every_component_can_be_shown_and_its_line_pasted(registry, capsys) -> None:
    import tomllib

    for role, name, cls in registry.components():
        facts = views.one_component(registry, cls)
        assert json.loads(json.dumps(facts)) == facts
        views.print_component(facts)
        assert name in text(capsys)
        if facts["toml"] is None:
            continue
        ((key, value),) = tomllib.loads(facts["toml"]).items()
        assert key == {"metric": "metrics"}.get(role, role)
        (table,) = value if isinstance(value, list) else [value]
        assert registry.parse(role, table) == cls()


def test_a_component_without_anything_can_be_shown(tmp_path, capsys) -> None:
    plugin = tmp_path / "bare.py"
    plugin.write_text(
        "from ganbench import Dataset, hookimpl\n"
        "class Bare(Dataset, name='bare'):\n"
        "    path: str\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Bare]\n"
    )
    registry = Registry.load([plugin])
    facts = views.one_component(registry, registry.get("dataset", "bare"))
    assert (facts["doc"], facts["source"], facts["measures"]) == ("", "", [])
    assert facts["fields"] == [
        {"name": "path", "type": "str", "required": True, "default": None, "range": "", "doc": ""}
    ]
    views.print_component(facts)
    assert "required" in text(capsys)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (1, "1"),
        (0.5, "0.5"),
        ('a"b', '"a\\"b"'),
        ([1, [2]], "[1, [2]]"),
        ({"a": {"b": 1}}, "{ a = { b = 1 } }"),
    ],
)
def test_toml_is_written_in_one_line(value: Any, written: str) -> None:
    assert toml(value) == written


# -- status --------------------------------------------------------------------------------------------------------


def test_status_counts_names_failures_with_their_logs_and_says_where_training_stands(tmp_path, capsys) -> None:
    run = making.make_run(tmp_path / "toy", {"hinge": None, "minimax": None, "wasserstein": "no bound"})
    making.add_trial(run, "hinge", 0)
    failed = making.add_trial(run, "hinge", 1, status="diverged", reason="d_loss is nan at step 3")
    making.add_trial(run, "minimax", 0, status="interrupted", reason="interrupted", step=4)
    making.trial_folder(run, "minimax", 1)  # begun, without a checkpoint
    making.add_trial(run, "hinge", 7)  # a seed that the plan lacks
    facts = views.status_facts(Results(run))
    assert facts["counts"] == {"done": 1, "diverged": 1, "interrupted": 1, "skipped": 1, "missing": 1}
    assert facts["trials"] == 4
    assert [(f["seed"], f["reason"], f["log"]) for f in facts["failures"]] == [
        (1, "d_loss is nan at step 3", str(failed / "log.txt"))
    ]
    assert [(u["seed"], u["status"], u["step"], u["steps"]) for u in facts["unfinished"]] == [
        (0, "interrupted", 4, 10),
        (1, "begun", 0, 10),
    ]
    views.print_status(facts)
    out = text(capsys)
    lines = out.splitlines()
    assert lines[0] == "toy: 2 cells, 4 trials: 1 done, 1 diverged, 1 interrupted, 1 missing"
    assert "diverged  hinge / seed 1" in lines
    assert "    d_loss is nan at step 3" in lines
    assert f"    {failed / 'log.txt'}" in lines  # however long, on one line
    assert "interrupted  minimax / seed 0: checkpoint at step 4 of 10" in lines
    assert "begun  minimax / seed 1: no checkpoint yet" in lines
    assert "1 cell skipped: no bound" in lines
    assert lines[-1] == "1 trial on disk that the grid no longer has"


def test_status_of_a_run_that_has_not_begun(tmp_path, capsys) -> None:
    views.print_status(views.status_facts(Results(making.make_run(tmp_path / "toy", {"hinge": None}))))
    assert text(capsys) == "toy: 1 cell, 2 trials: 2 missing\n"


def test_a_result_that_cannot_be_read_is_a_failure_that_says_so(tmp_path, capsys) -> None:
    run = making.make_run(tmp_path / "toy", {"hinge": None}, seeds=(0,))
    (making.add_trial(run, "hinge", 0) / "result.json").write_text("{")
    views.print_status(views.status_facts(Results(run)))
    assert "unreadable result" in flat(text(capsys))


# -- the rest ------------------------------------------------------------------------------------------------------


class Loud(Component, name="loud", role="loss"):
    """A component to be checked."""


def test_findings_are_printed_by_component(capsys) -> None:
    views.print_findings(
        [(Loud, Finding("is quiet", ok=True)), (Loud, Finding("is [bold]", ok=False, message="it is\nnot"))]
    )
    assert text(capsys) == "loss 'loud'\n  ok  is quiet\nFAIL  is [bold]: it is not\n"
    views.print_findings([(Loud, Finding("is quiet", ok=True))])
    assert text(capsys).endswith("1 check passed\n")


def test_verdicts_problems_and_pairs_are_printed_as_they_are(capsys) -> None:
    views.print_verdicts([Verdict("torch", ok=True, message="2.6"), Verdict("cache", ok=False, message="x" * 100)])
    assert flat(fits(text(capsys))).replace(" x", "x").startswith("ok torch: 2.6 FAIL cache:xxx")
    views.print_problems([{"path": "a/" * 60, "problem": "is torn", "advice": "delete it"}])
    assert text(capsys) == f"{'a/' * 60}\n    is torn\n    delete it\n1 problem\n"
    views.print_problems([])
    assert text(capsys) == "no problems\n"
    views.print_pairs("plugins", [("a", "[red]b[/red]")])
    assert text(capsys) == "plugins\na  [red]b[/red]\n"


def test_control_characters_in_names_reach_no_terminal(capsys) -> None:
    views.print_pairs("x\033[2Jy", [("a\rb", "c\nd\x07")])
    out = text(capsys)
    assert "\r" not in out
    assert "\x07" not in out
    assert "x\\x1b[2Jy" in out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour_and_no_more_columns_than_it_has(registry, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    views.print_plan(plan(registry, tmp_path, regularizer=["none", "r1", ["spectral-norm", "gradient-penalty"]]))
    out = terminal.getvalue()
    assert ESCAPE in out
    plain = re.sub(r"\033\[[0-9;]*m", "", out)
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= 50
    monkeypatch.setenv("NO_COLOR", "1")
    views.print_plan(plan(registry, tmp_path))
    assert not re.search(r"\033\[[0-9;]*3[0-9]m", terminal.getvalue().removeprefix(out))
