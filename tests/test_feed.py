"""Inputs of steps: what is drawn ahead depends neither on where training is cut nor on how much is asked for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganbench.feed import AHEAD, Feed, Fresh, Latents, split
from ganbench.samples import Samples
from ganbench.seeding import stream
from ganbench_zoo.datasets import Ring

SIZE = 5
TOTAL = 40
cuts = st.lists(st.integers(1, 20), max_size=6)


class Labelled:
    """Labels and points that follow from them, in two draws: sampling twice is not sampling as many at once."""

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        y = torch.randint(10, (n,), generator=rng)
        return Samples(y[:, None] + torch.randn(n, 2, generator=rng), y)


def pieces(lengths: list[int]) -> list[int]:
    """``lengths`` as far as they fit into TOTAL, and what is left."""
    found: list[int] = []
    for length in lengths:
        if sum(found) + length < TOTAL:
            found.append(length)
    return [*found, TOTAL - sum(found)]


def fresh(ahead: int = 4) -> Fresh:
    return Fresh(Labelled(), stream(3, "data"), SIZE, ahead)


@given(lengths=cuts, ahead=st.integers(1, 16), resumed=st.sets(st.integers(0, 6)))
def test_endless_data_are_blocks_of_the_sampler_however_they_are_cut_and_resumed(lengths, ahead, resumed):
    rng = stream(3, "data")
    blocks = [Labelled().sample(ahead * SIZE, rng) for _ in range(math.ceil(TOTAL / ahead))]
    source, found = fresh(ahead), []
    for i, length in enumerate(pieces(lengths)):
        if i in resumed:
            kept, source = source.state(), fresh(ahead)
            source.restore(kept)
        found.append(source.batches(length))
    assert all(part.x.shape == (length, SIZE, 2) for part, length in zip(found, pieces(lengths), strict=True))
    x, y = (torch.cat([getattr(part, name).flatten(0, 1) for part in found]) for name in ("x", "y"))
    assert torch.equal(x, torch.cat([block.x for block in blocks])[: len(x)])
    assert torch.equal(y, torch.cat([block.y for block in blocks])[: len(y)])
    assert len(y) == TOTAL * SIZE


@given(lengths=cuts, resumed=st.sets(st.integers(0, 6)), latent=st.sampled_from([1, 3, 16]))
def test_latents_are_the_same_however_they_are_cut_and_resumed(lengths, resumed, latent):
    def latents() -> Latents:
        return Latents(stream(3, "latent"), SIZE, latent, torch.float64)

    expected = torch.cat([latents_of.batches(1) for latents_of in [latents()] for _ in range(TOTAL)])
    source, found = latents(), []
    for i, length in enumerate(pieces(lengths)):
        if i in resumed:
            kept, source = source.state(), latents()
            source.restore(kept)
        room = torch.empty(length, SIZE, latent, dtype=torch.float64)
        found.append(source.batches(length, room if i % 2 else None))
    assert torch.equal(torch.cat(found), expected)
    assert expected.unique().numel() == expected.numel()


def feed(d_turns: int = 1, latent: int = 3, batch: int = SIZE) -> Feed:
    return Feed(
        Ring().load("train", stream(0, "dataset-train")),
        (),
        seed=2,
        batch=batch,
        d_turns=d_turns,
        latent=latent,
        shape=(2,),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def test_cells_that_differ_in_turns_and_latents_have_the_same_data_in_the_same_order():
    one, other = feed(), feed(d_turns=3, latent=32)
    plain = torch.cat([turns.d[0].real for turns in split(one.block((), 30), 30)])
    critic = torch.cat([turn.real for _ in range(10) for turn in other.turns(()).d])
    assert torch.equal(plain, critic)


def test_latents_do_not_depend_on_how_many_turns_a_step_has():
    one, other = feed(), feed(d_turns=4)
    plain = [turn.latents for turns in split(one.block((), 20), 20) for turn in (*turns.d, turns.g)]
    critic = [turn.latents for _ in range(8) for turns in [other.turns(())] for turn in (*turns.d, turns.g)]
    assert torch.equal(torch.cat(plain), torch.cat(critic))


@pytest.mark.parametrize("batch", [16, 2**17, 2**20])
def test_a_block_of_data_is_no_larger_than_what_caches_hold(batch):
    real = feed(batch=batch).real
    assert isinstance(real, Fresh)
    assert real.ahead == max(1, min(AHEAD, 2**22 // (8 * batch)))


def test_a_block_in_hand_outlives_a_change_of_mind():
    whole, tried = feed(), feed()
    tried.turns(())
    kept = tried.state()
    for _ in range(20):
        tried.turns(())
    tried.restore(kept)
    whole.turns(())
    for _ in range(20):
        assert torch.equal(whole.turns(()).d[0].real, tried.turns(()).d[0].real)
    assert all(torch.equal(a, tried.state()[name]) for name, a in whole.state().items())
