import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ganbench.errors import ResultsError
from ganbench.frames import frame
from ganbench.records import Record, Value
from ganbench.render import render
from ganbench.stats import Estimate
from ganbench.table import OK, RATIO, STEP, Tally
from ganbench.tabulate import build

MEASURES = {"fd": ("lower", ""), "coverage": ("higher", ""), "entropy": (None, "nats")}


def trial(seed, fd=None, *, status="done", step_ms=1.0, reason="", facts=None, hardware="h", steps=100, **roles):
    labels = {
        "dataset": "digits",
        "generator": "mlp",
        "discriminator": "mlp",
        "loss": "hinge",
        "regularizer": "none",
        "optimizer": "adam",
        "update": "alternating",
    } | roles
    name = "-".join([*labels.values(), str(steps)])
    done = status == "done"
    return Record(
        cell=name,
        id=name,
        seed=seed,
        status=status,
        reason=reason,
        labels=labels,
        measures={"fd": Value(last=fd, ema=fd / 2, floor=0.25, better="lower")} if fd is not None else {},
        timing={"step_ms": step_ms, "step_ms_n": 12.0} if done else {},
        facts={"steps": steps, "batch": 64, "engine": "serial", "device": "cpu", "exclusive": True} | (facts or {}),
        fingerprints={"hardware": hardware, "environment": "e"},
    )


def tabulate(records, **options):
    measures = options.pop("measures", {"fd": ("lower", "")})
    return build(frame(records), measures, **options)


def one(records, **options):
    (table,) = tabulate(records, **options)
    return table


def test_a_row_is_a_cell_and_roles_that_all_share_are_constants():
    table = one([trial(s, float(s), regularizer=r) for r in ("none", "r1(gamma=1)") for s in range(3)])
    assert [c.name for c in table.columns] == ["regularizer", "fd", "fd_ema", STEP, RATIO, OK]
    assert table.constants["loss"] == "hinge"
    assert "regularizer" not in table.constants
    assert [row.entries["regularizer"] for row in table.rows] == ["none", "r1(gamma=1)"]
    assert table.rows[0].entries["fd"].mean == 1.0
    assert table.rows[0].entries["fd"].n == 3
    assert table.column("fd").floor == 0.25
    assert table.title == "digits"


def test_intervals_are_over_seeds():
    values = [3.0, 4.5, 4.0, 7.0]
    records = [trial(s, v) for s, v in enumerate(values)]
    entry = one(records, measures={"fd": ("higher", "")}).rows[0].entries["fd"]
    low, high = scipy.stats.t.interval(0.95, 3, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (entry.low, entry.high) == pytest.approx((low, high))


def test_positive_measures_that_are_better_when_lower_have_geometric_means():
    values = [3.0, 4.5, 4.0, 7.0]
    records = [trial(s, v) for s, v in enumerate(values)]
    table = one(records)
    entry = table.rows[0].entries["fd"]
    logs = np.log(values)
    interval = scipy.stats.t.interval(0.95, 3, loc=logs.mean(), scale=scipy.stats.sem(logs))
    assert (entry.low, entry.mean, entry.high) == pytest.approx(tuple(np.exp([interval[0], logs.mean(), interval[1]])))
    assert "4.4+3.3-1.9" in render(table, width=120, color=False)
    assert "4.4 +3.3-1.9" in render(table, "md")
    assert "4.4^{+3.3}_{-1.9}" in render(table, "latex")
    zero = one([*records, trial(4, 0.0)]).rows[0].entries["fd"]  # which has no logarithm
    assert zero.mean == pytest.approx(np.mean([*values, 0.0]))


def test_where_space_is_short_intervals_show_their_longer_side_and_say_so():
    records = [trial(s, v, regularizer=r) for r in ("none", "r1") for s, v in enumerate([3.0, 4.5, 4.0, 7.0])]
    text = render(one(records), width=40, color=False)
    assert "4.4±3.3" in text
    assert "shorter sides of intervals" in " ".join(text.split())


def test_data_sets_have_tables_of_their_own_with_their_own_measures():
    ring = trial(0, None, dataset="ring")
    ring = Record(**{**vars(ring), "measures": {"coverage": Value(last=0.5, better="higher")}})
    digits, other = tabulate([trial(0, 1.0), ring], measures=MEASURES)
    assert "fd" in [c.name for c in digits.columns]
    assert "coverage" not in [c.name for c in digits.columns]
    assert "coverage" in [c.name for c in other.columns]
    assert (digits.title, other.title) == ("digits", "ring")


def test_failed_trials_are_counted_shown_and_left_out_of_the_mean():
    records = [
        trial(0, 1.0),
        trial(1, 100.0, status="diverged", reason="d_loss is not finite"),
        trial(2, 3.0),
        trial(0, status="oom", reason="2 GiB", regularizer="r1"),
        trial(1, status="timeout", reason="60 s", regularizer="r1"),
    ]
    first, second = one(records).rows
    assert first.entries["fd"].mean == pytest.approx(math.sqrt(3))
    assert first.entries[OK] == Tally(2, 3, {"diverged": 1})
    assert first.note == "1 diverged (seed 1): d_loss is not finite"
    assert second.entries["fd"] is None
    assert second.entries[OK].failed == "1 oom, 1 timeout"
    assert second.note == "1 oom (seed 0): 2 GiB; 1 timeout (seed 1): 60 s"


def test_the_best_mean_is_marked_among_rows_without_a_failure_only():
    records = [
        *(trial(s, 5.0, regularizer="a") for s in (0, 1)),
        *(trial(s, 6.0, regularizer="b") for s in (0, 1)),
        trial(0, 1.0, regularizer="c"),
        trial(1, status="diverged", regularizer="c"),
    ]
    assert [("fd" in row.best) for row in one(records).rows] == [True, False, False]
    higher = one(records, measures={"fd": ("higher", "")})
    assert [("fd" in row.best) for row in higher.rows] == [False, True, False]
    neither = one(records, measures={"fd": (None, "")})
    assert not any(row.best for row in neither.rows)


def test_rows_within_noise_of_the_best_are_marked_as_tied():
    values = {"a": [5.0, 6.0, 7.0], "b": [5.1, 5.9, 7.1], "c": [8.0, 9.1, 10.0], "d": [5.2, 6.1, 7.3]}
    records = [trial(s, v, regularizer=r) for r, vs in values.items() for s, v in enumerate(vs)]
    records.append(trial(3, status="diverged", regularizer="d"))
    table = one(records)
    assert [("fd" in row.best, "fd" in row.tied) for row in table.rows] == [
        (True, False),
        (False, True),
        (False, False),
        (False, False),
    ]
    text = render(table, width=120, color=False)
    assert "~ (or underlined)" in text
    assert re.search(r"b .*6.0\+3.0-2.0~", text)
    assert "<ins>6.0</ins>" in render(table, "md")
    assert r"$\underline{6.0}^{+" in render(table, "latex")
    alone = one([trial(0, v, regularizer=r) for r, v in (("a", 1.0), ("b", 1.1))])
    assert not any(row.tied for row in alone.rows)


def test_the_front_has_the_rows_that_no_other_beats_in_both():
    cells = {"a": (1.0, 9.0), "b": (2.0, 5.0), "c": (3.0, 5.0), "d": (4.0, 1.0)}
    table = one([trial(0, fd, regularizer=r, step_ms=t) for r, (fd, t) in cells.items()], pareto="fd")
    assert [row.entries["front"] for row in table.rows] == ["yes", "yes", "", "yes"]
    assert any(f.startswith("Front: no other row") for f in table.footers)
    assert "front" in render(table, "md")
    with pytest.raises(ResultsError, match="no measure 'df' with a better way"):
        one([trial(0, 1.0)], pareto="df")


def measured_by(record: Record, digest: str, **more) -> Record:
    protocol = {"metric": "frechet-distance", "version": 1, "n_fake": 99, "n_real": 99, "split": "test"}
    value = Value(last=1.0, better="lower", protocol=protocol | {"extractor": f"classifier@{digest}"}, **more)
    return Record(**{**vars(record), "measures": {"fd": value}})


def test_values_of_several_protocols_are_never_in_one_table():
    alike = [measured_by(trial(s, 1.0), "aaaa") for s in (0, 1)]
    table = one(alike)
    assert "fd" in [c.name for c in table.columns]
    told = "fd (frechet-distance v1): 99 fakes against 99 real (test), classifier@aaaa."
    assert f"Measured: {told}" in table.footers
    table = one([*alike, measured_by(trial(2, 1.0), "bbbb")])
    assert "fd" not in [c.name for c in table.columns]
    (refusal,) = [f for f in table.footers if f.startswith("NOT SHOWN: fd.")]
    assert "classifier@aaaa" in refusal
    assert "classifier@bbbb" in refusal
    # rows of other training budgets stand apart all the same
    assert "fd" in [c.name for c in one([*alike, measured_by(trial(2, 1.0, steps=99), "bbbb")]).columns]


def test_the_null_model_is_a_footer():
    table = one([measured_by(trial(s, 1.0), "aaaa", null=4.0 + s) for s in (0, 1)])
    assert "Null model, a Gaussian with the mean and covariance of the data: fd 4.5." in table.footers


def test_differences_from_the_baseline_are_paired_and_stand_beside_the_measure():
    records = [
        trial(s, 10.0 * (s + 1) * (1.5 if r == "r1" else 1) + (s == 2 and r == "r1"), regularizer=r, loss=m)
        for m in ("x", "y")
        for r in ("none", "r1")
        for s in range(3)
    ]
    for table in (one(records, diff=True), one(records, diff=True, by=["regularizer"])):
        names = [c.name for c in table.columns]
        assert names[names.index("fd") :][:3] == ["fd", "fd_diff", "fd_percent"]
        none, r1 = table.rows[:2]
        assert none.entries["fd_diff"] is None
        low, high = scipy.stats.t.interval(0.95, 2, loc=31 / 3, scale=scipy.stats.sem([5, 10, 16]))
        difference = r1.entries["fd_diff"]
        assert (difference.mean, difference.low, difference.high) == pytest.approx((31 / 3, low, high))
        assert r1.entries["fd_percent"].mean == pytest.approx(100 * (np.cbrt(1.5 * 1.5 * 46 / 30) - 1))
        assert "Δ fd" in render(table, width=120, color=False)
        assert "fd_percent_low" in render(table, "csv")
    pivoted = tabulate(records, diff=True, pivot="loss", show=["fd"])
    assert [t.title.split(":")[1].split(",")[0].split(" (")[0].strip() for t in pivoted[:2]] == ["fd", "Δ fd"]


def test_rows_that_all_tie_have_no_best():
    assert not any(row.best for row in one([trial(0, 5.0, regularizer=r) for r in "ab"]).rows)


def test_protocols_that_differ_are_a_column_and_each_has_its_own_best():
    records = [
        trial(0, fd, regularizer=r, steps=n) for n, r, fd in [(10, "a", 9), (10, "b", 8), (99, "a", 2), (99, "b", 1)]
    ]
    table = one([Record(**vars(r)) for r in records])
    assert [row.entries["steps"] for row in table.rows] == ["10", "10", "99", "99"]
    assert [("fd" in row.best) for row in table.rows] == [False, True, False, True]
    assert any("of one protocol" in footer for footer in table.footers)
    averaged = one(records, by=["regularizer"])
    assert len(averaged.rows) == 4


def test_cells_that_nothing_shown_tells_apart_show_their_ids():
    records = [trial(0, 1.0), Record(**{**vars(trial(0, 2.0)), "cell": "other", "id": "other"})]
    table = one(records)
    assert [row.entries["id"] for row in table.rows] == [records[0].id, "other"]


def test_step_times_are_divided_by_those_of_the_same_cell_and_seed_without_a_regularizer():
    records = []
    for loss, base in (("hinge", 1.0), ("minimax", 10.0)):
        for seed, factor in enumerate((1.0, 3.0)):
            records.append(trial(seed, 1.0, loss=loss, step_ms=base * factor))
            records.append(trial(seed, 1.0, loss=loss, regularizer="r1", step_ms=base * factor * (1.5 + seed / 10)))
    ratios = [row.entries[RATIO] for row in one(records).rows]
    wanted = math.sqrt(1.5 * 1.6)
    assert [r.mean for r in ratios] == pytest.approx([1, wanted, 1, wanted])
    logs = np.log([1.5, 1.6])
    low = math.exp(scipy.stats.t.interval(0.95, 1, loc=logs.mean(), scale=scipy.stats.sem(logs))[0])
    assert ratios[1].low == pytest.approx(low)
    by = one(records, by=["regularizer"])
    assert [row.entries[RATIO].mean for row in by.rows] == pytest.approx([1, wanted])


def test_step_times_of_another_machine_are_not_divided():
    records = [
        trial(0, 1.0),
        trial(0, 1.0, regularizer="r1", hardware="other"),
        trial(0, 1.0, regularizer="r2", step_ms=2.0),
    ]
    table = one(records)
    assert [row.entries[RATIO] and row.entries[RATIO].mean for row in table.rows] == [1, None, 2]
    assert any("2 machines or environments" in footer for footer in table.footers)


def test_times_beside_other_work_are_flagged():
    table = one([trial(0, 1.0), trial(0, 2.0, regularizer="r1", facts={"exclusive": False})])
    assert [row.shared for row in table.rows] == [False, True]
    assert any("~ 1 of 2 trials" in footer for footer in table.footers)


def test_another_baseline_may_be_a_regularizer_or_any_roles_component():
    records = [
        trial(0, 1.0, regularizer=r, loss=m, step_ms=t) for r, m, t in [("a", "x", 1), ("b", "x", 4), ("a", "y", 2)]
    ]
    assert [r.entries[RATIO] and r.entries[RATIO].mean for r in one(records, baseline="b").rows] == [0.25, 1, None]
    assert [r.entries[RATIO] and r.entries[RATIO].mean for r in one(records, baseline="loss=x").rows] == [1, 1, 2]
    assert RATIO not in [c.name for c in one(records).columns]
    with pytest.raises(ResultsError, match="no regularizer 'bb'"):
        one(records, baseline="bb")
    with pytest.raises(ResultsError, match="no loss 'z'"):
        one(records, baseline="loss=z")


def test_by_averages_the_cells_of_a_seed_first_so_n_is_the_number_of_seeds():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 4, 3)) + 10  # regularizer, loss, seed
    records = [
        trial(s, values[r, m, s], regularizer=f"r{r}", loss=f"l{m}")
        for m in range(4)
        for r in range(2)
        for s in range(3)
    ]
    table = one(records, by=["regularizer"])
    assert [row.entries["regularizer"] for row in table.rows] == ["r0", "r1"]
    for r, row in enumerate(table.rows):
        means = np.log(values[r]).mean(0)
        low, high = scipy.stats.t.interval(0.95, 2, loc=means.mean(), scale=scipy.stats.sem(means))
        entry = row.entries["fd"]
        assert entry.n == 3
        assert (entry.mean, entry.low, entry.high) == pytest.approx(tuple(np.exp([means.mean(), low, high])))
        assert row.entries[OK] == Tally(12, 12)
    assert any("over loss (12 of 12" in footer for footer in table.footers)


def test_by_compares_only_what_every_row_completed():
    records = [trial(s, 10.0 * b, loss=f"l{b}", regularizer=r) for b in (1, 2, 9) for r in ("a", "b") for s in (0, 1)]
    # l9 is the hard cell: b failed there, so a must not be charged for it; c never finished anything
    records = [
        Record(**{**vars(t), "status": "diverged"})
        if t.labels["loss"] == "l9" and t.labels["regularizer"] == "b"
        else t
        for t in records
    ] + [trial(0, status="error", regularizer="c", loss="l1")]
    a, b, c = one(records, by=["regularizer"]).rows
    assert a.entries["fd"].mean == b.entries["fd"].mean == pytest.approx(math.sqrt(200))
    assert b.entries[OK] == Tally(4, 6, {"diverged": 2})
    assert c.entries["fd"] is None


def test_by_says_when_rows_share_no_cell():
    records = [trial(0, 1.0, regularizer="a", loss="x"), trial(0, 2.0, regularizer="b", loss="y")]
    table = one(records, by=["regularizer"])
    assert [row.entries["fd"].mean for row in table.rows] == [1.0, 2.0]
    assert any("DIFFERENT" in footer for footer in table.footers)


def test_by_two_roles_has_a_row_for_each_combination_in_the_order_of_the_plan():
    records = [trial(0, 1.0, regularizer=r, loss=m, generator=g) for g in "pq" for m in "xy" for r in "ba"]
    table = one(records, by=["regularizer", "loss"])
    assert [(r.entries["regularizer"], r.entries["loss"]) for r in table.rows] == [
        ("b", "x"),
        ("b", "y"),
        ("a", "x"),
        ("a", "y"),
    ]


def test_by_all_varying_roles_is_the_table_of_cells():
    records = [
        trial(s, float(s + i), regularizer=r, status="diverged" if (r, s) == ("a", 0) else "done")
        for i, r in enumerate("ab")
        for s in range(3)
    ]
    plain, by = one(records), one(records, by=["regularizer"])
    assert [row.entries for row in plain.rows] == [row.entries for row in by.rows]


def test_pivot_puts_the_levels_of_a_role_into_columns():
    records = [trial(0, 10.0 * i + j, regularizer=r, loss=m) for i, r in enumerate("ab") for j, m in enumerate("xy")]
    (table,) = tabulate(records, pivot="loss", show=["fd"])
    assert [c.header for c in table.columns] == ["regularizer", "x", "y", "ok"]
    grid = [[row.entries["fd[x]"].mean, row.entries["fd[y]"].mean] for row in table.rows]
    assert grid == [[0, 1], [10, 11]]
    assert table.rows[0].best == {"fd[x]"}
    assert "fd (lower is better), by loss" in table.title


def test_the_data_set_may_be_aggregated_to():
    records = [trial(0, fd, dataset=d, regularizer=r) for d, fd in (("p", 1.0), ("q", 2.0)) for r in "ab"]
    table = one(records, by=["dataset"])
    assert [(row.entries["dataset"], row.entries["fd"].mean) for row in table.rows] == [("p", 1.0), ("q", 2.0)]


def test_skipped_cells_are_listed_by_reason():
    skips = [
        Record(**{**vars(trial(None, status="skipped", loss=m)), "reason": why})
        for m, why in (("x", "no bound"), ("y", "no bound"), ("z", "no labels"))
    ]
    table = one([trial(0, 1.0), *skips])
    assert [(s.reason, s.cells) for s in table.skipped] == [("no bound", ("x", "y")), ("no labels", ("z",))]
    assert len(table.rows) == 1
    (only,) = tabulate(skips)
    assert only.rows == ()
    assert len(only.skipped) == 2


def test_measures_may_be_chosen_and_any_numeric_column_is_one():
    records = [Record(**{**vars(trial(0, 4.0)), "cost": {"peak_mib": 17.0}})]
    table = one(records, show=["peak_mib", "fd_ema"])
    assert [c.name for c in table.columns if c.kind == "measure"] == ["peak_mib", "fd_ema"]
    assert table.rows[0].entries["peak_mib"] == Estimate(17.0, None, None, 1)
    assert table.rows[0].entries["fd_ema"].mean == 2.0
    assert [c.name for c in one(records, show=["fd"]).columns if c.kind == "measure"] == ["fd", "fd_ema"]


def test_unknown_roles_and_measures_teach_the_nearest():
    records = [trial(0, 1.0)]
    with pytest.raises(ResultsError, match="no role 'regulariser'; did you mean 'regularizer'"):
        one(records, by=["regulariser"])
    with pytest.raises(ResultsError, match="no measure 'coverag'; did you mean 'coverage'"):
        one(records, show=["coverag"], measures=MEASURES)


def test_plugins_may_add_columns_of_numbers_or_words():
    records = frame([trial(s, 1.0, regularizer=r) for r in "ab" for s in (0, 1)])
    columns = {"double": records["seed"].astype(float) * 2, "kind": records["regularizer"].str.upper()}
    (table,) = build(records, {"fd": ("lower", "")}, columns=columns)
    assert table.rows[0].entries["double"].mean == 1.0
    assert table.rows[1].entries["kind"] == "B"
    with pytest.raises(ResultsError, match="'loss'"):
        build(records, {}, columns={"loss": pd.Series(1.0, records.index)})


def test_the_footer_names_seeds_protocol_and_how_time_was_taken():
    text = " ".join(one([trial(s, 1.0 + s, regularizer=r) for r in ("none", "a") for s in range(3)]).footers)
    for part in (
        "95 % Student-t",
        "3 seeds",
        "100 steps",
        "batch 64",
        "engine serial",
        "on cpu",
        "nothing else ran beside",
    ):
        assert part in text


def test_values_that_are_not_finite_are_told_and_not_averaged_in_silence():
    records = [trial(s, 2.0) for s in range(2)] + [trial(2)]  # the third trial is done and has no finite fd
    table = one(records)
    assert table.rows[0].entries["fd"].n == 2
    assert any("Of 3 finished trials" in f and "1 of fd" in f for f in table.footers)
    assert not any("not finite" in f for f in one(records[:2]).footers)


def test_footers_name_the_seeds_and_say_that_engines_are_mixed():
    records = [trial(s, 1.0 + s) for s in (0, 1, 2, 5, 7, 8)] + [trial(3, 2.0, facts={"engine": "fused"})]
    text = " ".join(one(records).footers)
    assert "over 7 seeds (0-3, 5, 7, 8)" in text
    assert "Engines are mixed (serial, fused)" in text
    assert "mixed" not in " ".join(one(records[:6]).footers)


def test_footers_say_which_trials_were_not_deterministic_and_times_compare_among_either():
    usual = [trial(s, 1.0 + s, regularizer="none") for s in range(3)]
    loose = [trial(s, 1.0 + s, regularizer="r1", facts={"deterministic": False}) for s in range(3)]
    assert "deterministic" not in " ".join(one(usual).footers)
    assert "on cpu, deterministic = false." in " ".join(one(loose).footers)
    both = one([*usual, *loose])
    assert "3 of 6 trials were trained with deterministic = false" in " ".join(both.footers)
    assert "on cpu." in " ".join(both.footers)
    assert both.rows[1].entries[RATIO] is None
    alike = one([*usual, *(trial(s, 1.0 + s, regularizer="r1") for s in range(3))])
    assert alike.rows[1].entries[RATIO] is not None


def test_rows_of_several_data_sets_have_no_floor_in_common_and_no_best():
    records = [trial(s, v + s, dataset=d) for d, v in (("ring", 1.0), ("digits", 5.0)) for s in (0, 1)]
    table = one(records, by=["dataset"])
    assert table.column("fd").floor is None
    assert not any(row.best or row.tied for row in table.rows)
    split = one([*records, *(trial(s, 2.0 + s, regularizer="r1") for s in (0, 1))], by=["dataset", "regularizer"])
    assert [bool(row.best) for row in split.rows] == [False, False, True]


def test_failures_that_differ_in_numbers_are_told_once():
    records = [trial(0, 1.0), *(trial(s, status="diverged", reason=f"d_loss-0 is nan at step {s}") for s in (1, 2))]
    assert one(records).rows[0].note == "2 diverged (seed 1, 2): d_loss-0 is nan at step …"
