"""`ganbench evaluate`: the numbers of a trial again, real samples near the floor, and what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import making
import numpy as np
import pytest
from PIL import Image

import ganbench
from ganbench.cli import main
from ganbench.results import Results
from ganbench.seeding import stream
from ganbench_zoo.datasets import Digits


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Results:
    """A finished run on digits with one cell and one seed."""
    grid = copy.deepcopy(making.SMALL)
    grid["run"] |= {"name": "digits", "seeds": [3], "steps": 4}
    grid["grid"] |= {"dataset": "digits", "regularizer": "none", "metrics": ["sliced-wasserstein", "density-coverage"]}
    return ganbench.run(grid, results=tmp_path_factory.mktemp("results"), workers=1)


@pytest.fixture(scope="module")
def trial(run) -> Path:
    (folder,) = run.path.glob("trials/*/seed-3")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A folder with real digits, from the training split."""
    folder = tmp_path_factory.mktemp("digits")
    images = Digits().load("train", stream(0, "t")).x
    for i, image in enumerate(images[:80]):
        Image.fromarray(((image[0] + 1) * 127.5).round().byte().numpy()).save(folder / f"{i}.png")
    return folder


def facts(capsys, *arguments: str | Path) -> dict:
    assert main(["evaluate", *map(str, arguments), "--format", "json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("which", ["last", "ema"])
def test_a_trials_generator_has_the_numbers_of_its_record(run, trial, capsys, which):
    (record,) = run.trials
    found = facts(capsys, trial, "--which", which)
    assert set(found["measures"]) == set(record.measures)
    for name, value in record.measures.items():
        again = found["measures"][name]
        assert again["value"] == pytest.approx(getattr(value, which))
        assert again["floor"] == pytest.approx(value.floor)
        assert again["protocol"] == dict(value.protocol)
        assert again["better"] == value.better


def test_other_latents_give_other_numbers_of_the_same_protocol(trial, capsys):
    one, two = (facts(capsys, trial, "--seed", seed)["measures"]["sw2"] for seed in ("3", "4"))
    assert one["value"] != two["value"]
    assert one["protocol"] == two["protocol"]


def test_real_samples_are_about_as_far_as_the_floor(digits, capsys):
    found = facts(capsys, digits, "--dataset", "digits", "--metric", "sliced-wasserstein")
    value = found["measures"]["sw2"]
    assert value["value"] < 2 * value["floor"]
    assert value["protocol"]["n_fake"] == value["protocol"]["n_real"] == found["found"] == 80


def test_a_folder_and_an_npz_of_the_same_images_have_the_same_numbers(digits, tmp_path, capsys):
    images = [np.asarray(Image.open(path)) for path in sorted(digits.iterdir())]
    np.savez(tmp_path / "a.npz", samples=np.stack(images))
    metric = ("--dataset", "digits", "--metric", "sliced-wasserstein")
    one, two = (facts(capsys, source, *metric)["measures"] for source in (digits, tmp_path / "a.npz"))
    assert one == two


def test_metrics_and_extractors_are_named_as_in_a_grid(digits, capsys):
    asked = ("--metric", "{ use = 'sliced-wasserstein', prefix = 'pix-' }", "--metric", "sliced-wasserstein")
    found = facts(capsys, digits, "--dataset", "digits", "--n", "40", "--extractor", "pixels", *asked)
    assert set(found["measures"]) == {"pix-sw2", "sw2"}
    for value in found["measures"].values():
        assert value["protocol"]["extractor"] == "pixels"
        assert value["protocol"]["n_fake"] == 40


def test_more_samples_than_the_data_can_be_compared_with_are_cut_and_it_is_said(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=np.zeros((700, 8, 8), np.uint8))
    found = facts(capsys, tmp_path / "a.npz", "--dataset", "digits", "--metric", "sliced-wasserstein")
    assert found["notes"] == ["599 of 700 samples: digits holds no more to compare with"]
    assert found["measures"]["sw2"]["protocol"]["n_fake"] == 599


def test_samples_that_are_not_finite_have_no_value_and_it_is_said(tmp_path, capsys):
    points = np.zeros((50, 2))
    points[7] = np.nan
    np.savez(tmp_path / "a.npz", x=points)
    value = facts(capsys, tmp_path / "a.npz", "--dataset", "ring", "--metric", "sliced-wasserstein")["measures"]["sw2"]
    assert value["value"] is None
    assert value["notes"] == "1 of 50 fake samples are not finite"


@pytest.mark.parametrize("style", ["rich", "md", "latex", "html", "csv"])
def test_every_style_shows_value_null_model_floor_and_protocol(digits, capsys, style):
    given = ["evaluate", str(digits), "--dataset", "digits", "--metric", "sliced-wasserstein", "--format", style]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert "sw2" in printed
    assert "null model" in printed
    if style != "csv":  # which has raw numbers alone
        assert "80 fakes against 80 real (test)" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DIGITS"], "which data do these samples imitate?; --dataset NAME says"),
        (["DIGITS", "--dataset", "digit"], "did you mean 'digits'?"),
        (["DIGITS", "--dataset", "digits", "--metric", "frechet-distanc"], "did you mean 'frechet-distance'?"),
        (["DIGITS", "--dataset", "digits", "--metric", "{ use = "], "is no table"),
        (["DIGITS", "--dataset", "digits", "--metric", "inception-score"], "needs an extractor that classifies"),
        (["TRIAL", "--metric", "mixture-modes"], "needs a mixture of known modes, and digits has none"),
        (["DIGITS", "--dataset", "digits", "--extractor", "pixel"], "did you mean 'pixels'?"),
        (["DIGITS", "--dataset", "digits", "--format", "xml"], "no table style 'xml'"),
        (["DIGITS", "--dataset", "digits", "--n", "81"], "--n 81: there are 80 samples"),
        (["DIGITS", "--dataset", "digits", "--n", "0"], "'0' is not a whole number above 0"),
        (["TRIAL", "--n", "600"], "--n 600: dataset 'digits' holds 599 samples"),
        (["TRIAL", "--seed", "x"], "'x' is not a seed"),
        (["TRIAL", "--dataset", "ring"], "the generator makes samples of shape [1, 8, 8], and those of ring have [2]"),
        (["DIGITS", "--dataset", "ring"], "a folder holds images, and samples of ring have shape [2]"),
        (["nowhere", "--dataset", "digits"], "nowhere: there is no such file or folder"),
        (
            ["DIGITS", "--dataset", "digits", "--metric", "sliced-wasserstein", "--metric", "sliced-wasserstein"],
            "two metrics have a measure 'sw2'",
        ),
    ],
)
def test_what_cannot_be_done_says_why(digits, trial, capsys, arguments, message):
    places = {"DIGITS": str(digits), "TRIAL": str(trial)}
    assert main(["evaluate", *(places.get(word, word) for word in arguments)]) == 2
    assert message in capsys.readouterr().err
