"""Trained generators read back: the very samples that were measured, and folders that hold none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ganbench import players
from ganbench.cohort import run_trial
from ganbench.errors import ConfigError, ResultsError
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.seeding import stream
from ganbench.trained import Trained
from ganbench.training import SNAPSHOTS, Trainer, Training

REGISTRY = Registry.load()
CPU = torch.device("cpu")


@pytest.fixture
def cell(small) -> Cell:
    (combination,) = Grid.load(small | {"grid": small["grid"] | {"regularizer": "none"}}).combinations(REGISTRY)
    return combination.cell


def train(cell: Cell, folder: Path, **settings) -> Trainer:
    """One trained trial, and its trainer as it was at the end."""
    folder.mkdir()
    training = Training(evaluations=2, **settings)
    assert run_trial(Trial(cell, 0), folder, training, lambda kind, content: None).status == "done"
    trainer = Trainer(Trial(cell, 0), folder, training, lambda kind, content: None)
    trainer.prepare()
    return trainer


def test_it_makes_the_samples_that_were_measured(cell, tmp_path):
    trainer = train(cell, tmp_path / "t")
    trained = Trained.load(tmp_path / "t", REGISTRY)
    assert (trained.seed, trained.step, trained.cell.id) == (0, cell.steps, cell.id)
    assert trained.notes == ()
    latents, labels = players.evaluated(cell, 0, trainer.bench.n, CPU)
    for which in players.WHICH:
        assert torch.equal(trained.sample(latents, labels, which), trainer.generated(which).x)
    assert not torch.equal(trained.sample(latents, which="ema"), trained.sample(latents, which="last"))


def test_draws_repeat_and_have_the_shape_of_the_data(cell, tmp_path):
    train(cell, tmp_path / "t")
    trained = Trained.load(tmp_path / "t", REGISTRY)
    one, two = (trained.draw(5, stream(3, "draw")) for _ in range(2))
    assert one.x.shape == (5, *trained.spec.shape)
    assert torch.equal(one.x, two.x)


def test_a_generator_that_training_reparameterized_is_sampled_that_way(small, tmp_path):
    axes = small["grid"] | {"regularizer": {"use": "spectral-norm", "on": "both"}}
    (combination,) = Grid.load(small | {"grid": axes}).combinations(REGISTRY)
    trainer = train(combination.cell, tmp_path / "t")
    trained = Trained.load(tmp_path / "t", REGISTRY)
    latents, labels = players.evaluated(combination.cell, 0, 64, CPU)
    assert torch.equal(trained.sample(latents, labels), trainer.generated("ema").x)


def test_snapshots_are_pictures_of_each_evaluation(cell, tmp_path):
    train(cell, tmp_path / "t", snapshots=True)
    files = sorted(p.name for p in (tmp_path / "t" / SNAPSHOTS).iterdir())
    assert files == ["step-000000010.png", "step-000000020.png"]
    last, final = (Image.open(tmp_path / "t" / name) for name in (f"{SNAPSHOTS}/{files[1]}", "samples.png"))
    assert last.tobytes() == final.tobytes()
    train(cell, tmp_path / "u")
    assert not (tmp_path / "u" / SNAPSHOTS).exists()


def test_folders_that_hold_no_generator_say_what_they_lack(cell, tmp_path):
    with pytest.raises(ResultsError, match=r"not the folder of a trial: it has no spec\.json; name a folder such as"):
        Trained.load(tmp_path, REGISTRY)
    folder = tmp_path / "t"
    train(cell, folder)
    spec = json.loads((folder / "spec.json").read_text())

    def changed(**values) -> None:
        (folder / "spec.json").write_text(json.dumps(spec | values))

    changed(spec=spec["spec"] | {"loss": {"use": "hinges"}})
    with pytest.raises(ConfigError, match=r"did you mean 'hinge'\?; --plugin FILE"):
        Trained.load(folder, REGISTRY)
    changed(spec={})
    with pytest.raises(ConfigError, match="has no dataset"):
        Trained.load(folder, REGISTRY)
    changed(spec=spec["spec"] | {"generator": {"use": "mlp", "width": 9, "latent": 4}})
    with pytest.raises(ResultsError, match="does not fit the networks"):
        Trained.load(folder, REGISTRY)
    changed(code=spec["code"] | {"generator:mlp": "0"})
    assert Trained.load(folder, REGISTRY).notes == ("code has changed since this was trained: generator:mlp",)
    (folder / "checkpoint.safetensors").unlink()
    with pytest.raises(ResultsError, match="has left no checkpoint"):
        Trained.load(folder, REGISTRY)
