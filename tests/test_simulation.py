"""The statistics cover and err as often as they say: the study of docs/method.md, at a small size."""

import functools
import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
DRAWS = 600


@functools.cache
def script():
    spec = importlib.util.spec_from_file_location("simulate", DOCS / "simulate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def results():
    return dict(script().study(DRAWS))


INTERVALS = [
    "covered: mean, normal values",
    "covered: paired difference, correlation 0.6",
    "covered: change in %, log-normal values",
    "covered: effect of a factor within 6 blocks",
    "covered: geometric mean, log-normal values",
    "covered: IQM over 10 blocks, independent draws",
    "covered: the same, cells of a seed share draws",
]


@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_cover_as_often_as_they_say(name):
    assert min(results()[name]) >= 0.92


def test_comparisons_err_no_more_often_than_they_say():
    found = results()
    assert max(found["error: interval of a difference leaves out 0, there is none"]) <= 0.07
    few, some, enough = found["error: any of 9 tests rejects, nothing differs"]
    assert few == some == 0  # nothing is tested
    assert enough <= 0.07
    assert max(found["error: the same by sign flips alone"]) <= 0.07
    assert max(found["error: called the same at the margin"]) <= 0.07


def test_what_is_not_used_covers_less():
    found = results()
    assert found["covered: mean, by percentile bootstrap (not used)"][0] < 0.8
    assert min(found["covered: mean, log-normal values, sigma 0.5 (not used)"]) < 0.93
    assert max(found["covered: the same, cells counted as independent (not used)"]) < 0.8


def test_pairing_gains_power():
    apart, together = (results()[f"power: shift of 1 sd, correlation {rho}"] for rho in ("0", "0.6"))
    assert all(b > a for a, b in zip(apart, together, strict=True))


def test_the_page_has_the_numbers_of_the_study():
    page = (DOCS / "method.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:covered|error|power): [^|]*) \|([^\n]*)\|$", page, re.MULTILINE)
    printed = {name: [float(x) for x in cells.split("|")] for name, cells in rows}
    assert list(printed) == [name for name, _ in script().STUDY]
    for name, shares in results().items():
        assert printed[name] == pytest.approx(shares, abs=0.085)  # four standard errors of the smaller study
