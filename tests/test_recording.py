"""Recording: the graph is the function, with whatever numbers, or there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from ganbench import foreach, is_plain
from ganbench.recording import RecordingError, recorded

Function = Callable[..., Sequence[Tensor]]


def inputs(seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=rng, dtype=torch.float64) for s in [(3, 4, 5), (3, 5, 6), (3, 6)]]


def agrees(function: Function) -> None:
    """The graph of ``function`` does what it does on further inputs, twice, and recording writes to nothing."""
    given, kept = inputs(), inputs()
    graph = recorded(function, given)
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
    for seed in (1, 2, 1):
        expected = function(*inputs(seed))
        for found, wanted in zip(graph(*inputs(seed)), expected, strict=True):
            assert found.stride() == wanted.stride()
            assert torch.equal(found, wanted)


def score(w: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return torch.tanh(x @ w + b).square().mean()


def test_gradients_of_gradients_of_mapped_functions_are_recorded() -> None:
    def penalty(w: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return torch.func.grad(score, argnums=2)(w, b, x).square().sum()

    def step(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        with torch.no_grad():
            both = torch.vmap(torch.func.grad(penalty, argnums=(0, 1)))(w, b, x)
        return [w - 0.1 * both[0], b - 0.1 * both[1], x]

    agrees(step)


def test_lists_and_what_is_written_in_place_are_recorded() -> None:
    foreach.batch()

    def one(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        moved = torch._foreach_mul([w, b], 0.5)
        torch._foreach_add_(moved, [w, b])
        first, second = torch.split(x, 2)
        second = second.clone()
        second.add_(moved[1][:5]).relu_()
        return [*moved, first + second]

    agrees(torch.vmap(one))


def test_constants_are_made_anew_where_they_are_written_to() -> None:
    held = torch.arange(6.0, dtype=torch.float64)

    def step(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        own = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
        own.add_(b[0])
        return [own * held, x * math.pi, w]

    agrees(step)
    assert held.tolist() == [0, 1, 2, 3, 4, 5]


def test_whole_numbers_and_truths_are_inputs_too() -> None:
    def step(number: Tensor, labels: Tensor, mask: Tensor, x: Tensor) -> list[Tensor]:
        return [torch.where(mask, x[labels], 0) * number, number + 1]

    graph = recorded(step, [torch.tensor(3), torch.tensor([0, 2, 1]), torch.tensor([True, False, True]), torch.ones(3)])
    other = [torch.tensor(5), torch.tensor([1, 1, 0]), torch.tensor([False, True, True]), torch.arange(3.0)]
    assert [t.tolist() for t in graph(*other)] == [[0.0, 5.0, 0.0], 6]


@pytest.mark.parametrize(
    "step",
    [
        lambda x, w, b: [x * w.sum().item(), b],
        lambda x, w, b: [x if w.sum() > 0 else -x, b],
        lambda x, w, b: [x[x > 0], w, b],
        lambda x, w, b: [x * torch.tensor(b.tolist()).sum(), w],
        lambda x, w, b: [x + torch.from_numpy(w.numpy().sum(1, keepdims=True))[:, :, :5], b],
    ],
    ids=["item", "branch", "shape", "list", "numpy"],
)
def test_what_depends_on_numbers_is_refused(step: Function) -> None:
    with pytest.raises(RecordingError):
        recorded(step, inputs())


def test_an_error_of_the_function_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"):
        recorded(lambda x, w, b: [x + w, b], inputs())


def test_what_is_recorded_is_not_plain() -> None:
    seen: list[bool] = []

    def step(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
        seen.append(is_plain(x))
        return [x + 1, w, b]

    recorded(step, inputs())
    step(*inputs())
    assert seen == [False, False, True]
