"""A step as one CUDA graph: all that it launches is launched by one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ganbench.forms import Flat
from ganbench.memory import lacked

WARM_UP = 3
"""Calls before a capture: what allocates, loads or chooses at first must have done so."""
MOST_OFF, FLOOR = 0.05, 1e-5
"""How far a captured step may be off, in parts of what it moves and of what there is.

Sums on a GPU may be taken in any order, of which optimizers make whole moves where a gradient is nearly zero.
"""


class CaptureError(Exception):
    """A step cannot be captured, or does something else then."""


class Captured:
    """``call`` as one CUDA graph, which moves a state of its own on, in place.

    Before it is trusted, one step of it is held against the plain call.

    Args:
        call: the state after a step and its logs, from the state and the inputs; it writes to none of them.
        state: becomes the graph's own: steps begin by copying into it.
        inputs: of a step, likewise.

    Raises:
        CaptureError: the step waits for the device, say, which a graph cannot.
    """

    def __init__(self, call: Callable[..., Sequence[Tensor]], state: Flat, inputs: Flat) -> None:
        self.state, self.inputs = state, inputs
        self.call = call  # the graph reads the constants that it holds
        self.graph = torch.cuda.CUDAGraph()
        n, stream = len(state), torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch leaves it untyped
        side.wait_stream(stream)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                expected = [t.clone() for t in call(*state, *inputs)]
        stream.wait_stream(side)
        before = [t.clone() for t in state]
        with _capturing(self.graph, stream):
            found = own(call(*state, *inputs), [*state, *inputs])
            self.logs = found[n:]
            for held, after in zip(state, found[:n], strict=True):
                held.copy_(after)
        self.graph.replay()
        if not (close(state, expected[:n], before) and close(self.logs, expected[n:])):
            raise CaptureError("a step of the CUDA graph is not a step")

    def advance(self, state: Flat, steps: Sequence[Flat]) -> tuple[Flat, Flat]:
        """The state after steps with these inputs, and what the last of them logged."""
        copy(self.state, state)
        for inputs in steps:
            copy(self.inputs, inputs)
            self.graph.replay()
        return [t.clone() for t in self.state], [t.clone() for t in self.logs]


def own(found: Sequence[Tensor], given: Sequence[Tensor]) -> Flat:
    """``found``, with copies of what lies in the memory of ``given``, which is about to be overwritten."""
    taken = {t.untyped_storage().data_ptr() for t in given}
    return [t.clone() if t.untyped_storage().data_ptr() in taken else t for t in found]


def copy(held: Flat, given: Flat) -> None:
    """Overwrite each of ``held`` with its like of ``given``."""
    if held:
        torch._foreach_copy_(held, given)  # nothing public copies many tensors by one call


def close(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> bool:
    """Whether ``found`` is off by no more than ``MOST_OFF`` of the way from ``before`` (from zero without one)."""
    begun = [torch.zeros_like(t) for t in expected] if before is None else before
    for a, b, start in zip(found, expected, begun, strict=True):
        if not b.is_floating_point():
            if not torch.equal(a, b):
                return False
            continue
        known = torch.isfinite(b)
        if not torch.equal(torch.isfinite(a), known):
            return False
        wanted, size = b[known].double(), (b - start)[known].double().norm()
        off = (a[known].double() - wanted).norm()
        if off > MOST_OFF * size + FLOOR * (1.0 + wanted.norm()):
            return False
    return True


@contextlib.contextmanager
def _capturing(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> Iterator[None]:
    """Capture what is launched into ``graph``; ``stream`` is current again afterwards, whatever happens."""
    try:
        # other threads may go on with what they do, such as loading data
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            yield
    except Exception as error:
        if lacked(error):
            raise
        raise CaptureError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    finally:
        torch.cuda.set_stream(stream)
