"""DINOv2 and CLIP, as the transformers library loads them from a folder or its local cache, never from a network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganbench import Component, ConfigError, Dataset, Extractor, SampleSpec, field, hookimpl
from ganbench_zoo.pretrained import Backbone, ImageFeatures, lacking, library_of, refusal, resized_bicubic, spec_of

if TYPE_CHECKING:
    from ganbench import Cell

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, of 1: DINOv2's."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CHUNK = 32
INSTALL = "pip install 'ganbench[transformers]'"


class Vision(Backbone):
    """Bytes [B, 3, H, W] to the output ``what`` [B, d] of a network of transformers that sees ``side`` x ``side``.

    Args:
        network: called with ``pixel_values``.
        what: the field of its answer that is the feature.
        side: pixels.
        statistics: mean and standard deviation that the network was trained with.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, what: str, side: int, statistics: tuple[tuple[float, ...], tuple[float, ...]]
    ) -> None:
        super().__init__()
        self.network, self.what, self.side = network, what, side
        for name, values in zip(("mean", "std"), statistics, strict=True):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (resized_bicubic(x, self.side) - self.mean) / self.std
        features: Tensor = getattr(self.network(pixel_values=x), self.what)
        return features


class DINOv2(Extractor, name="dinov2", source="https://arxiv.org/abs/2304.07193"):
    """h(x) [n, d], the class token of DINOv2 after its last normalization: 1024 features for the default, ViT-L/14.

    Images become bytes, are resized to ``side`` x ``side`` (bicubic, antialiased), and are standardized with
    ImageNet's mean and deviation. The weights are not part of ganbench: see docs/extractors.md.
    """

    weights: str = field(
        default="facebook/dinov2-large", doc="a folder with config.json and weights, or a name in the local cache"
    )
    side: int = field(default=224, ge=14, doc="pixels along a side of what the network sees; a multiple of 14")

    def mismatch(self, cell: Cell) -> str | None:
        return refusal("extractor dinov2", cell.dataset.spec())

    def missing(self) -> str | None:
        return _missing(self.weights, "extractor dinov2")

    def load(self, dataset: Dataset | None, device: torch.device) -> ImageFeatures:
        title = "extractor dinov2"
        spec = spec_of(dataset, title)
        network = _load("Dinov2Model", self.weights, title)
        return _fitted(Vision(network, "pooler_output", self.side, IMAGENET), spec, device, title)


class CLIPVision(Extractor, name="clip", source="https://arxiv.org/abs/2103.00020"):
    """h(x) [n, d], the image embedding of CLIP, not normalized: 768 features for the default, ViT-L/14 at 336 pixels.

    Images become bytes, are resized to the side that the weights were trained with (bicubic, antialiased), and are
    standardized with CLIP's mean and deviation. The weights are not part of ganbench: see docs/extractors.md.
    """

    weights: str = field(
        default="openai/clip-vit-large-patch14-336",
        doc="a folder with config.json and weights, or a name in the local cache",
    )

    def mismatch(self, cell: Cell) -> str | None:
        return refusal("extractor clip", cell.dataset.spec())

    def missing(self) -> str | None:
        return _missing(self.weights, "extractor clip")

    def load(self, dataset: Dataset | None, device: torch.device) -> ImageFeatures:
        title = "extractor clip"
        spec = spec_of(dataset, title)
        network = _load("CLIPVisionModelWithProjection", self.weights, title)
        return _fitted(Vision(network, "image_embeds", int(network.config.image_size), CLIP), spec, device, title)


def _missing(weights: str, title: str) -> str | None:
    """What can be said to be missing without importing the library, which takes seconds."""
    folder = Path(weights).expanduser()
    # where a path is meant, the library would take it for a name and complain about its form
    if (folder.is_absolute() or weights.startswith((".", "~"))) and not (folder / "config.json").is_file():
        return f"{title}: there is no config.json in {weights!r}; name a folder that holds it and model.safetensors"
    return lacking("transformers", title=title, how=INSTALL)


def _load(kind: str, weights: str, title: str) -> Any:
    """The network of class ``kind`` with ``weights``, from this machine alone, in float32.

    Raises:
        ConfigError: transformers is not installed, or the weights are not there or are of another network.
    """
    how = (
        "name a folder that holds config.json and model.safetensors, { use = ..., weights = 'FOLDER' }, or fetch it "
        f"beforehand: hf download {weights}"
    )
    if reason := _missing(weights, title):
        raise ConfigError(reason)
    folder = Path(weights).expanduser()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    library = library_of("transformers", title=title, how=INSTALL)
    place = str(folder) if folder.is_dir() else weights
    try:
        network, found = getattr(library, kind).from_pretrained(
            place, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{title}: no weights {weights!r} on this machine: {reason}", hint=how) from error
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"{title}: {weights!r} holds another network: {len(missing)} tensors are missing",
            hint=f"the first is {missing[0]!r}",
        )
    return network


def _fitted(network: Vision, spec: SampleSpec | None, device: torch.device, title: str) -> ImageFeatures:
    side = network.side
    return ImageFeatures(
        network.to(device),
        spec,
        title=title,
        preprocessing=f"bicubic, antialiased, to {side} x {side}; standardized by channel",
        chunk=CHUNK,
    )


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The extractors of this module."""
    return [DINOv2, CLIPVision]
