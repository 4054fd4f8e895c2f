"""A trial that goes on from a checkpoint ends bit for bit where one that was never interrupted does, in each engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import ENGINES, cell_of, check, registry, trainers

from ganbench import checkpoint, graph
from ganbench.registry import Registry


@pytest.fixture(scope="module", name="registry")
def registry_of_the_module() -> Registry:
    return registry()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_resumed_trial_ends_where_a_whole_one_does(
    small: dict[str, Any], registry: Registry, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled steps as they are traced: what a compiler makes of them is below."""
    monkeypatch.setattr(graph, "compile_traced", lambda traced, inputs: traced)
    check(cell_of(small, registry, engine), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES[2:])
def test_so_does_a_compiled_one(small: dict[str, Any], registry: Registry, tmp_path: Path, engine: str) -> None:
    check(cell_of(small, registry, engine), tmp_path)


def test_a_checkpoint_of_another_schema_is_not_gone_on_from(
    small: dict[str, Any], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trial, *_) = trainers(cell_of(small, registry, "serial"), tmp_path)
    trial.folder.mkdir(parents=True)
    checkpoint.save(trial.folder, trial.state, trial.feed.state(), {})
    assert checkpoint.load(trial.folder, trial.state, trial.device) is not None
    monkeypatch.setattr(checkpoint, "SCHEMA", "of tomorrow")
    assert checkpoint.load(trial.folder, trial.state, trial.device) is None


def test_a_block_of_steps_is_fed_what_single_steps_are(
    small: dict[str, Any], registry: Registry, tmp_path: Path
) -> None:
    """Batches of 8 x 4 latents are drawn at once, of 7 x 3 in blocks of always the same 16."""
    for batch, latent in ((8, 4), (7, 3)):
        small["run"]["batch"] = batch
        small["grid"]["generator"] = {"use": "mlp", "width": 8, "latent": latent}
        cell = cell_of(small, registry, "serial")
        at_once, singly = (trainers(cell, tmp_path)[0].feed for _ in range(2))
        active = (True, False, True, True)
        block = at_once.block(active, 5)
        for k in range(5):
            turns = singly.turns(active)
            for one, other in zip((*block.d, block.g), (*turns.d, turns.g), strict=True):
                assert torch.equal(one.real[k], other.real)
                assert torch.equal(one.latents[k], other.latents)
                for drawn, expected in zip(one.noise, other.noise, strict=True):
                    assert drawn.keys() == expected.keys()
                    assert all(torch.equal(drawn[name][k], value) for name, value in expected.items())
        left, right = at_once.state(), singly.state()
        assert all(torch.equal(left[name], value) for name, value in right.items())
