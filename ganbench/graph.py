"""A whole step as one graph, compiled or repeated: both gradients, both optimizers and the average, without a break."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from ganbench import compiled as compiled_before
from ganbench.binaries import drop_named, drop_unfinished
from ganbench.captured import Captured, CaptureError
from ganbench.forms import Flat, Form, Listed
from ganbench.lift import Step
from ganbench.memory import lacked
from ganbench.passes import clean, fold
from ganbench.recording import RecordingError, recorded
from ganbench.state import Turns
from ganbench.torchscript import scripted

OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {
        # one C++ function for the whole step, which waits for Python once and not for each kernel
        "cpp_wrapper": True,
        # the function that calls them in a file of its own, which need not be optimized: a fifth of the compile time
        "cpp_wrapper_build_separate": True,
        "aot_inductor.compile_wrapper_opt_level": "O0",
        "size_asserts": False,
        # the compiler's pool of processes must not outlive this one
        "compile_threads": 1,
    },
    # Python calls the kernels, but only while the CUDA graph is captured
    "cuda": {
        "size_asserts": False,
        # there is one way to add a bias then, and nothing to measure
        "triton.autotune_cublasLt": False,
        # torch 2.11 fails to order the loops of some fused kernels
        "loop_ordering_after_fusion": False,
        # kernels that are chosen by measurement round otherwise in another process, which goes on with a training
        "deterministic": True,
    },
}
"""What the compiler is told for each type of device."""
Repeat: TypeAlias = "Callable[[Flat, Sequence[Flat]], tuple[Flat, Flat]]"
"""The state after steps, and what the last of them logged, from the state before and the inputs of each."""


class Graph:
    """``step`` traced once, for tensors like those it first sees, and compiled, or cleaned and repeated as it is.

    What is not a tensor (coefficients, the set of active regularizers) is a constant of the graph, and a step that
    branches on a number of a tensor is refused: tracing runs it on tensors without numbers. What is repeated on a CPU
    is recorded with numbers where it can be, which is sooner done. On a GPU it is captured as one CUDA graph besides.
    """

    def __init__(self, step: Step, state: Listed, turns: Form[Turns], *, compiled: bool = True) -> None:
        self.step, self.state, self.turns, self.compiled = step, state, turns, compiled
        self.logs: list[str] = []
        """The names of the logs."""
        self.replayed = False
        """Whether the step is a CUDA graph, once it was taken."""
        self._call: Callable[..., Sequence[Tensor]] | None = None
        self._repeats: dict[int, Repeat] = {}

    def advance(self, state: Flat, steps: Sequence[Flat], place: int = 0) -> tuple[Flat, dict[str, Tensor]]:
        """The tensors of the state after steps with these inputs, and the logs of the last of them.

        Of calls that a GPU runs side by side, each has a ``place`` of its own.
        """
        if place not in self._repeats:
            self._repeats[place] = self._made(state, steps[0])
        after, logs = self._repeats[place](state, steps)
        return after, dict(zip(self.logs, logs, strict=True))

    def _made(self, state: Flat, inputs: Flat) -> Repeat:
        on_gpu = state[0].device.type == "cuda"
        if on_gpu:
            # a graph has memory of its own; copies lie close together, where inputs lie as they do in their block
            state, inputs = [t.clone() for t in state], [t.clone() for t in inputs]
        if self._call is None:
            self._call = self._traced([*state, *inputs])
        call = self._call
        if not on_gpu:
            return _in_turn(call)
        try:
            repeat = Captured(call, state, inputs).advance
        except CaptureError as error:
            self.replayed = False
            sys.stderr.write(f"the step is no CUDA graph, so that its operations are launched one by one: {error}\n")
            plain = _in_turn(call)
            return lambda state, steps: plain(state, [[t.clone() for t in step] for step in steps])
        self.replayed = True
        return repeat

    def _traced(self, inputs: Flat) -> Callable[..., Sequence[Tensor]]:
        """The step from tensors to tensors: the state and the turns to the state and the logs."""
        n = len(inputs) - self.turns.count

        def flat(*tensors: Tensor) -> Flat:
            after = self.step(self.state.opened(tensors[:n]), self.turns.opened(tensors[n:]))
            self.logs = list(after.logs)
            return self.state.closed(after) + list(after.logs.values())

        if not self.compiled and inputs[0].device.type == "cpu":
            with contextlib.suppress(RecordingError):
                return repeat_traced(recorded(flat, inputs), inputs)
        from torch.fx.experimental.proxy_tensor import make_fx

        # what a network holds beside parameters and buffers is a constant, not without numbers
        traced = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
        return compile_traced(traced, inputs) if self.compiled else repeat_traced(traced, inputs)


def _in_turn(call: Callable[..., Sequence[Tensor]]) -> Repeat:
    """``call`` once for each step."""

    def repeat(state: Flat, steps: Sequence[Flat]) -> tuple[Flat, Flat]:
        n, out = len(state), state
        for inputs in steps:
            out = list(call(*out[:n], *inputs))
        return out[:n], out[n:]

    return repeat


def compile_traced(traced: torch.fx.GraphModule, inputs: Flat) -> Callable[..., Sequence[Tensor]]:
    """Machine code for ``traced``, from the compiler's cache on disk where it was compiled before."""
    kind = inputs[0].device.type
    if kind == "cuda":
        fold(traced)  # a constant that comes from the host would come anew with each step
        traced.recompile()
    folder = _mended(compiled_before.folder())
    os.environ[compiled_before.PLACE] = str(folder)
    from torch._inductor.compile_fx import compile_fx

    while True:
        try:
            with warnings.catch_warnings(action="ignore"):  # the compiler warns of its own code
                compiled: Any = compile_fx(traced, inputs, config_patches=OPTIONS.get(kind, {}))
        except Exception as error:
            if not drop_named(error, folder):
                raise
        else:
            return cast("Callable[..., Sequence[Tensor]]", compiled)


@functools.cache
def _mended(folder: Path) -> Path:
    """The compiler's cache at ``folder``, without what a process that was killed left in it."""
    drop_unfinished(folder)
    return folder


def repeat_traced(traced: torch.fx.GraphModule, inputs: Flat) -> Callable[..., Sequence[Tensor]]:
    """``traced``, cleaned, for torch's own interpreter; for Python's if that does not take it, or calls it once."""
    nodes = list(traced.graph.nodes)
    try:
        clean(traced)
        return _interpreted(traced, inputs)
    finally:
        for node in nodes:  # they refer to one another, so that a step's tensors would stay until somebody looks
            node.meta.pop("val", None)


def _interpreted(traced: torch.fx.GraphModule, inputs: Flat) -> Callable[..., Sequence[Tensor]]:
    """``traced`` for torch's interpreter, or for Python's."""
    if inputs[0].device.type == "cuda":
        return cast("Callable[..., Sequence[Tensor]]", traced)
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
