"""Levels and their streaming: the same numbers in the same order, wherever the samples lie."""

from __future__ import annotations

import math

import pytest
import torch

from ganbench import Levels, Samples, stream, streaming
from ganbench.feed import Feed, Shuffled
from ganbench.streaming import AHEAD, Streamed, placed

CPU = torch.device("cpu")


def levels(n: int = 23, low: float = -1.0, high: float = 1.0) -> Levels:
    x = torch.randint(0, 256, (n, 1, 3, 2), dtype=torch.uint8, generator=stream(0, "test"))
    return Levels(x, torch.arange(n), low=low, high=high)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)])
def test_levels_come_back_from_the_values_they_become(low, high):
    every = Levels(torch.arange(256, dtype=torch.uint8)[:, None], low=low, high=high)
    assert every.x.dtype == torch.float32
    assert every.x[0].item() == low
    assert every.x[255].item() == high
    assert torch.equal(((every.x.double() - low) / (high - low) * 255).round().to(torch.uint8), every.levels)


def test_taken_samples_are_those_of_the_whole_set():
    samples, index = levels(), torch.tensor([5, 0, 5, 22])
    taken = samples.take(index)
    assert type(taken) is Samples
    assert torch.equal(taken.x, samples.x[index])
    assert taken.y.tolist() == index.tolist()
    assert len(samples) == 23
    assert samples.device == CPU


def drawn(source: Samples | Streamed, sizes: list[int]) -> list[Samples]:
    shuffled = Shuffled(source, stream(3, "data"), 4)
    return [shuffled.draw(n) for n in sizes]


@pytest.mark.parametrize("sizes", [[4] * 20, [23] * 3, [30, 1, 7, 7, 7, 50], [1] * 60])
def test_streamed_batches_are_the_resident_ones(sizes):
    for a, b in zip(drawn(levels(), sizes), drawn(Streamed(levels(), CPU), sizes), strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


def test_batches_are_fetched_before_they_are_asked_for():
    source = Streamed(levels(), CPU)
    shuffled = Shuffled(source, stream(0, "data"), 4)
    shuffled.draw(4)
    assert len(source._ahead) == AHEAD == 4
    waiting = [fetched.result().y.tolist() for _, fetched in source._ahead]
    assert [shuffled.draw(4).y.tolist() for _ in range(4)] == waiting


def test_a_restored_feed_goes_on_as_the_one_that_was_saved(monkeypatch):
    monkeypatch.setattr(streaming, "SHARE", 0.0)
    feeds = [feed(levels()) for _ in range(2)]
    assert isinstance(feeds[0].real.samples, Streamed)
    for _ in range(3):
        feeds[0].turns(())
    kept = {name: value.clone() for name, value in feeds[0].state().items()}
    expected = [feeds[0].turns(()).d[0].real for _ in range(8)]
    feeds[1].turns(())
    feeds[1].restore(kept)
    for one in expected:
        assert torch.equal(feeds[1].turns(()).d[0].real, one)


def feed(source: Samples) -> Feed:
    return Feed(
        source, (), seed=0, batch=4, d_turns=2, latent=3, shape=(1, 3, 2), dtype=torch.float64, device=CPU
    )  # fmt: skip


def test_a_feed_of_levels_gives_what_one_of_their_values_gives():
    one, other = feed(levels()), feed(Samples(levels().x, levels().y))
    for _ in range(10):
        a, b = one.turns(()), other.turns(())
        assert a.d[0].real.dtype == torch.float64
        for x, y in zip((*a.d, a.g), (*b.d, b.g), strict=True):
            assert torch.equal(x.real, y.real)
            assert torch.equal(x.labels, y.labels)
            assert torch.equal(x.latents, y.latents)


def test_what_fits_stays_and_what_does_not_is_streamed(monkeypatch):
    small = levels()
    assert placed(small, CPU, torch.float32).levels is small.levels
    monkeypatch.setattr(streaming, "SHARE", small.levels.numel() / streaming._memory(CPU) * 0.99)
    assert isinstance(placed(small, CPU, torch.float32), Streamed)
    monkeypatch.setattr(streaming, "SHARE", math.inf)
    assert isinstance(placed(small, CPU, torch.float32), Levels)
    floats = placed(Samples(small.x), CPU, torch.float64)
    assert floats.x.dtype == torch.float64


@pytest.mark.gpu
def test_a_gpu_gets_the_same_numbers():
    device = torch.device("cuda")
    for a, b, c in zip(
        drawn(levels(), [4] * 20),
        drawn(levels().to(device), [4] * 20),
        drawn(Streamed(levels(), device), [4] * 20),
        strict=True,
    ):
        assert b.x.device.type == c.x.device.type == "cuda"
        assert torch.equal(a.x, b.x.cpu())
        assert torch.equal(a.x, c.x.cpu())
