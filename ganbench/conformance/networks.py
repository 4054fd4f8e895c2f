"""Checks of the roles generator and discriminator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ganbench.conformance.findings import Finding, expect, finite, identity, run, same
from ganbench.conformance.trial import BATCH
from ganbench.errors import GanbenchError
from ganbench.networks import Discriminator, Generator
from ganbench.samples import SampleSpec
from ganbench.seeding import global_stream, stream

SPECS = (
    SampleSpec(shape=(1,)),
    SampleSpec(shape=(2,)),
    SampleSpec(shape=(2,), classes=3),
    SampleSpec(shape=(3, 32, 32), low=-1.0, high=1.0),
    SampleSpec(shape=(3, 32, 32), low=-1.0, high=1.0, classes=10),
)
"""What networks are tried on: every one that they do not refuse."""


def check_generator(generator: Generator, spec: SampleSpec | None = None) -> list[Finding]:
    """Checks of shapes, ranges, labels, gradients and initialisation, on ``spec`` or the SPECS it does not refuse."""

    def inputs(spec: SampleSpec) -> Tensor:
        del spec
        return torch.randn(BATCH, generator.latent, generator=stream(0, "latent"), dtype=torch.float64)

    def wanted(out: Tensor, spec: SampleSpec) -> None:
        expect(out.shape == (BATCH, *spec.shape), f"it returned shape {list(out.shape)} for {spec.shape}")
        inside = bool((out >= spec.low).all()) and bool((out <= spec.high).all())
        expect(inside, f"samples lie outside [{spec.low:g}, {spec.high:g}]")

    return _check_network(generator, "init-g", spec, inputs, wanted)


def check_discriminator(discriminator: Discriminator, spec: SampleSpec | None = None) -> list[Finding]:
    """Checks of shapes, labels, gradients and initialisation, on ``spec`` or all of SPECS it does not refuse."""

    def inputs(spec: SampleSpec) -> Tensor:
        x = torch.randn(BATCH, *spec.shape, generator=stream(0, "data"), dtype=torch.float64)
        return x.clamp(spec.low, spec.high)

    def wanted(out: Tensor, spec: SampleSpec) -> None:
        del spec
        dims = 2 if discriminator.output == "embedding" else 1
        ok = out.dim() == dims and out.shape[0] == BATCH
        expect(ok, f"it returned shape {list(out.shape)} for {discriminator.output} of {BATCH} samples")

    return _check_network(discriminator, "init-d", spec, inputs, wanted)


def _check_network(
    component: Generator | Discriminator,
    init: str,
    only: SampleSpec | None,
    inputs: Callable[[SampleSpec], Tensor],
    wanted: Callable[[Tensor, SampleSpec], None],
) -> list[Finding]:
    def build(spec: SampleSpec) -> nn.Module:
        with global_stream(0, init):
            return component.build(spec)

    def accepted() -> Iterator[SampleSpec]:
        for spec in SPECS if only is None else (only,):
            try:
                build(spec)
            except GanbenchError:
                if only is not None:
                    yield spec  # the checks report what it raises
            except Exception:  # noqa: BLE001 # as above
                yield spec
            else:
                yield spec

    specs = list(accepted())

    def labels(spec: SampleSpec) -> Tensor | None:
        return torch.arange(BATCH) % spec.classes if spec.classes else None

    def outputs() -> None:
        expect(bool(specs), f"it refuses all of {[s.shape for s in SPECS]}; give a spec that it takes")
        for spec in specs:
            for dtype in (torch.float32, torch.float64):
                out = build(spec).to(dtype)(inputs(spec).to(dtype), labels(spec))
                wanted(out, spec)
                expect(out.dtype == dtype, f"it returned {out.dtype} for {dtype}")
                finite(out, f"for {spec.shape}")

    def gradients() -> None:
        for spec in specs:
            module, x = build(spec).double(), inputs(spec).requires_grad_()
            module(x, labels(spec)).square().sum().backward()
            unused = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
            expect(not unused, f"no gradient reaches {', '.join(unused)}")

    def reproducible() -> None:
        for spec in specs:
            same(dict(build(spec).state_dict()), dict(build(spec).state_dict()))

    return run(
        [
            *identity(component),
            ("returns what its role says, in float32 and float64, with and without labels", outputs),
            ("passes gradients to every parameter", gradients),
            ("starts from the same weights for the same stream", reproducible),
        ]
    )
