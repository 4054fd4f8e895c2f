"""A whole step as one graph, compiled or repeated: both gradients, both optimizers and the average, without a break."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ganbench import compiled as compiled_before
from ganbench.forms import Flat, Form, Listed
from ganbench.lift import Step
from ganbench.memory import lacked
from ganbench.passes import clean
from ganbench.state import Turns
from ganbench.torchscript import scripted

OPTIONS: dict[str, Any] = {
    # one C++ function for the whole step, which waits for Python once and not for each kernel
    "cpp_wrapper": True,
    # the function that calls them in a file of its own, which need not be optimized: a fifth of the compile time
    "cpp_wrapper_build_separate": True,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "size_asserts": False,
    # the compiler's pool of processes must not outlive this one
    "compile_threads": 1,
}


class Graph:
    """``step`` traced once, for tensors like those it first sees, and compiled, or cleaned and repeated as it is.

    Tracing runs the step on tensors without numbers, so what is not a tensor (coefficients, the set of active
    regularizers) is a constant of the graph, and a step that branches on a number of a tensor is refused.
    """

    def __init__(self, step: Step, state: Listed, turns: Form[Turns], *, compiled: bool = True) -> None:
        self.step, self.state, self.turns, self.compiled = step, state, turns, compiled
        self.logs: list[str] = []
        """The names of the logs, which come after the state in what a call returns."""
        self._call: Callable[[Flat], Flat] | None = None

    def __call__(self, inputs: Flat) -> Flat:
        """The tensors of the state after the step, and its logs, from those of the state and of the turns."""
        if self._call is None:
            self._call = self._traced(inputs)
        return self._call(inputs)

    def _traced(self, inputs: Flat) -> Callable[[Flat], Flat]:
        from torch.fx.experimental.proxy_tensor import make_fx

        n = len(inputs) - self.turns.count

        def flat(*tensors: Tensor) -> Flat:
            after = self.step(self.state.opened(tensors[:n]), self.turns.opened(tensors[n:]))
            self.logs = list(after.logs)
            return self.state.closed(after) + list(after.logs.values())

        # what a network holds beside parameters and buffers is a constant, not without numbers
        traced = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
        compiled = compile_traced(traced, inputs) if self.compiled else repeat_traced(traced, inputs)
        if inputs[0].device.type == "cuda":
            return Replayed(compiled, inputs)
        return lambda tensors: list(compiled(*tensors))


def compile_traced(traced: torch.fx.GraphModule, inputs: Flat) -> Callable[..., Sequence[Tensor]]:
    """Machine code for ``traced``, from the compiler's cache on disk where it was compiled before."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled_before.folder()))
    from torch._inductor.compile_fx import compile_fx

    with warnings.catch_warnings(action="ignore"):  # the compiler warns of its own code
        compiled: Any = compile_fx(traced, inputs, config_patches=OPTIONS)
    return cast("Callable[..., Sequence[Tensor]]", compiled)


def repeat_traced(traced: torch.fx.GraphModule, inputs: Flat) -> Callable[..., Sequence[Tensor]]:
    """``traced``, cleaned, for torch's own interpreter; for Python's if that does not take it."""
    clean(traced)
    try:
        repeated = scripted(traced)
        repeated(*inputs)
    except Exception as error:  # a plugin's operation may be anything; Python calls what there is
        if lacked(error):
            raise
        return cast("Callable[..., Sequence[Tensor]]", traced)
    return repeated


def prepare_compiler(device: str = "cpu") -> None:
    """Let the compiler of ``device`` make what it makes once for a machine or process, before it is timed."""
    from torch.fx.experimental.proxy_tensor import make_fx

    inputs = [torch.zeros(1, device=device)]
    compile_traced(make_fx(lambda x: [x + 1], tracing_mode="fake")(*inputs), inputs)(*inputs)


class Replayed:
    """A compiled step as one CUDA graph: what one step launches is launched by one call.

    The state lies in the graph's own memory and is moved on there; what :meth:`__call__` returns is overwritten by
    the next call. Before it is trusted, it is held against the plain call on the same inputs.
    """

    def __init__(self, compiled: Callable[..., Sequence[Tensor]], inputs: Flat) -> None:
        self.compiled = compiled
        self.held = [t.clone() for t in inputs]
        self.graph: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
        expected = [t.clone() for t in compiled(*self.held)]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch leaves it untyped
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what allocates on a first call must have done so
            for _ in range(2):
                compiled(*self.held)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(self.graph):
            # a copy each: an output may be an input, and inputs are overwritten
            self.outputs = [t.clone() for t in compiled(*self.held)]
        found = self(inputs)
        same = all(
            torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True) for a, b in zip(found, expected, strict=True)
        )
        if not same:
            self.graph = None

    def __call__(self, inputs: Flat) -> Flat:
        if self.graph is None:
            return list(self.compiled(*inputs))
        for held, given in zip(self.held, inputs, strict=True):
            if held.data_ptr() != given.data_ptr():
                held.copy_(given)
        self.graph.replay()
        return list(self.outputs)
