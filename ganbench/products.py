"""Write products of thin matrices as sums, which a compiler makes part of the operations around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

aten: Any = torch.ops.aten
THIN = 2
"""Rows, columns or summands up to which a product is written as a sum: libraries are made for thicker matrices."""


def spread(traced: fx.GraphModule) -> None:
    """Do so for every thin product in ``traced``, in place; it computes the same numbers, up to rounding."""
    for node in list(traced.graph.nodes):
        added, factors = None, node.args
        if node.target in (aten.addmm.default, aten.baddbmm.default) and not node.kwargs:
            added, *factors = node.args
        elif node.target not in (aten.mm.default, aten.bmm.default):
            continue
        if (write := _thin(*(factor.meta["val"] for factor in factors))) is None:
            continue
        with traced.graph.inserting_before(node):
            written = write(_Writer(traced.graph), *factors)
            if added is not None:
                written = _Writer(traced.graph)(aten.add.Tensor, added, written)
        written.meta = {**node.meta, "val": node.meta["val"]}
        node.replace_all_uses_with(written)
        traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()


class _Writer:
    """Adds operations to a graph."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph

    def __call__(self, operation: Any, *args: Any) -> fx.Node:
        node = self.graph.call_function(operation, args)
        node.meta["val"] = operation(*fx.node.map_arg(args, lambda given: given.meta["val"]))
        return node

    def part(self, of: fx.Node, axis: int, i: int) -> fx.Node:
        """The i-th slice of an axis, which stays."""
        return self(aten.slice.Tensor, of, axis, i, i + 1)


def _thin(a: Tensor, b: Tensor) -> Callable[[_Writer, fx.Node, fx.Node], fx.Node] | None:
    """How to write ``a @ b``, [..., M, K] by [..., K, N]; None if no side is thin, or their type rounds coarsely."""
    if a.dtype not in (torch.float32, torch.float64) or a.dtype != b.dtype:
        return None
    (m, k), n = a.shape[-2:], b.shape[-1]
    if 0 < k <= THIN:
        return _summands
    if 0 < n <= THIN:
        return _columns
    return _rows if 0 < m <= THIN else None


def _summands(write: _Writer, a: fx.Node, b: fx.Node) -> fx.Node:
    """The sum over k of a[..., k, None] b[..., k, :]."""
    parts = [write(aten.mul.Tensor, write.part(a, -1, k), write.part(b, -2, k)) for k in range(a.meta["val"].shape[-1])]
    total = parts[0]
    for part in parts[1:]:
        total = write(aten.add.Tensor, total, part)
    return total


def _columns(write: _Writer, a: fx.Node, b: fx.Node) -> fx.Node:
    """Each column of the product: sum over the last axis of a b[..., n]."""

    def column(n: int) -> fx.Node:
        row = write(aten.transpose.int, write.part(b, -1, n), -2, -1)
        return write(aten.sum.dim_IntList, write(aten.mul.Tensor, a, row), [-1], True)

    return _joined(write, [column(n) for n in range(b.meta["val"].shape[-1])], -1)


def _rows(write: _Writer, a: fx.Node, b: fx.Node) -> fx.Node:
    """Each row of the product: sum over the last axis but one of a[m] b."""

    def row(m: int) -> fx.Node:
        column = write(aten.transpose.int, write.part(a, -2, m), -2, -1)
        return write(aten.sum.dim_IntList, write(aten.mul.Tensor, column, b), [-2], True)

    return _joined(write, [row(m) for m in range(a.meta["val"].shape[-2])], -2)


def _joined(write: _Writer, parts: list[fx.Node], axis: int) -> fx.Node:
    return parts[0] if len(parts) == 1 else write(aten.cat.default, parts, axis)
