"""Thin products are written as sums that make the same numbers, and thick ones are left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ganbench.products import THIN, spread

sizes = st.integers(1, 5)


def products(traced: fx.GraphModule) -> int:
    """How many products of matrices are left."""
    names = ("mm", "bmm", "addmm", "baddbmm")
    return sum(str(node.target).split(".")[1:2] in [[name] for name in names] for node in traced.graph.nodes)


@given(m=sizes, k=sizes, n=sizes, seeds=st.sampled_from([None, 3]), added=st.booleans(), turned=st.booleans())
def test_a_product_is_the_same_number_by_number(m, k, n, seeds, added, turned):
    lead = () if seeds is None else (seeds,)
    rng = torch.Generator().manual_seed(0)

    def make(*shape: int) -> Tensor:
        return torch.randn(*lead, *shape, generator=rng, dtype=torch.float64)

    a, c = make(m, k), make(m, n)
    b = make(n, k).transpose(-2, -1) if turned else make(k, n)

    def product(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        if not added:
            return torch.bmm(a, b) if seeds else torch.mm(a, b)
        return torch.baddbmm(c, a, b) if seeds else torch.addmm(c, a, b)

    traced = make_fx(product, tracing_mode="fake")(a, b, c)
    assert products(traced) == 1
    spread(traced)
    assert products(traced) == (min(m, k, n) > THIN)
    found = traced(a, b, c)
    assert found.shape == (*lead, m, n)
    torch.testing.assert_close(found, a @ b + (c if added else 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scaled", [(1.0, 2.0), (2.0, 1.0)])
def test_a_sum_with_factors_is_left_as_it_is(scaled):
    a, b, c = torch.ones(4, 1), torch.ones(1, 4), torch.ones(4, 4)
    traced = make_fx(lambda a, b, c: torch.addmm(c, a, b, beta=scaled[0], alpha=scaled[1]))(a, b, c)
    spread(traced)
    assert products(traced) == 1
    assert torch.equal(traced(a, b, c), scaled[0] * c + scaled[1] * a @ b)


def test_products_in_bfloat16_keep_their_sums_in_float32():
    a, b = (torch.ones(4, 4, dtype=torch.bfloat16)[:, :2] for _ in range(2))
    traced = make_fx(lambda a, b: torch.mm(a, b.t()))(a, b)
    spread(traced)
    assert products(traced) == 1
