"""The Python interface."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import ganbench
from ganbench.errors import ConfigError


def test_available_lists_every_role():
    assert "r1" in ganbench.available("regularizer")
    assert "hinge" in ganbench.available("loss")
    with pytest.raises(ConfigError, match="did you mean 'loss'"):
        ganbench.available("los")


def test_create_makes_a_component_with_its_fields():
    assert ganbench.create("regularizer", "r1", gamma=1).to_table()["gamma"] == 1.0
    with pytest.raises(ConfigError, match="did you mean 'gamma'"):
        ganbench.create("regularizer", "r1", gama=1.0)


def test_measure_takes_arrays_and_tensors_alike():
    rng = np.random.default_rng(0)
    fake, real = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + 1
    one = ganbench.measure("frechet-distance", fake=fake, real=real)
    other = ganbench.measure("frechet-distance", fake=torch.tensor(fake), real=torch.tensor(real))
    assert one == other
    assert one["fd"] == pytest.approx(3.0, rel=0.3)
    with pytest.raises(ConfigError, match="different kinds"):
        ganbench.measure("frechet-distance", fake=fake, real=real[:, :2])


def test_fields_may_be_numbers_and_arrays_of_numpy_and_torch():
    assert ganbench.create("regularizer", "r1", gamma=np.float32(2)).to_table()["gamma"] == 2.0
    centres = [[0.0, 1.0], [2.0, 0.0]]
    made = ganbench.create("metric", "mixture-modes", centres=torch.tensor(centres), std=np.float64(0.5))
    assert made.to_table()["centres"] == centres


def test_measure_takes_every_layout_and_type_of_an_array():
    x = np.random.default_rng(0).normal(size=(40, 3))
    expected = ganbench.measure("kid", fake=x[::-1], real=x[:, ::-1])
    frozen = x.copy()
    frozen.setflags(write=False)
    for real in (x.tolist(), np.asfortranarray(x), frozen, x.astype(">f8"), torch.tensor(x, requires_grad=True)):
        found = ganbench.measure("kid", fake=real, real=np.asarray(x)[:, ::-1])
        assert found["kid"] == pytest.approx(expected["kid"], rel=1e-12)
    for real, why in ((3.0, "a single number"), (x + 1j, "complex numbers"), ([[1.0], [1.0, 2.0]], "no array")):
        with pytest.raises(ConfigError, match=why):
            ganbench.measure("kid", fake=x, real=real)


def test_whole_numbers_are_logits_like_others():
    logits = 1000 * np.eye(5, dtype=np.int64)[np.arange(50) % 5]
    assert ganbench.measure("inception-score", fake=logits, real=logits, splits=1)["is"] == pytest.approx(5.0)
    with pytest.raises(ConfigError, match="pixels has no logits"):
        ganbench.measure(
            "class-histogram", fake=torch.zeros(9, 1, 2, 2), real=torch.zeros(9, 1, 2, 2), extractor="pixels"
        )


def test_a_grid_runs_from_a_dictionary_and_loads_again(small, tmp_path):
    results = ganbench.run(small, results=tmp_path, device="cpu")
    assert len(results.records) == 4
    assert len(ganbench.load(tmp_path / "small").records) == 4


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import ganbench\n"
        "print('once')\n"
        "grid = {'run': {'name': 'a', 'seeds': 1, 'steps': 2, 'samples': 16, 'evaluations': 1},\n"
        "        'grid': {'dataset': 'dirac', 'generator': 'dirac', 'discriminator': 'dirac', 'loss': 'hinge',\n"
        "                 'metrics': ['sliced-wasserstein']}}\n"
        "print(len(ganbench.run(grid, results='out', device='cpu').records))\n"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "1"]
