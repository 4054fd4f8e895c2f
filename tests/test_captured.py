"""Around CUDA graphs: what is overwritten while it is still read, and when two steps are one step."""

from __future__ import annotations

import torch

from ganbench.captured import close, copy, own


def test_what_lies_in_memory_that_is_overwritten_is_copied_first() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    copy([a, b], own([b * 10, a.view(1, 2)[0]], [a, b]))  # the second becomes the first, which has changed by then
    assert a.tolist() == [30.0, 40.0]
    assert b.tolist() == [1.0, 2.0]
    fresh = a + 1
    assert own([fresh], [a, b])[0] is fresh


def test_steps_are_compared_by_what_they_move() -> None:
    before = [torch.full((1000,), 0.5)]
    moved = [before[0] + 1e-3 * torch.randn(1000, generator=torch.Generator().manual_seed(0))]
    nearly = [moved[0].clone()]
    nearly[0][3] += 2e-3 * 0.1  # one weight, of which the gradient was nearly zero
    assert close(nearly, moved, before)
    assert not close(before, moved, before)  # nothing happened
    assert not close([before[0] - (moved[0] - before[0])], moved, before)
    assert not close([moved[0].index_fill(0, torch.tensor([7]), torch.nan)], moved, before)


def test_numbers_that_are_not_finite_and_counts_are_compared_as_they_are() -> None:
    nan, one = torch.tensor([torch.nan, 1.0]), torch.tensor([1.0, torch.nan])
    assert close([nan], [nan.clone()])
    assert not close([nan], [one])
    assert close([torch.tensor(3)], [torch.tensor(3)])
    assert not close([torch.tensor(3)], [torch.tensor(4)])
