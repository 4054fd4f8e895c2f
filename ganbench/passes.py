"""Rewrite a traced step into one that does the same in fewer operations."""
# ruff: noqa: SLF001 # operations that begin with an underscore are in graphs as others are

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

Rewrite: TypeAlias = "Callable[[fx.GraphModule], None]"
aten: Any = torch.ops.aten
BIG = 2**16
"""Numbers above which a constant is not kept: it would fill the caches that the step needs."""
_VIEWS = (aten.detach, aten.alias, aten.expand, aten.view, aten._unsafe_view, aten.reshape)
SAME_NUMBERS = {op.default for op in (*_VIEWS, aten._to_copy, aten.clone, aten.contiguous, aten.lift_fresh_copy)}
"""Operations that change no number: superfluous where shape, strides and type are those of what they are given."""
NEUTRAL = {
    aten.mul.Tensor: 1,
    aten.mul.Scalar: 1,
    aten.div.Tensor: 1,
    aten.div.Scalar: 1,
    aten.pow.Tensor_Scalar: 1,
    aten.add.Tensor: 0,
    aten.add.Scalar: 0,
    aten.sub.Tensor: 0,
}
"""Operations with a second operand that changes nothing."""
FILLED = {
    **dict.fromkeys((aten.ones_like.default, aten.ones.default, aten.new_ones.default), 1),
    **dict.fromkeys((aten.zeros_like.default, aten.zeros.default, aten.new_zeros.default), 0),
}
"""Operations whose result does not depend on the numbers they are given."""
WRITING = {aten.native_batch_norm.default, aten.cudnn_batch_norm.default, aten.miopen_batch_norm.default}
"""Operations that write running statistics in place, which their schemas do not say."""
FILLED_WITH = {aten.full_like.default, aten.full.default, aten.new_full.default}
COMMUTING = {aten.add.Tensor, aten.mul.Tensor}


def clean(traced: fx.GraphModule) -> None:
    """Apply every pass to ``traced``, in place. The step computes the same numbers, up to rounding.

    What is written in place (lists of an optimizer, for one), and whatever shares memory with it, is left alone.
    """
    for rewrite in (drop_no_ops, single_elements, fold, share, drop_no_ops, join_views, share, join_sums):
        rewrite(traced)
        traced.graph.eliminate_dead_code(lambda node: node.is_impure() or _writes(node))
    traced.graph.lint()
    traced.recompile()


def drop_no_ops(traced: fx.GraphModule) -> None:
    """Views and copies of the same layout, ``1 x``, ``x + 0`` and ``x ** 1``."""
    for node in _free(traced):
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or not _alike(source, node):
            if node.target in COMMUTING and len(node.args) == 2 and _is_filled(node.args[0], NEUTRAL[node.target]):
                other = node.args[1]
                if isinstance(other, fx.Node) and _alike(other, node) and not node.kwargs:
                    _replace(node, other)
            continue
        if node.target in SAME_NUMBERS:
            _replace(node, source)
        elif node.target in NEUTRAL and not node.kwargs and len(node.args) == 2:
            second, neutral = node.args[1], NEUTRAL[node.target]
            if _is_filled(second, neutral) or (not isinstance(second, fx.Node) and second == neutral):
                _replace(node, source)


def single_elements(traced: fx.GraphModule) -> None:
    """Selecting the one element of an axis of one, and its gradient, are views."""
    for node in _free(traced):
        if node.target is aten.select.int:
            source, axis, _ = node.args
            if _value(source).shape[operator.index(axis)] == 1:  # type: ignore[arg-type] # the number of an axis
                _become(node, aten.squeeze.dim, (source, axis))
        elif node.target is aten.select_backward.default:
            source, sizes, axis, _ = node.args
            # the gradient is a tensor of its own, in order; a view of one that is not would have other strides
            if sizes[axis] == 1 and _value(source).is_contiguous():  # type: ignore[index] # sizes, and one of its axes
                _become(node, aten.unsqueeze.default, (source, axis % len(sizes)))  # type: ignore[arg-type, operator]


def fold(traced: fx.GraphModule) -> None:
    """What depends on no input is computed once, now; a single number becomes part of the operation it enters."""
    known: dict[fx.Node, Tensor] = _constants(traced)
    for node in list(_free(traced)):
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or value.numel() > BIG or value.layout != torch.strided:
            continue
        if (filled := _filling(node)) is not None:
            like = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
            known[node] = like.fill_(filled)
        elif all(source in known for source in node.all_input_nodes) and _repeatable(node):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)  # type: ignore[operator] # an operation
    for node, number in known.items():
        if node.op == "get_attr":
            continue
        inner = all(user in known for user in node.users)
        if inner or (node.target not in FILLED and _into_users(traced, node, number) and not node.users):
            continue
        name = f"constant_{len(list(traced.buffers()))}"
        traced.register_buffer(name, number)
        with traced.graph.inserting_before(node):
            kept = traced.graph.get_attr(name)
        kept.meta |= node.meta
        kept.meta["filled"] = _filling(node)
        node.replace_all_uses_with(kept)


def _constants(traced: fx.GraphModule) -> dict[fx.Node, Tensor]:
    """Small tensors that the step holds and does not write to."""
    written = _written(traced)
    held = {n: operator.attrgetter(str(n.target))(traced) for n in traced.graph.find_nodes(op="get_attr")}
    return {
        node: value
        for node, value in held.items()
        if isinstance(value, Tensor) and value.numel() <= BIG and not written & _memory(node)
    }


def _into_users(traced: fx.GraphModule, node: fx.Node, number: Tensor) -> bool:
    """Give the single ``number`` as one to the products and sums that ``node`` enters; whether there was one."""
    del traced
    if number.dim() or not number.dtype.is_floating_point:
        return False
    for user in list(node.users):
        if user.target in (aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor) and not user.kwargs:
            first, second = user.args
            if user.target in COMMUTING and first is node:
                first, second = second, first
            alone = second is node and first is not node and isinstance(first, fx.Node)
            if alone and _value(first).dtype == number.dtype == _value(user).dtype:
                user.args = (first, number.item())
    return True


def share(traced: fx.GraphModule) -> None:
    """What is computed twice is computed once."""
    seen: dict[str, fx.Node] = {}
    for node in _free(traced):
        if not _repeatable(node):
            continue
        # dictionaries of arguments keep their order, and floats print as what they are
        key = repr((str(node.target), node.args, sorted(node.kwargs.items())))
        if key in seen:
            _replace(node, seen[key])
        else:
            seen[key] = node


def join_views(traced: fx.GraphModule) -> None:
    """A view of a view is one, and a transpose of a transpose is none."""
    for node in _free(traced):
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            continue
        if node.target is aten.transpose.int and source.target is aten.transpose.int:
            axes = [sorted(a % _value(n).dim() for a in n.args[1:]) for n in (node, source)]  # type: ignore[operator]
            if axes[0] == axes[1]:
                _replace(node, source.args[0])  # type: ignore[arg-type] # the first argument of a view
        elif node.target is aten.view.default and source.target in (aten.view.default, aten._unsafe_view.default):
            node.args = (source.args[0], *node.args[1:])


def join_sums(traced: fx.GraphModule) -> None:
    """``c + a @ b`` is one operation over all seeds."""
    for node in list(_free(traced)):
        if node.target is not aten.add.Tensor or node.kwargs:
            continue
        for product, other in (node.args, node.args[::-1]):
            if not (isinstance(product, fx.Node) and isinstance(other, fx.Node)):
                continue
            if product.target is not aten.bmm.default or len(product.users) > 1 or product is other:
                continue
            made, added = _value(node), _value(other)
            if _value(product).shape != made.shape or not made.is_contiguous() or added.dtype != made.dtype:
                continue
            _become(node, aten.baddbmm.default, (other, *product.args))
            break


# -- what a pass may do ----------------------------------------------------------------------------------------


def _free(traced: fx.GraphModule) -> Iterator[fx.Node]:
    """The operations that share memory with nothing that is written in place."""
    written = _written(traced)
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or _writes(node) or node.target is operator.getitem or not _memory(node):
            continue
        if not written & {m for n in (node, *node.all_input_nodes) for m in _memory(n)}:
            yield node


def _written(traced: fx.GraphModule) -> set[int]:
    """The memory that something is written into."""
    sources = (source for node in traced.graph.nodes if _writes(node) for source in node.all_input_nodes)
    return {m for source in sources for m in _memory(source)}


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.target in WRITING or (schema is not None and schema.is_mutable)


def _memory(node: fx.Node) -> set[int]:
    """What tells the memory of a node's results from that of others."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return {v.untyped_storage()._cdata for v in values if isinstance(v, Tensor)}  # the identity of it


def _repeatable(node: fx.Node) -> bool:
    """Whether a node does the same each time, on memory of its own or on that of its arguments."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags and "empty" not in str(target)


def _filling(node: fx.Node) -> float | None:
    """The number that a node fills a tensor with."""
    if node.target in FILLED_WITH:
        number = node.args[1]
        return float(number) if isinstance(number, int | float) else None
    found = FILLED.get(node.target)
    return None if found is None else float(found)


def _is_filled(node: object, number: float) -> bool:
    """Whether ``node`` is a tensor that has ``number`` everywhere."""
    return isinstance(node, fx.Node) and number in (_filling(node), node.meta.get("filled"))


def _value(node: object) -> Tensor:
    """A tensor without numbers, like the one that ``node`` makes."""
    assert isinstance(node, fx.Node)
    value = node.meta["val"]
    assert isinstance(value, Tensor)
    return value


def _alike(node: fx.Node, other: fx.Node) -> bool:
    """Whether two nodes have tensors of one shape, layout, type and device."""
    a, b = node.meta.get("val"), other.meta.get("val")
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return False
    return (a.shape, a.stride(), a.dtype, a.device) == (b.shape, b.stride(), b.dtype, b.device)


def _replace(node: fx.Node, other: fx.Node) -> None:
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def _become(node: fx.Node, target: Any, args: tuple[Any, ...]) -> None:
    """Let ``node`` be another operation that makes the same."""
    value = node.meta["val"]
    node.target, node.args, node.kwargs = target, args, {}
    given = fx.node.map_arg(args, lambda n: n.meta["val"])
    made = target(*given)
    assert (made.shape, made.dtype) == (value.shape, value.dtype)
    assert all(a == b for a, b, size in zip(made.stride(), value.stride(), value.shape, strict=True) if size > 1)
    node.meta["val"] = made
