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
