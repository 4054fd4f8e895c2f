"""A traced step for torch's own interpreter, which calls one operation after the other without Python."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

FORMATS = {
    f: i
    for i, f in enumerate((torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d))
}
"""The numbers that stand for memory formats in a graph."""
_C: Any = torch._C  # noqa: SLF001 # TorchScript's public makers read Python, and a traced step is beyond it


def scripted(traced: fx.GraphModule) -> Callable[..., Sequence[Tensor]]:
    """``traced`` as a TorchScript graph: the same operations in the same order.

    TorchScript's optimizations are left off: they begin at a later call than the first, and a training that was
    interrupted would round otherwise than one that was not.

    Raises:
        NotImplementedError: something in it is no operation of torch on tensors, numbers and lists of them.
    """
    function = _C._create_function_from_graph("step", _Writer(traced).graph)  # noqa: SLF001 # as above

    def call(*tensors: Tensor) -> Sequence[Tensor]:
        before = _C._get_graph_executor_optimize()  # noqa: SLF001 # as above
        _C._set_graph_executor_optimize(False)  # noqa: SLF001 # as above
        try:
            out: Sequence[Tensor] = function(*tensors)
        finally:
            _C._set_graph_executor_optimize(before)  # noqa: SLF001 # as above
        return out

    return call


class _Writer:
    """Writes the operations of ``traced`` into a graph of TorchScript."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced, self.graph = traced, _C.Graph()
        self.values: dict[fx.Node, Any] = {}
        self.parts: dict[fx.Node, list[Any]] = {}
        """The results of operations that have several, or a list."""
        for node in traced.graph.nodes:
            getattr(self, f"_{node.op}", self._other)(node)
        self.graph.lint()

    def _placeholder(self, node: fx.Node) -> None:
        self.values[node] = self.graph.addInput(node.name)

    def _get_attr(self, node: fx.Node) -> None:
        self.values[node] = self.graph.insertConstant(operator.attrgetter(str(node.target))(self.traced))

    def _output(self, node: fx.Node) -> None:
        results = [self.values[n] for n in node.args[0]]  # type: ignore[union-attr, index] # a list of nodes
        kind = _C.TupleType([result.type() for result in results])
        self.graph.registerOutput(self._append("prim::TupleConstruct", results, kind))

    def _call_function(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            source, place = node.args
            self.values[node] = self.parts[source][place]  # type: ignore[index] # a node and a number
            return
        if not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001 # its public name is none
            self._other(node)
        target: Any = node.target
        schema = target._schema  # noqa: SLF001 # the operation's own
        given = dict(zip([formal.name for formal in schema.arguments], node.args, strict=False)) | node.kwargs
        inputs = [self._input(given.get(a.name, a.default_value), a.real_type) for a in schema.arguments]
        types = [r.type for r in schema.returns]
        made = self.graph.create(schema.name, inputs, len(types))
        self.graph.appendNode(made)
        results = list(made.outputs())
        for result, kind in zip(results, types, strict=True):
            result.setType(kind)
        if len(results) == 1 and isinstance(types[0], _C.ListType):
            unpacked = self.graph.create("prim::ListUnpack", results, len(node.meta["val"]))
            self.graph.appendNode(unpacked)
            self.parts[node] = list(unpacked.outputs())
            for part in self.parts[node]:
                part.setType(_C.TensorType.get())
        elif len(results) == 1:
            self.values[node] = results[0]
        else:
            self.parts[node] = results

    def _input(self, value: object, kind: Any) -> Any:
        """An argument of type ``kind``: a result, a list of results, or a constant."""
        if isinstance(value, fx.Node):
            return self.values[value]
        if isinstance(value, list | tuple) and any(isinstance(v, fx.Node) for v in value):
            optional = any(v is None for v in value)
            element = _C.OptionalType(_C.TensorType.get()) if optional else _C.TensorType.get()
            items = [self._input(v, None) for v in value]
            return self._append("prim::ListConstruct", items, _C.ListType(element))
        if isinstance(kind, _C.OptionalType):
            kind = kind.getElementType()
        if isinstance(value, list | tuple):
            if not value:
                return self._append("prim::ListConstruct", [], kind)
            value = list(value)
            if isinstance(kind, _C.ListType) and isinstance(kind.getElementType(), _C.FloatType):
                value = [float(v) for v in value]
        elif isinstance(kind, _C.FloatType) and isinstance(value, int):
            value = float(value)
        # a number in the place of a tensor chooses the operation on a tensor and a number
        return self.graph.insertConstant(FORMATS[value] if isinstance(value, torch.memory_format) else value)

    def _append(self, operation: str, inputs: Sequence[Any], kind: Any) -> Any:
        made = self.graph.create(operation, list(inputs), 1)
        self.graph.appendNode(made)
        made.output().setType(kind)
        return made.output()

    def _other(self, node: fx.Node) -> None:
        raise NotImplementedError(f"{node.op} of {node.target}")
