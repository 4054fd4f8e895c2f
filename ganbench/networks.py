"""The roles generator and discriminator, and how a module is called as a pure function of its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ganbench.component import Component, field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ganbench.samples import SampleSpec
    from ganbench.state import Params


class Generator(Component, role="generator"):
    """Builds a module ``forward(z [B, latent], y [B] | None) -> x [B, *shape]``; latents are standard normal."""

    latent: int = field(default=64, ge=1, doc="dimension of the latent z")

    def build(self, spec: SampleSpec) -> nn.Module:
        """A freshly initialised module; initialisers may draw from torch's global generator, which is a stream here."""
        raise NotImplementedError


class Discriminator(Component, role="discriminator"):
    """Builds a module ``forward(x [B, *shape], y [B] | None) -> scores [B]``, high on real samples."""

    output: ClassVar[str] = "scores"
    """What it returns: ``scores`` [B], ``embedding`` [B, d] or ``energy`` [B]; a loss may ask for another."""
    has_code: ClassVar[bool] = False
    """Whether ``forward(x, y, True)`` returns its code [B, d] of x instead, for losses that compare codes."""

    def build(self, spec: SampleSpec) -> nn.Module:
        """A freshly initialised module; initialisers may draw from torch's global generator, which is a stream here."""
        raise NotImplementedError


class Network:
    """A module as a pure function ``(params, buffers, *inputs) -> (output, new buffers)``.

    Parameters are swapped in by reference, which costs a dictionary write each; the module itself is only the
    recipe. Buffers are cloned before a call that may write to them, so that the old ones stay as they were.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        # torch's own functional_call writes to the same dictionaries, through far more Python
        self._params = [
            (_slots(module, name, "_parameters"), _leaf(name), name) for name, _ in module.named_parameters()
        ]
        self._buffers = [(_slots(module, name, "_buffers"), _leaf(name), name) for name, _ in module.named_buffers()]
        self.params: Params = {name: p.detach().clone() for name, p in module.named_parameters()}
        self.buffers: Params = {name: b.detach().clone() for name, b in module.named_buffers()}

    def __call__(self, params: Params, buffers: Params, *inputs: Tensor | bool | None) -> tuple[Tensor, Params]:
        """The module's output under ``params`` and ``buffers``, and the buffers after the call."""
        import torch

        # Modules that carry parametrizations or are traced by the compiler go through torch's own route.
        if torch.compiler.is_compiling():
            written = {name: b.clone() for name, b in buffers.items()}
            traced: Tensor = torch.func.functional_call(self.module, {**params, **written}, inputs)
            return traced, written
        for owner, leaf, name in self._params:
            owner[leaf] = params[name]
        written = buffers
        if self._buffers:
            written = {name: b.clone() for name, b in buffers.items()} if self.module.training else buffers
            for owner, leaf, name in self._buffers:
                owner[leaf] = written[name]
        output: Tensor = self.module(*inputs)
        return output, written


def _slots(module: nn.Module, name: str, kind: str) -> dict[str, Tensor]:
    """The dictionary of the submodule that holds parameter or buffer ``name``; a plain tensor serves in either."""
    slots: dict[str, Tensor] = getattr(module.get_submodule(name.rpartition(".")[0]), kind)
    return slots


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
