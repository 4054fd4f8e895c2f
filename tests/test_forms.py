"""A state as a list of tensors, one by one or packed; and the inputs of a block of steps as lists of tensors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from ganbench import checkpoint
from ganbench.errors import ContractError
from ganbench.forms import Form, Listed, Packed
from ganbench.grid import Cell, Grid, Trial
from ganbench.inputs import _sent, block, room_for
from ganbench.lift import stack
from ganbench.registry import Registry
from ganbench.state import State
from ganbench.training import Trainer, Training

SEEDS, BATCH = 3, 7


@pytest.fixture
def cell(small: dict[str, Any]) -> Cell:
    small["run"]["batch"] = BATCH
    small["grid"] |= {
        "dataset": "digits",
        "generator": {"use": "dcgan", "width": 4, "latent": 3},
        "discriminator": {"use": "dcgan", "width": 4},
        "regularizer": [["spectral-norm", "gradient-penalty"]],
    }
    (combination,) = Grid.load(small).combinations(Registry.load())
    return combination.cell


def trainers(cell: Cell, folder: Path) -> list[Trainer]:
    return [Trainer(Trial(cell, seed), folder, Training(), lambda *_: None) for seed in range(SEEDS)]


@pytest.fixture(params=["one seed", "stacked", "channels last"])
def state(cell: Cell, tmp_path: Path, request: pytest.FixtureRequest) -> State:
    cell = dataclasses.replace(cell, channels_last=request.param == "channels last")
    states = [trainer.state for trainer in trainers(cell, tmp_path)]
    return stack(states) if request.param == "stacked" else states[0]


@pytest.mark.parametrize("form", [Listed, Packed])
def test_a_state_comes_back_from_its_tensors_with_its_numbers_and_strides(state: State, form: type[Listed]) -> None:
    made = form(state)
    before, after = checkpoint.flatten(state), checkpoint.flatten(made.opened(made.closed(state)))
    assert list(before) == list(after)
    for name, value in before.items():
        assert torch.equal(after[name], value)
        assert after[name].dtype == value.dtype
        # where an axis has one element, its stride says nothing
        strides = [[s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1] for t in (after[name], value)]
        assert strides[0] == strides[1], name


def test_a_packed_state_is_one_vector_for_each_type(state: State) -> None:
    packed = Packed(state).closed(state)
    leaves = checkpoint.flatten(state).values()
    assert all(vector.dim() == 1 for vector in packed)
    assert {v.dtype: v.numel() for v in packed} == {
        dtype: sum(t.numel() for t in leaves if t.dtype == dtype) for dtype in {t.dtype for t in leaves}
    }


@pytest.mark.parametrize("form", [Listed, Packed])
def test_dictionaries_may_be_in_another_order_and_not_have_other_names(state: State, form: type[Listed]) -> None:
    made = form(state)
    turned = state._replace(ema=dict(reversed(state.ema.items())))
    assert all(torch.equal(a, b) for a, b in zip(made.closed(turned), made.closed(state), strict=True))
    with pytest.raises(ContractError, match=r"changed which tensors the state has: .*more"):
        made.closed(state._replace(ema=state.ema | {"more": torch.zeros(1)}))


@pytest.mark.parametrize("latent", [3, 16])
def test_the_inputs_of_a_block_are_those_of_each_seed_and_step(cell: Cell, tmp_path: Path, latent: int) -> None:
    cell = dataclasses.replace(cell, generator=dataclasses.replace(cell.generator, latent=latent))
    together, alone = (([t.feed for t in trainers(cell, tmp_path)]) for _ in range(2))
    strides = set()
    for n in (3, 1, together[0].longest):
        turns, steps = block(together, (True, True), n, mapped=True)
        assert len(steps) == n
        for inputs in steps:
            strides.add(tuple(t.stride() for t in inputs))
            expected = [Form(turns).closed(feed.turns((True, True))) for feed in alone]
            assert all(
                torch.equal(t, torch.stack(one)) for t, one in zip(inputs, zip(*expected, strict=True), strict=True)
            )
    assert len(strides) == 1


@pytest.mark.parametrize("latent", [3, 16])
def test_a_gpu_is_fed_the_same_in_one_piece_for_each_kind(cell: Cell, tmp_path: Path, latent: int) -> None:
    cell = dataclasses.replace(cell, generator=dataclasses.replace(cell.generator, latent=latent))
    together, alone = (([t.feed for t in trainers(cell, tmp_path)]) for _ in range(2))
    strides = set()
    for n in (3, 1, 5):
        turns, steps = _sent(together, (True, True), n)
        assert len(steps) == n
        for inputs in steps:
            assert all(t.is_contiguous() for t in inputs)
            strides.add(tuple(t.stride() for t in inputs))
            expected = [Form(turns).closed(feed.turns((True, True))) for feed in alone]
            assert all(
                torch.equal(t, torch.stack(one)) for t, one in zip(inputs, zip(*expected, strict=True), strict=True)
            )
    assert len(strides) == 1


def test_nothing_that_a_packed_state_is_made_of_is_what_it_is_packed_from(state: State) -> None:
    leaves = {t.untyped_storage().data_ptr() for t in checkpoint.flatten(state).values()}
    assert leaves.isdisjoint(t.untyped_storage().data_ptr() for t in Packed(state).closed(state))


def test_latents_are_drawn_where_they_stay(cell: Cell, tmp_path: Path) -> None:
    feeds = [t.feed for t in trainers(cell, tmp_path)]
    room = room_for(feeds)
    assert room is not None
    _, steps = block(feeds, (True, True), 2, mapped=True, room=room)
    inside = [t for t in steps[0] if t.untyped_storage().data_ptr() == room.untyped_storage().data_ptr()]
    assert [t.shape for t in inside] == 2 * [(SEEDS, BATCH, 3)]


def test_the_inputs_of_one_seed_have_no_seed_axis(cell: Cell, tmp_path: Path) -> None:
    feeds = [t.feed for t in trainers(cell, tmp_path)[:1]]
    turns, steps = block(feeds, (True, True), 2, mapped=False)
    opened = [Form(turns).opened(inputs) for inputs in steps]
    assert opened[0].g.latents.shape == (BATCH, 3)
    assert not torch.equal(opened[0].g.latents, opened[1].g.latents)
    assert torch.equal(opened[1].g.real, opened[1].d[0].real)
