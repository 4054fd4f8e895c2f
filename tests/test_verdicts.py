"""Verdicts compare like with like, average within a seed first, count failures, and do not say more than is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import reporting

from ganbench.compare import comparisons
from ganbench.records import Record, Value, write_json
from ganbench.report import page
from ganbench.results import Results
from ganbench.sentences import headline, interaction, sentence, short
from ganbench.verdicts import Effect, factors, together


def effects(run: Path, *, baseline: str = "none") -> dict[tuple[str, str], Effect]:
    return {(e.factor, e.level): e for f in factors(Results(run), baseline=baseline) for e in f.effects}


def test_a_level_is_compared_within_blocks_and_over_seeds(tmp_path) -> None:
    def fd(loss, regularizer, seed):
        return (1 + seed) * (10 if loss == "hinge" else 1) * (0.88 if regularizer == "r1" else 1)

    found = effects(reporting.make(tmp_path / "run", fd=fd))
    assert set(found) == {("loss", "minimax"), ("regularizer", "r1")}
    effect = found["regularizer", "r1"]
    assert effect.change is not None
    assert effect.change.mean == pytest.approx(-12)
    assert effect.change.n == 3  # seeds, not cells times seeds
    assert (effect.found.better, effect.found.cells) == (2, 2)
    assert effect.cost is not None
    assert effect.cost.mean == pytest.approx(2)
    assert effect.improves
    text = sentence(effect)
    assert text.startswith("lowers fd by 12\N{NO-BREAK SPACE}% [12, 12] against none (better; the same in each of 3 ")
    assert "averaged over 2 losses; better in 2 of 2 blocks; a step takes 2.00 times [2.00, 2.00] as long" in text
    assert text.endswith("3 seeds are too few to test (need 6).")
    assert effect.averaged == "2 losses"


def test_what_the_interval_does_not_exclude_is_no_clear_change(tmp_path) -> None:
    def fd(loss, regularizer, seed):
        return 1 + seed * (-1 if regularizer == "r1" else 1) / 4

    effect = effects(reporting.make(tmp_path / "run", fd=fd))["regularizer", "r1"]
    assert not effect.clear
    assert sentence(effect).startswith("shows no clear change: fd is ")


def test_equal_values_and_single_seeds_are_said_plainly(tmp_path) -> None:
    same = effects(reporting.make(tmp_path / "same"))["regularizer", "r1"]
    assert sentence(same).startswith("leaves fd as it is against none")
    one = reporting.make(tmp_path / "one", seeds=1, fd=lambda _l, r, _s: 2.0 if r == "r1" else 1.0)
    text = sentence(effects(one)["regularizer", "r1"])
    assert "raises fd by 100\N{NO-BREAK SPACE}% against none (worse; one seed gives no interval)" in text
    assert "1 seed is too few to test (need 6)" in text


def test_with_enough_seeds_there_is_a_test_and_holms_correction(tmp_path) -> None:
    run = reporting.make(
        tmp_path / "run",
        seeds=8,
        regularizers=("none", "r1", "r2"),
        fd=lambda _l, r, s: (1 + s) * (0.5 + 0.01 * s if r == "r1" else 1 + 0.01 * s if r == "r2" else 1),
    )
    found = effects(run)
    effect = found["regularizer", "r1"]
    assert effect.comparison.tests == 2
    assert effect.comparison.flip == pytest.approx(2 * 2 / 2**8)
    assert effect.comparison.p is not None
    assert effect.found.effect.p is not None
    assert effect.found.effect.p <= effect.comparison.p < 0.05
    assert "(paired t over 8 seeds, Holm over 2 tests); p = 0.016 by sign flips" in sentence(effect)
    assert found["loss", "minimax"].comparison.tests == 1


def test_a_report_and_a_comparison_say_the_same(tmp_path) -> None:
    run = Results(
        reporting.make(
            tmp_path / "run", seeds=7, regularizers=("none", "r1", "r2"), fd=lambda _l, r, s: 1 + s * len(r) / 9
        )
    )
    theirs = {c.level: c for c in comparisons(run.records, run.measures) if c.measure == "fd"}
    ours = {e.level: e for f in factors(run) if f.name == "regularizer" for e in f.effects}
    assert {level: e.comparison for level, e in ours.items()} == theirs


def test_interactions_that_leave_out_no_difference_are_told(tmp_path) -> None:
    def fd(loss, regularizer, seed):
        return (1 + seed) * ((3 if loss == "hinge" else 1) + 0.01 * seed if regularizer == "r1" else 1)

    run = Results(reporting.make(tmp_path / "run", fd=fd))
    found = {f.name: f for f in factors(run)}
    hinge, minimax = found["regularizer"].interactions
    assert interaction(hinge).startswith("with loss hinge its effect on fd is 1")
    assert "more than elsewhere" in interaction(hinge)
    assert "less than elsewhere" in interaction(minimax)
    assert "Where it depends on another choice (2)" in page(run)
    alike = Results(reporting.make(tmp_path / "alike"))
    assert [f.interactions for f in factors(alike)] == [(), ()]


def test_what_is_the_same_within_noise_is_said_to_be(tmp_path) -> None:
    run = reporting.make(
        tmp_path / "run",
        seeds=4,
        fd=lambda _l, r, s: 5 + s + (0.001 * (s % 2 + 1) if r == "r1" else 0),
        measures=lambda value, seed: {"fd": Value(last=value, floor=0.5 + 0.1 * seed, better="lower")},
    )
    text = sentence(effects(run)["regularizer", "r1"])
    assert text.startswith("leaves fd the same within what real samples differ by, ±0.36 (two one-sided tests)")


def test_failures_are_told_and_taken_out_of_the_mean(tmp_path) -> None:
    def fd(loss, regularizer, seed):
        return None if (loss, regularizer, seed) == ("hinge", "r1", 1) else 1.0 + seed

    text = sentence(effects(reporting.make(tmp_path / "run", fd=fd))["regularizer", "r1"])
    assert "1 trial of it failed, 0 of none, so the mean is over 1 of 2 blocks" in text
    never = reporting.make(tmp_path / "never", fd=lambda _l, r, s: None if r == "r1" else 1.0 + s)
    text = sentence(effects(never)["regularizer", "r1"])
    assert text.startswith("cannot be compared in fd against none")
    assert "6 trials of it failed" in text


def test_cells_of_different_protocols_are_not_compared(tmp_path) -> None:
    run = reporting.make(tmp_path / "run", losses=("hinge",))
    for path in run.glob("trials/*/seed-*"):
        record = Record.read(path)
        assert record is not None
        if record.labels["regularizer"] == "r1":
            raw = json.loads((path / "result.json").read_text())
            write_json(path / "result.json", raw | {"facts": {**raw["facts"], "steps": 99}})
    (factor,) = factors(Results(run))
    assert factor.effects == ()
    assert "no two cells differ in it alone" in factor.silent


def test_the_baseline_is_the_one_that_is_asked_for(tmp_path) -> None:
    run = reporting.make(tmp_path / "run", fd=lambda _l, r, _s: 2.0 if r == "r1" else 1.0)
    assert ("regularizer", "none") in effects(run, baseline="r1")
    assert ("loss", "hinge") in effects(run, baseline="loss=minimax")


def test_roles_that_change_together_are_one_factor() -> None:
    cells = [{"generator": g, "discriminator": g + "d", "loss": "x"} for g in ("mlp", "dcgan")]
    assert together(cells) == [("generator", "discriminator")]
    assert together([*cells, {"generator": "mlp", "discriminator": "dcgand", "loss": "x"}]) == [
        ("generator",),
        ("discriminator",),
    ]


@pytest.mark.parametrize(
    ("x", "text"),
    [(0, "0"), (12.34, "12"), (1234.5, "1,234"), (-3.14, "\N{MINUS SIGN}3.1"), (0.0123, "0.012"), (math.inf, "inf")],
)
def test_numbers_in_sentences_are_short(x, text) -> None:
    assert short(x) == text


def test_a_headline_sorts_the_levels_of_a_factor(tmp_path) -> None:
    values = {"none": 4.0, "good": 2.0, "bad": 8.0, "odd": 4.0, "lost": None}

    def fd(_loss, regularizer, seed):
        value = values[regularizer]
        wobble = (-1) ** seed * 2.0 if regularizer == "odd" else 0.01 * seed * len(regularizer)
        return None if value is None else value + wobble

    run = reporting.make(tmp_path / "run", seeds=4, regularizers=tuple(values), fd=fd)
    (told,) = [f.effects for f in factors(Results(run)) if f.name == "regularizer"]
    text = headline(told)
    assert text.startswith("Against none, in fd,")
    assert text.endswith("better: good; worse: bad; no clear change: odd; not completed: lost.")


def test_a_mean_change_of_zero_that_varies_is_not_called_none(tmp_path) -> None:
    run = reporting.make(
        tmp_path / "run",
        losses=("hinge",),
        seeds=2,
        fd=lambda _l, r, s: 4.0 + (1 if s else -1) * (r == "r1"),
        measures=lambda value, _seed: {"hq": Value(last=value, better="higher")},
    )
    text = sentence(effects(run)["regularizer", "r1"])
    assert text.startswith("shows no clear change: on average hq is as it is against none, ±13")


def test_nothing_is_said_of_measures_of_several_protocols(tmp_path) -> None:
    def measured(fd, seed):
        protocols = [{"metric": "fd", "version": 1, "n_fake": 9, "n_real": 9, "extractor": e} for e in ("a", "b")]
        both = {"fd": protocols[seed == 2], "kid": protocols[0]}
        return {name: Value(last=fd, better="lower", protocol=protocol) for name, protocol in both.items()}

    run = reporting.make(tmp_path / "some", measures=measured)
    assert {e.measure for f in factors(Results(run)) for e in f.effects} == {"kid"}
    assert page(Results(run)).count("NOT SHOWN: fd.") == 4  # beside verdicts, cells, ranks and curves
    every = reporting.make(tmp_path / "every", measures=lambda fd, seed: {"fd": measured(fd, seed)["fd"]})
    assert {f.silent for f in factors(Results(every))} == {"every measure of it has values of several protocols"}
    assert "has values of several protocols, so nothing is said of it" in page(Results(every))
