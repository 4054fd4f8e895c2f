import json
import math

import making
import numpy as np
import pytest
import scipy.stats

from ganbench import compare, compare_table, effects, overall, versus, versus_table
from ganbench.cli import main
from ganbench.errors import ConfigError, ResultsError
from ganbench.frames import frame
from ganbench.gate import Gate, check
from ganbench.records import Record, Value
from ganbench.render import render
from ganbench.results import Results
from ganbench.stats import Estimate
from ganbench.steptimes import BASELINE

FD = {"fd": ("lower", "")}


def trial(seed, fd=None, *, status="done", loss="hinge", regularizer="none", **more):
    labels = making.labels(loss=loss, regularizer=regularizer)
    name = f"{loss}-{regularizer}"
    value = Value(last=fd, floor=1.0 + 0.1 * seed, better="lower")
    timing = {"timing": {"step_ms": 2.0 + 0.1 * seed}} if status == "done" else {}
    return Record(
        **{"cell": name, "id": name, "seed": seed, "status": status, "labels": labels, "facts": {"steps": 9}}
        | {"measures": {"fd": value} if status == "done" else {}}
        | timing
        | more
    )


def grid(values, names=("none", "r1", "r2")):
    """Records of ``values`` [levels, blocks, seeds]."""
    return [
        trial(s, float(fd), loss=f"l{b}", regularizer=name)
        for name, blocks in zip(names, values, strict=False)
        for b, seeds in enumerate(blocks)
        for s, fd in enumerate(seeds)
    ]


def compared(records, **options):
    return compare.comparisons(frame(records), FD, **({"show": ["fd"]} | options))


def test_a_level_is_compared_with_the_baseline_within_blocks_over_seeds():
    values = np.exp(np.random.default_rng(0).normal(size=(3, 4, 8)))
    found = compared(grid(values))
    assert [c.level for c in found] == ["r1", "r2"]
    for i, c in enumerate(found, 1):
        logs = np.log(values[i] / values[0]).mean(0)
        assert c.found.effect.n == 8
        assert c.found.effect.percent.mean == pytest.approx(100 * np.expm1(logs.mean()))
        assert c.found.effect.p == pytest.approx(scipy.stats.ttest_1samp(logs, 0).pvalue)
    assert [c.p for c in found] == effects.holm([c.found.effect.p for c in found])
    assert {c.tests for c in found} == {2}


def test_with_too_few_seeds_nothing_is_tested_and_the_table_says_how_many_it_takes():
    found = compared(grid(np.random.default_rng(1).normal(size=(3, 2, 5)) + 100))
    assert [(c.p, c.need, c.tests) for c in found] == [(None, 7, 2)] * 2
    text = render(compare_table.tables_of(found), width=100, color=False)
    assert text.count("need 7") == 3
    assert "n too small" in text
    assert "Pairing by seed: correlation" in text


def test_failures_are_counted_and_lose():
    records = grid(np.ones((2, 2, 3)) + np.arange(3))
    records[-1] = trial(2, status="diverged", loss="l1", regularizer="r1")
    (c,) = compared(records)
    assert (c.done, c.total, c.failures) == (5, 6, {"diverged": 1})
    assert c.found.used
    assert len(c.found.used) == 1
    assert c.found.effect.improved.mean == 2.5 / 6
    text = render(compare_table.tables_of([c]), width=100, color=False)
    assert "1 diverged; means over 1 of 2 blocks" in text


def test_step_times_are_compared_and_not_tested():
    found = compare.comparisons(frame(grid(np.ones((2, 1, 8)))), FD)
    assert [(c.measure, c.need > 0) for c in found] == [("fd", True), ("step_ms", False)]


def test_further_roles_split_the_factor_and_show_its_interaction():
    values = np.ones((2, 2, 6)) + 0.01 * np.random.default_rng(2).random((2, 2, 6))
    values[1, 0] *= 2
    first, second = compared(grid(values), by=["regularizer", "loss"])
    assert first.split == {"loss": "l0"}
    assert first.others.mean == pytest.approx(100, abs=5)
    assert second.others.mean == pytest.approx(-50, abs=5)
    assert "against others" in render(compare_table.tables_of([first, second]), width=150, color=False)


def test_any_role_may_be_the_factor_and_its_first_level_is_the_baseline():
    found = compared(grid(np.ones((2, 2, 3))), by=["loss"])
    assert [(c.level, c.baseline, c.found.cells) for c in found] == [("l1", "l0", 2)]
    assert [c.baseline for c in compared(grid(np.ones((2, 2, 3))), by=["loss"], baseline="loss=l1")] == ["l1"]
    for options, message in (
        ({"by": ["los"]}, "no role 'los'; did you mean 'loss'"),
        ({"baseline": "r3"}, "no regularizer 'r3'"),
        ({"show": ["fds"]}, "no measure 'fds'; did you mean 'fd'"),
    ):
        with pytest.raises(ResultsError, match=message):
            compared(grid(np.ones((2, 2, 3))), **options)


def test_a_run_without_two_levels_teaches_what_to_name():
    with pytest.raises(ResultsError, match=r"nothing to compare.*--by"):
        compare_table.tables_of(compared(grid(np.ones((1, 2, 2)))))


def test_equal_effects_are_called_the_same_within_the_noise_of_real_samples():
    values = 1 + 1e-3 * np.random.default_rng(3).random((2, 1, 6))
    (c,) = compared(grid(values))
    assert c.margin == pytest.approx(2.8 * np.std(1 + 0.1 * np.arange(6), ddof=1))
    assert c.same < 0.001


@pytest.mark.parametrize("style", ["md", "latex", "csv", "json"])
def test_every_style_shows_comparisons(style):
    found = compared(grid(1 + np.random.default_rng(4).random((2, 2, 8))))
    text = render(compare_table.tables_of(found, run="a_b"), style)
    assert "r1" in text
    if style == "json":
        (row,) = json.loads(text)[0]["rows"]
        assert row["effect"] == found[0].found.effect.percent.mean
        assert row["p"] == found[0].p


# two runs ----------------------------------------------------------------------------------------------------------


def two_runs(folder, factor=1.0, *, fail=False, **changed):
    runs = []
    for name, scale in (("a", 1.0), ("b", factor)):
        run = making.make_run(folder / name, {"hinge": None, "minimax": None}, seeds=(0, 1, 2))
        for loss in ("hinge", "minimax"):
            for seed in range(3):
                more = changed if name == "b" else {}
                if fail and name == "b" and (loss, seed) == ("hinge", 1):
                    more = {"status": "diverged", "measures": {}}
                fd = scale * (1 + 0.1 * seed) * (1 + 0.001 * seed * (name == "b"))
                about = {"measures": {"fd": Value(last=fd, better="lower")}} | more
                making.add_trial(run, loss, seed, **about)
        runs.append(run)
    return runs


def test_two_runs_are_matched_by_identity_and_seed(tmp_path):
    a, b = map(Results, two_runs(tmp_path, 1.2))
    found = versus.versus(a, b)
    assert len({c.cell for c in found.changes}) == 3
    assert all(c.effect.percent.mean == pytest.approx(20, abs=1) for c in found.changes if c.measure == "fd")
    assert any("6 trials" in note for note in found.notes)
    table = a.compare(b)
    assert set(table["measure"]) == {"fd", "step_ms"}
    assert table.query("measure == 'step_ms'")["percent"].eq(0).all()
    with pytest.raises(ResultsError, match="no trial in common"):
        versus.versus(a, Results(making.make_run(tmp_path / "c", {"other": None})))


def many_seeds(folder, values):
    """Two runs of two cells and as many seeds as ``values`` [runs, cells, seeds] has."""
    runs = []
    for name, cells in zip(("a", "b"), values, strict=True):
        run = making.make_run(folder / name, {"hinge": None, "minimax": None}, seeds=tuple(range(len(cells[0]))))
        for loss, seeds in zip(("hinge", "minimax"), cells, strict=True):
            for seed, fd in enumerate(seeds):
                making.add_trial(run, loss, seed, measures={"fd": Value(last=float(fd), better="lower")})
        runs.append(Results(run))
    return runs


def test_changes_between_runs_are_one_family_of_tests_and_times_are_not_in_it(tmp_path):
    values = np.exp(np.random.default_rng(5).normal(size=(2, 2, 8)))
    a, b = many_seeds(tmp_path, values)
    found = versus.versus(a, b)
    changes = {c.cell: c for c in found.changes if c.measure == "fd"}
    logs = np.log(values[1] / values[0])
    ps = [scipy.stats.ttest_1samp(x, 0).pvalue for x in (logs.mean(0), *logs)]
    assert [c.test.p for c in changes.values()] == pytest.approx(scipy_holm(ps))
    assert [c.test.flip for c in changes.values()] == effects.holm([c.effect.flip for c in changes.values()])
    assert {c.test.tests for c in changes.values()} == {3}
    assert all(c.test == effects.Tested() for c in found.changes if c.measure == "step_ms")
    table = a.compare(b)
    assert table.query("measure == 'fd'")["p"].tolist() == [c.test.p for c in changes.values()]
    assert table.query("measure == 'step_ms'")["p"].isna().all()


def scipy_holm(ps):
    """Holm's p by its definition: the largest of (m - rank) p over all that are at most as large."""
    order = sorted(ps)
    stepped = [min(1.0, max((len(ps) - j) * order[j] for j in range(i + 1))) for i in range(len(ps))]
    return [stepped[order.index(p)] for p in ps]


@pytest.mark.parametrize("style", ["rich", "md", "latex", "html", "csv", "json"])
def test_every_style_shows_the_p_of_two_runs(style, tmp_path):
    rng = np.random.default_rng(6)
    base = np.exp(rng.normal(size=(2, 8)))
    found = versus.versus(*many_seeds(tmp_path, [base, base * np.exp([[1.0], [0.0]] + 0.1 * rng.normal(size=(2, 8)))]))
    p = {c.cell: c.test.p for c in found.changes if c.measure == "fd"}
    text = render(versus_table.tables_of(found), style)
    if style == "json":
        rows = json.loads(text)[0]["rows"]
        assert sorted(row["fd_p"] for row in rows) == sorted(p.values())
    elif style == "csv":
        assert {"fd_p", "fd_p_flip", "fd_p_need"} <= set(text.splitlines()[0].split(","))
        assert all(repr(value) in text for value in p.values())
    else:
        assert "0.001" in text  # that of the cell that differs by a factor of e
        assert "over the 3 tests" in text


def test_two_runs_of_few_seeds_say_how_many_a_test_takes_and_of_one_seed_nothing(tmp_path):
    (table,) = versus_table.tables_of(versus.versus(*map(Results, two_runs(tmp_path / "few", 1.2))))
    assert {str(row.entries["fd_p"]) for row in table.rows} == {"need 7"}
    assert any("3 tests take 7 seeds" in footer for footer in table.footers)
    (one,) = versus_table.tables_of(versus.versus(*many_seeds(tmp_path / "one", np.ones((2, 2, 1)))))
    assert "fd_p" not in [c.name for c in one.columns]


def test_times_of_another_machine_are_not_compared_and_changed_code_is_named(tmp_path):
    a, b = two_runs(tmp_path, fingerprints={"hardware": "other", "code": "new"})
    for path in b.glob("trials/*/seed-*/spec.json"):
        path.write_text(json.dumps({"code": {"loss:hinge": "new"}}))
    found = versus.versus(Results(a), Results(b))
    assert {c.measure for c in found.changes} == {"fd"}
    assert any("Code differs: loss:hinge" in note for note in found.notes)
    assert any("Another hardware in 6 of 6 trials" in note for note in found.notes)


def test_a_gate_fails_on_a_change_beyond_noise_alone(tmp_path, capsys):
    a, b = map(str, two_runs(tmp_path, 1.2))
    assert main(["compare", a, b, "--fail-on", "fd>5%"]) == 1
    out, err = capsys.readouterr()
    assert "b against a" in out
    assert "fd>5% in 2 of 2" in err
    assert main(["compare", a, b, "--fail-on", "fd>30%", "--fail-on", "fd<-5%"]) == 0
    assert main(["compare", a, a, "--fail-on", "fd>0"]) == 0
    assert main(["compare", a, b, "--fail-on", "fdd>0"]) == 2
    assert main(["compare", a, b, "--fail-on", "fd more"]) == 2


def test_a_new_failure_fails_any_gate(tmp_path, capsys):
    a, b = map(str, two_runs(tmp_path, fail=True))
    assert main(["compare", a, b, "--fail-on", "fd>50%"]) == 1
    assert "1 more failed" in capsys.readouterr().err


def test_gates_read_conditions_and_ask_noise():
    gate = Gate.parse("coverage < -0.02")
    assert (gate.measure, gate.sign, gate.bound, gate.percent) == ("coverage", "<", -0.02, False)
    noisy = effects.effect({0: 0.1, 1: 0.9, 2: 0.2}, {0: 0.5, 1: 0.7, 2: 0.5})
    outcome = check(gate, [("x", noisy, 0)])
    assert not outcome.breaches
    assert outcome.noise
    alone = effects.effect({0: 0.1}, {0: 0.5})
    assert check(gate, [("x", alone, 0)]).breaches
    with pytest.raises(ConfigError, match="not always positive"):
        check(Gate.parse("fd>5%"), [("x", effects.effect({0: -1.0}, {0: 1.0}), 0)])


def test_results_compare_is_a_frame_and_plot_teaches(tmp_path, monkeypatch):
    a, _ = map(Results, two_runs(tmp_path))
    table = a.compare(by=["loss"])
    assert table.query("measure == 'fd'")["level"].tolist() == ["minimax"]
    assert math.isclose(table["percent"].iloc[0], 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"ganbench\[plot\]"):
        a.plot("fd")


def test_plot_draws_a_line_for_each_cell(tmp_path):
    import matplotlib as mpl

    mpl.use("agg")
    a, _ = two_runs(tmp_path)
    for path in a.glob("trials/*/seed-*/curves.jsonl"):
        path.write_text("".join(json.dumps({"step": s, "fd": 1.0 + s}) + "\n" for s in (5, 10)))
    ax = Results(a).plot("fd")
    assert [line.get_label() for line in ax.get_lines()] == ["hinge", "minimax"]
    with pytest.raises(ResultsError, match="no curve of 'df'"):
        Results(a).plot("df")


def test_the_table_command_pivots_and_shows_differences_and_the_front(tmp_path, capsys):
    a, _ = map(str, two_runs(tmp_path))
    assert main(["table", a, "--pivot", "loss", "--measure", "fd"]) == 0
    assert "fd (lower is better), by loss" in capsys.readouterr().out
    assert main(["table", a, "--diff", "--baseline", "loss=hinge", "--pareto", "fd"]) == 0
    out = capsys.readouterr().out
    assert "Δ fd" in out
    assert "Front: no other row" in out
    assert main(["table", a, "--pivot", "los"]) == 2


def test_a_gate_holds_for_factors_too(tmp_path, capsys):
    run = making.make_run(tmp_path / "run", {"hinge": None, "minimax": None}, seeds=(0, 1, 2))
    for loss, scale in (("hinge", 1.0), ("minimax", 1.5)):
        for seed in range(3):
            making.add_trial(run, loss, seed, measures={"fd": Value(last=scale + 0.01 * seed, better="lower")})
    command = ["compare", str(run), "--by", "loss", "--measure", "fd"]
    assert main([*command, "--fail-on", "fd>5%"]) == 1
    assert "ring · minimax +4" in capsys.readouterr().err
    assert main([*command, "--fail-on", "fd<-5%"]) == 0
    assert main([*command, "--baseline", "minimax", "--fail-on", "fd<-5%"]) == 1


def test_trials_are_counted_in_the_blocks_that_are_compared():
    records = [
        t for t in grid(np.ones((2, 3, 4)) + np.arange(4)) if (t.labels["regularizer"], t.cell) != ("none", "l2-none")
    ]
    (found,) = compared(records)
    assert (found.done, found.total, found.found.cells) == (8, 8, 2)


def test_both_tests_are_shown_from_six_seeds_on_and_what_is_the_same_is_said():
    rng = np.random.default_rng(3)
    base = 10 + rng.normal(size=(1, 8))
    values = np.stack([base, base + 0.001 * rng.normal(size=(1, 8)), base + 5 + 0.1 * rng.normal(size=(1, 8))])
    (table,) = compare_table.tables_of(compared(grid(values)))
    near, far = table.rows
    assert (near.entries["same"], far.entries["same"]) == ("yes", "no")
    assert float(str(far.entries["flip"])) == pytest.approx(2 * 2 / 2**8, abs=1e-3)  # Holm's factor for two tests
    few = compare_table.tables_of(compared(grid(values[:, :, :5])))[0]
    assert "flip" not in [c.name for c in few.columns]
    assert "p" in [c.name for c in few.columns]


def test_two_runs_of_one_name_are_told_apart_and_a_gate_on_times_needs_times(tmp_path):
    a, b = two_runs(tmp_path, fingerprints={"hardware": "other", "code": "new"})
    a, b = Results(a), Results(b)
    b.name = a.name
    found = versus.versus(a, b)
    assert found.names == (str(a.path), str(b.path))
    with pytest.raises(ResultsError, match=r"no step times are compared.*Another hardware"):
        found.named("step_ms")


def test_step_times_of_the_timing_pass_are_compared_by_its_rounds():
    class Times:
        def ratio(self, pairs):
            assert set(pairs) == {("l0-r1", BASELINE), ("l1-r1", BASELINE)}
            return Estimate(1.5, 1.4, 1.6, 7)

    records = frame(grid(np.ones((2, 2, 3)) + np.arange(3)))
    (found,) = compare.comparisons(records, FD, show=["step_ms"], times=Times())
    percent = found.found.effect.tested
    assert (percent.mean, percent.low, percent.high, percent.n) == pytest.approx((50, 40, 60, 7))
    (seeds,) = compare.comparisons(records, FD, show=["step_ms"])
    assert seeds.found.effect.percent.mean == pytest.approx(0)
    (table,) = compare_table.tables_of([found])
    assert table.rows[0].entries["effect"] == percent
    assert "paired by its rounds" in " ".join(table.footers)
    assert "rounds" not in " ".join(compare_table.tables_of([seeds])[0].footers)


def under(extractor, fd, name="fd"):
    """A measure whose values were taken with an extractor."""
    protocol = {"metric": "frechet-distance", "version": 1, "n_fake": 9, "n_real": 9, "split": "test"}
    return {name: Value(last=fd, better="lower", protocol=protocol | {"extractor": extractor})}


def test_measures_of_several_protocols_are_neither_compared_nor_ranked():
    def records(other):
        made = [
            trial(s, regularizer=name, measures=under(other if s == 2 else "a", 1.0 + s) | under("a", 2.0 + s, "kid"))
            for name in ("none", "r1")
            for s in range(3)
        ]
        return [*made, trial(3, status="diverged"), trial(3, status="diverged", regularizer="r1")]

    both = {"fd": ("lower", ""), "kid": ("lower", "")}
    one, several = frame(records("a")), frame(records("b"))
    assert {c.measure for c in compare.comparisons(one, both)} == {"fd", "kid", "step_ms"}
    assert compare.left_out(one, both) == {}
    found = compare.comparisons(several, both)
    assert {c.measure for c in found} == {"kid", "step_ms"}
    why = compare.left_out(several, both)
    (table,) = compare_table.tables_of(found, left_out=why)
    assert table.footers[0].startswith("NOT SHOWN: fd. Values of several protocols do not compare (1: frechet-distance")
    with pytest.raises(ResultsError, match="nothing to compare in this run: NOT SHOWN: fd"):
        compare_table.tables_of(compared(records("b")), left_out=why)
    assert [s.measure for s in overall.overall(one, both)] == ["fd", "kid"]
    assert [s.measure for s in overall.overall(several, both)] == ["kid"]
    assert overall.left_out(several, both) == list(why["ring"])
    with pytest.raises(ResultsError, match="nothing to rank: NOT SHOWN: fd"):
        overall.overall(several, both, show=["fd"])


def test_two_runs_under_several_protocols_are_not_compared(tmp_path):
    a, b = map(Results, two_runs(tmp_path, measures=under("b", 1.0)))
    assert "fd" in {c.measure for c in versus.versus(a, b).changes}  # what a trial says nothing of is not refused
    for seed in range(3):
        making.add_trial(a.path, "hinge", seed, measures=under("a", 1.0))
    found = versus.versus(Results(a.path), b)
    assert {c.measure for c in found.changes} == {"step_ms"}
    assert any(note.startswith("NOT SHOWN: fd.") for note in found.notes)
    with pytest.raises(ResultsError, match="nothing to compare: NOT SHOWN: fd"):
        versus.versus(Results(a.path), b, show=["fd"])
