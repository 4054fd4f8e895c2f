"""Streams depend on the seed and the name, and on nothing else."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ganbench.seeding import global_stream, stream, stream_seed

NAMES = ["data", "latent", "init-g", "init-d", "eval", *(f"regularizer-{i}" for i in range(20))]


@given(st.integers(0, 2**31), st.text(max_size=20))
def test_a_stream_starts_the_same_every_time(seed, name):
    assert torch.equal(torch.rand(3, generator=stream(seed, name)), torch.rand(3, generator=stream(seed, name)))


def test_streams_of_a_study_do_not_coincide_in_the_bits_that_the_generator_takes():
    low = {stream_seed(seed, name) % 2**32 for seed in range(50) for name in NAMES}
    assert len(low) == 50 * len(NAMES)


def test_streams_are_not_shifted_copies_of_each_other():
    draws = torch.stack([torch.randn(2000, generator=stream(s, n)) for s in range(4) for n in NAMES])
    correlation = torch.corrcoef(draws)
    off = correlation[~torch.eye(len(draws), dtype=torch.bool)]
    assert off.abs().max() < 0.12  # about 5.4 standard deviations of 1 / sqrt(2000) over 4950 pairs


def test_the_global_generator_is_lent_and_given_back():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with global_stream(0, "init-g"):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with global_stream(0, "init-g"):
        assert torch.equal(torch.rand(3), first)
