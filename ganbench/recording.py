"""A function of tensors as a graph of operations, recorded while it runs once, and checked by running it again."""
# ruff: noqa: SLF001 # storages and operations have no public identity

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

Place: TypeAlias = "tuple[Any, ...]"
"""Where in memory a tensor lies, and how."""
aten: Any = torch.ops.aten
COPIED = {aten.lift_fresh.default: aten.lift_fresh_copy.default}
"""What makes a tensor of a constant must make one of its own each time: it may be written to."""


class RecordingError(Exception):
    """What was recorded is not, or may not be, what the function does with other numbers."""


def recorded(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The operations of ``function`` on tensors like ``inputs``, in their order; their values are in ``meta["val"]``.

    It runs with numbers, which takes a fraction of the time of tracing without. So that none of them is in the graph,
    the function and the graph are run with other numbers, and must agree to the last bit. Nothing of ``inputs`` is
    written to.

    Raises:
        RecordingError: a number of a tensor became a constant, or memory is shared in a way that no operation says.
    """
    recorder = _Recorder([t.clone() for t in inputs])
    with recorder:
        outputs = list(function(*recorder.inputs))
    graph = recorder.finished(outputs)
    others = [_other(t) for t in inputs]
    try:
        with _Watch():  # type: ignore[no-untyped-call] # torch leaves it untyped
            expected = function(*(t.clone() for t in others))
        found = graph(*(t.clone() for t in others))
    except Exception as error:
        raise RecordingError(f"with other numbers it fails: {error}") from error
    for a, b in zip(expected, found, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype or not torch.allclose(a, b, rtol=0, atol=0, equal_nan=True):
            raise RecordingError("with other numbers it does something else")
    return graph


def _other(tensor: Tensor) -> Tensor:
    """Numbers like those of ``tensor``, but not the same: no larger in kind, and not negative where none was."""
    if tensor.dtype.is_floating_point:
        spread = torch.linspace(0.01, 0.02, max(tensor.numel(), 2), dtype=tensor.dtype)[: tensor.numel()]
        return tensor * 0.75 + spread.reshape(tensor.shape)
    if tensor.dim():
        return tensor.flip(-1)
    return ~tensor if tensor.dtype is torch.bool else tensor + 1


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it untyped
    """Sees every operation and does it; while it does, :func:`ganbench.is_plain` says no."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        return func(*args, **(kwargs or {}))


class _Recorder(_Watch):  # type: ignore[no-untyped-call] # as above
    """Writes every operation into a graph as it is done.

    Tensors are told from one another by where they lie in memory, since autograd makes new ones of those it keeps. All
    are kept until the end, so that no memory is given to another.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # as above
        self.inputs = inputs
        self.root, self.graph = torch.nn.Module(), fx.Graph()
        self.nodes: dict[Place, fx.Node] = {}
        self.storages: set[int] = set()
        for i, tensor in enumerate(inputs):
            self._know(tensor, self.graph.placeholder(f"arg{i}_1"))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        func, kwargs = COPIED.get(func, func), kwargs or {}
        if torch.Tag.data_dependent_output in func.tags or _is_of_some_shape(func, args):
            raise RecordingError(f"{func} depends on numbers")
        given, named = pytree.tree_map_only(Tensor, self._node, (tuple(args), dict(kwargs)))
        made = func(*args, **kwargs)
        node = self.graph.call_function(func, given, named)
        node.meta["val"] = made
        if isinstance(made, Tensor):
            self._know(made, node)
        elif isinstance(made, list | tuple):
            for i, part in enumerate(made):
                if isinstance(part, Tensor):
                    self._know(part, self.graph.call_function(operator.getitem, (node, i)))
        elif made is not None:
            raise RecordingError(f"{func} returned {type(made).__name__}")
        return made

    def _know(self, tensor: Tensor, node: fx.Node) -> None:
        node.meta["val"] = tensor
        self.storages.add(tensor.untyped_storage()._cdata)
        self.nodes[_place(tensor)] = node

    def _node(self, tensor: Tensor) -> fx.Node:
        """What made ``tensor``; one that nothing made is a constant."""
        place = _place(tensor)
        if place not in self.nodes:
            if place[0] in self.storages:
                raise RecordingError("memory is shared in a way that no operation says")
            name = f"held_{len(list(self.root.buffers()))}"
            self.root.register_buffer(name, tensor)
            self._know(tensor, self.graph.get_attr(name))
        return self.nodes[place]

    def finished(self, outputs: Sequence[Tensor]) -> fx.GraphModule:
        """The graph that returns ``outputs``."""
        self.graph.output([self._node(t) for t in outputs])
        return fx.GraphModule(self.root, self.graph)


def _is_of_some_shape(func: Any, args: Sequence[Any]) -> bool:
    """Whether numbers decide the shape of what ``func`` returns: not where they are whole numbers that select."""
    if func is aten.index.Tensor:
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


def _place(tensor: Tensor) -> Place:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
