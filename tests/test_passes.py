"""Passes over traced steps: each finds what it is for, and no number changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ganbench import foreach, passes
from ganbench.torchscript import scripted

Function = Callable[..., Sequence[Tensor]]


def inputs() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 5), (3, 5, 6), (3, 6)]
    return [torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes]


def traced(function: Function) -> fx.GraphModule:
    return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs())


def operations(of: fx.GraphModule) -> Counter[str]:
    names = [str(n.target).removeprefix("aten.") for n in of.graph.nodes if n.op == "call_function"]
    return Counter(name for name in names if "getitem" not in name)


def passed(function: Function, *rewrites: passes.Rewrite) -> Counter[str]:
    """The operations that are left of ``function``, which must return the same as before."""
    graph = traced(function)
    plain = graph(*inputs())
    expected, layouts = [t.clone() for t in plain], [t.stride() for t in plain]
    for rewrite in rewrites:
        rewrite(graph)
        graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    given = inputs()
    for _ in range(2):  # a constant that was written to would differ the second time
        for value, wanted, layout in zip(graph(*given), expected, layouts, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-13, atol=1e-13)
            assert value.stride() == layout
    return operations(graph)


def test_what_is_made_of_constants_of_the_step_is_one() -> None:
    held = torch.arange(6.0)

    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del a, b
        return [c * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).to(c.dtype) + held.double() ** 2]

    assert passed(step, passes.drop_no_ops, passes.fold) == {"mul.Tensor": 1, "add.Tensor": 1}


def test_views_and_copies_of_the_same_layout_go() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b, c
        return [(a.view(3, 4, 5).detach().expand(3, 4, 5) * 1.0 + torch.zeros_like(a)) ** 1]

    assert passed(step, passes.drop_no_ops) == {}


def test_views_of_another_layout_and_copies_of_another_type_stay() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b, c
        return [a.view(12, 5), a.to(torch.float32), a[:, :1].expand(3, 4, 5), 2 * a, a.transpose(1, 2).contiguous()]

    assert sum(passed(step, passes.drop_no_ops).values()) >= 6


def test_one_element_of_an_axis_of_one_is_a_view_forwards_and_backwards() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b

        def first(x: Tensor) -> Tensor:
            return (x[:, :, None].select(2, 0) ** 2).sum()

        return [torch.func.grad(first)(c), a[:, :, :1].select(-1, 0), a.select(2, 0)]

    left = passed(step, passes.single_elements)
    assert left["select_backward"] == left["select_backward.default"] == 0
    assert left["select.int"] == 1, "an axis of five is another matter"


def test_the_gradient_of_a_sum_is_no_view_where_it_would_have_other_strides() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del a, b

        def summed(x: Tensor) -> Tensor:
            return x[:, :, None].select(2, 0).sum()

        return [torch.ops.aten.select_backward(c[:, :1].expand(3, 6), [3, 6, 1], 2, 0), torch.func.grad(summed)(c)]

    assert passed(step, passes.single_elements)["select_backward.default"] == 2


def test_what_depends_on_no_input_is_computed_once() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b
        weight = torch.ones_like(c).sum(1) / 6
        return [a * weight[:, None, None], a * torch.full((), 0.5, dtype=a.dtype)]

    assert set(passed(step, passes.fold)) <= {"mul.Tensor", "view.default", "unsqueeze.default"}


def test_what_is_written_in_place_is_no_constant() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b, c
        total = torch.zeros_like(a)
        view = total.view(12, 5)
        view.add_(1)
        return [total + a, total * 1.0]

    for rewrite in (passes.fold, passes.drop_no_ops, passes.share):
        assert passed(step, rewrite)["add_.Tensor"] == 1


def test_equal_operations_are_shared_and_others_are_not() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del c
        return [a @ b + a @ b, a.sum(1) + a.sum(2).sum(1, keepdim=True), a.exp(), a.exp().mul_(2)]

    left = passed(step, passes.share)
    assert left["bmm.default"] == 1
    assert left["sum.dim_IntList"] == 3
    assert left["exp.default"] == 2, "one of them is written to"


def test_views_of_views_and_transposes_of_transposes_are_joined() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del c
        return [a.view(12, 5).view(60), b.transpose(1, 2).transpose(-1, 1), b.transpose(0, 1).transpose(1, 2)]

    left = passed(step, passes.join_views)
    assert left == {"view.default": 1, "transpose.int": 2}


def test_a_sum_with_a_product_is_one_operation() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        product = a @ b
        return [c[:, None, :] + a @ b, product + 1 + product, torch.bmm(a, b) + torch.ones(2, 3, 4, 6).double()]

    left = passed(step, passes.drop_no_ops, passes.join_sums)
    assert left["baddbmm.default"] == 1


def test_batch_norm_writes_its_statistics() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b, c
        mean, var = torch.zeros(4, dtype=a.dtype), torch.ones(4, dtype=a.dtype)
        out = torch.nn.functional.batch_norm(a, mean, var, training=True)
        return [out, mean + 0, var * 1]

    left = passed(step, passes.fold, passes.drop_no_ops, passes.share)
    assert sum(n for name, n in left.items() if "batch_norm" in name) == 1


def optimizer(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """What optimizers do: lists that are written in place."""
    foreach.batch()

    def one(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        values = [a, b, c]
        moved = torch._foreach_mul(values, 0.5)
        torch._foreach_addcmul_(moved, values, values, value=0.25)
        torch._foreach_div_(moved, torch.tensor(2.0, dtype=torch.float64))
        torch._foreach_add_(moved, 1.0)
        return torch._foreach_lerp(moved, values, 0.125)

    made: list[Tensor] = torch.vmap(one)(a, b, c)
    return made


def network(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """Gradients of a gradient's norm, mapped, with a softplus and a mean."""

    def one(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        def score(x: Tensor) -> Tensor:
            return torch.nn.functional.softplus(x @ b + c).mean()

        return torch.func.grad(lambda x: score(x) + torch.func.grad(score)(x).square().sum())(a)

    made: Tensor = torch.vmap(one)(a, b, c)
    return [made]


@pytest.mark.parametrize("step", [optimizer, network])
def test_a_clean_step_is_shorter_and_torchs_interpreter_runs_it(step: Function) -> None:
    graph = traced(step)
    before = sum(operations(graph).values())
    expected = step(*inputs())
    passes.clean(graph)
    assert sum(operations(graph).values()) <= before
    call = scripted(graph)
    for _ in range(3):
        for value, wanted in zip(call(*inputs()), expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)


def test_an_operation_with_an_empty_list_of_numbers_is_scripted() -> None:
    def step(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        del b, c
        return [torch.nn.functional.avg_pool2d(a[:, None], 2)]  # its stride is an empty list, which means its size

    assert torch.equal(scripted(traced(step))(*inputs())[0], step(*inputs())[0])


def test_lists_stay_lists_where_every_tensor_has_the_seeds() -> None:
    left = operations(traced(optimizer))
    assert left == {
        "_foreach_mul.Scalar": 1,
        "_foreach_addcmul_.Scalar": 1,
        "_foreach_div_.Tensor": 1,
        "_foreach_add_.Scalar": 1,
        "_foreach_lerp.Scalar": 1,
    } | {k: v for k, v in left.items() if "foreach" not in k}


def test_lists_of_mixed_kinds_are_taken_tensor_by_tensor() -> None:
    foreach.batch()
    shared, own = torch.arange(4.0), torch.arange(12.0).view(3, 4)

    def one(x: Tensor, rate: Tensor) -> Any:
        moved = torch._foreach_add([x, shared], [shared, x])
        torch._foreach_mul_(moved, rate)  # a number for each seed
        return torch._foreach_mul(moved, torch._foreach_norm(moved))

    rates = torch.tensor([1.0, 2.0, 3.0])
    found = torch.vmap(one)(own, rates)
    for seed in range(3):
        for value, wanted in zip(found, one(own[seed], rates[seed]), strict=True):
            torch.testing.assert_close(value[seed], wanted)


def test_what_the_interpreter_does_not_know_is_refused() -> None:
    graph = traced(lambda a, b, c: [a + 1])
    node = next(n for n in graph.graph.nodes if n.op == "call_function")
    node.target = torch.add
    with pytest.raises(NotImplementedError, match="call_function"):
        scripted(graph)
