"""The roles generator and discriminator, and how a module is called as a pure function of its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from ganbench.component import Component, field

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ganbench.samples import SampleSpec
    from ganbench.state import Params


class Generator(Component, role="generator"):
    """Builds a module ``forward(z [B, latent], y [B] | None) -> x [B, *shape]``; latents are standard normal."""

    latent: int = field(default=64, ge=1, doc="dimension of the latent z")

    @property
    def parts(self) -> frozenset[str]:
        """Names for which ``forward(z, y, name)`` returns another output than x, for regularizers that ask."""
        return frozenset()

    def build(self, spec: SampleSpec) -> nn.Module:
        """A freshly initialised module; initialisers may draw from torch's global generator, which is a stream here."""
        raise NotImplementedError


class Discriminator(Component, role="discriminator"):
    """Builds a module ``forward(x [B, *shape], y [B] | None) -> scores [B]``, high on real samples."""

    output: ClassVar[str] = "scores"
    """What it returns: ``scores`` [B], ``embedding`` [B, d] or ``energy`` [B]; a loss may ask for another."""
    has_code: ClassVar[bool] = False
    """Whether ``forward(x, y, True)`` returns its code [B, d] of x instead, for losses that compare codes."""

    @property
    def parts(self) -> frozenset[str]:
        """Names for which ``forward(x, y, name)`` returns another output than scores, for regularizers that ask."""
        return frozenset()

    def build(self, spec: SampleSpec) -> nn.Module:
        """A freshly initialised module; initialisers may draw from torch's global generator, which is a stream here."""
        raise NotImplementedError


@runtime_checkable
class Redrawn(Protocol):
    """A part of a discriminator's module, at any depth, that is random: its randomness is in buffers of its own.

    They are drawn anew for every turn from the stream ``noise-d``, and are the same in all calls of that turn; the
    buffers it is built with count where nothing is drawn, so that they should make it the mean of what it is.
    """

    def redraw(self, size: int, rng: torch.Generator) -> dict[str, Tensor]:
        """New values, on the CPU, of its buffers by name, for batches of ``size``."""
        ...


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
        self._redrawn = [(path, part) for path, part in module.named_modules() if isinstance(part, Redrawn)]
        self.params: Params = {name: p.detach().clone() for name, p in module.named_parameters()}
        self.buffers: Params = {name: b.detach().clone() for name, b in module.named_buffers()}

    @property
    def random(self) -> bool:
        """Whether any part of it is redrawn."""
        return bool(self._redrawn)

    def redraw(self, size: int, rng: torch.Generator) -> Params:
        """New values, on the CPU, of the buffers of every :class:`Redrawn` part, for batches of ``size``."""
        drawn: Params = {}
        for path, part in self._redrawn:
            for name, value in part.redraw(size, rng).items():
                full = f"{path}.{name}" if path else name
                drawn[full] = value.to(self.buffers[full].dtype)
        return drawn

    def __call__(self, params: Params, buffers: Params, *inputs: Tensor | bool | str | None) -> tuple[Tensor, Params]:
        """The module's output under ``params`` and ``buffers``, and the buffers after the call."""
        for owner, leaf, name in self._params:
            owner[leaf] = params[name]
        written = buffers
        if self._buffers:
            written = {name: b.clone() for name, b in buffers.items()} if self.module.training else buffers
            for owner, leaf, name in self._buffers:
                owner[leaf] = written[name]
        output: Tensor = self.module(*inputs)
        return output, written

    def lowered(self, params: Params, buffers: Params, *inputs: Tensor | bool | str | None) -> tuple[Tensor, Params]:
        """As a call, with its products in bfloat16; parameters, buffers and the output keep their type."""
        from ganbench.lowering import lowering

        like = next(iter(params.values()))
        with lowering(like.device):
            output, written = self(params, buffers, *inputs)
        return output.to(like.dtype), written


def _slots(module: nn.Module, name: str, kind: str) -> dict[str, Tensor]:
    """The dictionary of the submodule that holds parameter or buffer ``name``; a plain tensor serves in either."""
    slots: dict[str, Tensor] = getattr(module.get_submodule(name.rpartition(".")[0]), kind)
    return slots


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
