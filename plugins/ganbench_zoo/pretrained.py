"""What extractors with pretrained weights share: finding and checking a file, images as bytes, resizing, and chunks.

Every one of them sees what an image file would hold: three channels of whole numbers 0..255, whatever range the
samples have, so that generated samples and images read from a disk go through the same door.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import ConfigError, ContractError, SampleSpec, cache_dir

if TYPE_CHECKING:
    from ganbench import Dataset

BYTES = "images as round(255 (x - low) / (high - low)) within 0..255, one channel repeated to three"
"""How samples become images: part of the protocol of every value."""
OVERSHOOT = 0.01
"""How far beyond [-1, 1] values may lie where no dataset says what their range is."""


# -- files of weights --------------------------------------------------------------------------------------------------


def weights_dir() -> Path:
    """Where weights are looked for when a grid names no path: ``weights`` in :func:`ganbench.cache_dir`."""
    return cache_dir() / "weights"


def find_weights(named: str, candidates: Iterable[Path], *, title: str, how: str) -> Path:
    """The file ``named``, or without a name the first of ``candidates`` that is there.

    Raises:
        ConfigError: there is none; it says ``how`` to get one.
    """
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"{title}: there is no file of weights {named!r}", hint=how)
        return path
    for path in candidates:
        if path.is_file():
            return path
    raise ConfigError(f"{title} needs its weights, and they are not on this machine", hint=how)


def without(path: Callable[[], Path]) -> str | None:
    """Why there are no weights at ``path()``, or None."""
    try:
        path()
    except ConfigError as error:
        return str(error)
    return None


def lacking(library: str, *, title: str, how: str) -> str | None:
    """Why ``library`` cannot be imported, found out without importing it, or None."""
    try:
        found = importlib.util.find_spec(library)
    except ValueError:  # a module that is blocked or half made
        found = None
    return None if found else f"{title} needs the package {library.replace('_', '-')}; {how}"


def library_of(library: str, *, title: str, how: str) -> Any:
    """The module ``library``, which is an extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise ConfigError(f"{title} needs the package {library.replace('_', '-')}", hint=how) from error


def read_weights(path: Path, sha256: str, *, title: str) -> dict[str, Tensor]:
    """The tensors in ``path`` (safetensors, or torch's format without pickled objects), by name.

    Args:
        path: the file.
        sha256: what its SHA-256 must be; empty accepts any file.
        title: what messages call the extractor.

    Raises:
        ConfigError: the file is another one than it should be, or holds no tensors by name.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 and found != sha256.lower():
        raise ConfigError(
            f"{title}: {path} is not the file of weights that values compare with: its SHA-256 is {found}",
            hint=f"expected {sha256}; sha256 = {found!r} accepts this one, and its values compare with nobody else's",
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{title}: {path} cannot be read as weights: {reason}") from error
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ConfigError(f"{title}: {path} holds no tensors by name", hint="it must be the state_dict of the network")
    return dict(weights)


def fill(network: nn.Module, weights: Mapping[str, Tensor], *, title: str) -> None:
    """Load ``weights`` into ``network``, which must have the same names and shapes.

    Raises:
        ConfigError: they belong to another network.
    """
    own = {name: list(w.shape) for name, w in network.state_dict().items()}
    # counts of batches that old files lack and nothing reads in evaluation mode
    lacking = [n for n in own if n not in weights and not n.endswith("num_batches_tracked")]
    odd = [n for n in weights if n not in own] + [n for n in own if n in weights and own[n] != list(weights[n].shape)]
    if lacking or odd:
        raise ConfigError(
            f"{title}: weights of another network: {len(lacking)} tensors are missing and {len(odd)} do not fit",
            hint=f"the first is {(lacking or odd)[0]!r}",
        )
    network.load_state_dict(weights, strict=False)


def checksum(weights: Mapping[str, Tensor], *more: str) -> str:
    """SHA-256 of names, shapes and values, and of the texts ``more``: the same weights in any file have the same."""
    total = hashlib.sha256(repr(more).encode())
    for name, tensor in sorted(weights.items()):
        total.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


# -- images ------------------------------------------------------------------------------------------------------------


def refusal(title: str, spec: SampleSpec) -> str | None:
    """Why samples of ``spec`` are no images to an extractor, or None."""
    if not spec.is_image:
        return f"{title} needs images, and samples have shape {list(spec.shape)}"
    if spec.shape[0] not in {1, 3}:
        return f"{title} needs images of one or three channels, and these have {spec.shape[0]}"
    if not spec.bounded:
        return f"{title} needs images whose range is known, and the dataset gives none"
    return None


def as_bytes(x: Tensor, low: float, high: float) -> Tensor:
    """``x [B, 1 or 3, H, W]`` in low..high as float32 [B, 3, H, W] of whole numbers 0..255; NaN stays NaN."""
    scaled = ((x.to(torch.float32) - low) * (255 / (high - low))).round().clamp(0, 255)
    return scaled.expand(-1, 3, -1, -1)


def resized_tf1(x: Tensor, size: int) -> Tensor:
    """``x [B, C, H, W]`` to size x size as TensorFlow 1 did it: bilinear, no antialiasing, pixel i at i H / size.

    Pixel centres do not enter: the first pixel of the result is the first of the input, at every scale.
    """
    for dim in (3, 2):
        n = x.shape[dim]
        at = torch.arange(size, dtype=x.dtype, device=x.device) * torch.tensor(n / size, dtype=torch.float32)
        below = at.long()
        above = (below + 1).clamp(max=n - 1)
        share = (at - below).view(-1, 1) if dim == 2 else at - below
        lower = x.index_select(dim, below)
        x = lower + (x.index_select(dim, above) - lower) * share
    return x


def resized_bicubic(x: Tensor, size: int) -> Tensor:
    """Bytes ``x [B, C, H, W]`` to size x size as Pillow does it: bicubic, antialiased, rounded to bytes each way."""
    for shape in ((x.shape[2], size), (size, size)):  # across, then down
        if x.shape[2:] != shape:
            x = F.interpolate(x, size=shape, mode="bicubic", antialias=True, align_corners=False)
            x = x.round().clamp(0, 255)
    return x


# -- a fitted extractor ------------------------------------------------------------------------------------------------


class Backbone(nn.Module):
    """A pretrained network: bytes [B, 3, H, W] of any size to features [B, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """The features [B, d] of ``x``, in 0..255."""
        raise NotImplementedError


class ImageFeatures:
    """Features [n, d] of images, on the device of the network, a chunk at a time.

    Args:
        backbone: the network, in evaluation mode and without gradients from here on.
        spec: of the samples; None stands for bytes, or for values in [-1, 1].
        title: what messages call the extractor.
        preprocessing: what is done to a sample before the network, in words.
        chunk: images that go through the network at a time.
    """

    def __init__(
        self, backbone: Backbone, spec: SampleSpec | None, *, title: str, preprocessing: str, chunk: int
    ) -> None:
        self.backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.spec, self.title, self.chunk = spec, title, chunk
        self.preprocessing = f"{BYTES}; {preprocessing}"
        self.digest = checksum(backbone.state_dict())[:16]
        """16 hexadecimal digits of the weights: values compare only where these are equal."""

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        low, high = self._range(x)
        device = next(self.backbone.parameters()).device
        # full float32: a GPU would round the inputs of convolutions to ten bits otherwise
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            parts = torch.split(x, self.chunk)
            return torch.cat([self.backbone(as_bytes(part.to(device), low, high)) for part in parts])

    def _range(self, x: Tensor) -> tuple[float, float]:
        """The values that become 0 and 255."""
        if x.ndim != 4 or x.shape[1] not in {1, 3}:
            raise ConfigError(f"{self.title} needs images [n, 1 or 3, height, width], and got {list(x.shape)}")
        if self.spec is not None:
            return self.spec.low, self.spec.high
        if x.dtype == torch.uint8:
            return 0.0, 255.0
        finite = x[torch.isfinite(x)]
        if finite.numel() and float(finite.abs().max()) > 1 + OVERSHOOT:
            raise ConfigError(
                f"{self.title}: without a dataset, images are bytes or values in [-1, 1], "
                f"and these reach {float(finite.abs().max()):g}",
                hint="give them as uint8, or scale them",
            )
        return -1.0, 1.0


class ClassifyingFeatures(ImageFeatures):
    """Features of a network that ends in a linear layer over classes.

    Args:
        backbone: the network.
        head: features [B, d] to logits [B, classes].
        spec: of the samples.
        title: what messages call the extractor.
        preprocessing: what is done to a sample before the network, in words.
        chunk: images that go through the network at a time.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Linear,
        spec: SampleSpec | None,
        *,
        title: str,
        preprocessing: str,
        chunk: int,
    ) -> None:
        super().__init__(backbone, spec, title=title, preprocessing=preprocessing, chunk=chunk)
        self.head = head

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """The logits [n, classes] of ``x [n, channels, height, width]``."""
        logits: Tensor = self.head(self(x))
        return logits


def spec_of(dataset: Dataset | None, title: str) -> SampleSpec | None:
    """The specification of ``dataset``, if there is one.

    Raises:
        ContractError: its samples are no images.
    """
    if dataset is None:
        return None
    spec = dataset.spec()
    if reason := refusal(title, spec):
        raise ContractError(reason)
    return spec
