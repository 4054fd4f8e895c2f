"""Inception of 2015 as Fréchet Inception Distances use it: the network of the TensorFlow release, by local weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Dataset, Extractor, SampleSpec, field, hookimpl
from ganbench_zoo.pretrained import (
    Backbone,
    ClassifyingFeatures,
    fill,
    find_weights,
    read_weights,
    refusal,
    resized_tf1,
    spec_of,
    weights_dir,
    without,
)

if TYPE_CHECKING:
    from ganbench import Cell

TITLE = "extractor inception"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
"""The names under which pytorch-fid and torch-fidelity publish one and the same file."""
SIDE = 299
CHUNK = 32

Kernel: TypeAlias = int | tuple[int, int]
Step: TypeAlias = tuple[str, int, Kernel]
"""Name, output channels and kernel of a convolution."""
Pool: TypeAlias = Literal["average", "max", "shrink"]


class Convolution(nn.Module):
    """relu(batch_norm(conv(x))); the convolution has no bias."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, *, stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches over one input, concatenated along the channels; the last branch pools first.

    Args:
        inputs: channels of the input.
        branches: each a chain of convolutions; a list in a chain is a fork whose outputs are concatenated, and ends it.
        pool: the 3x3 pooling of the last branch: "average" (of the pixels inside the image), "max", or "shrink", a
            maximum of stride 2. With "shrink" the last convolution of every branch has stride 2 and no padding too.
        pooled: channels of the convolution after the pooling; 0 for none.
    """

    def __init__(self, inputs: int, branches: list[list[Step | list[Step]]], pool: Pool, pooled: int) -> None:
        super().__init__()
        self.pool, self.shape = pool, branches
        for branch in branches:
            channels = inputs
            for i, step in enumerate(branch):
                forks = step if isinstance(step, list) else [step]
                for name, outputs, kernel in forks:
                    last = pool == "shrink" and i == len(branch) - 1
                    self.add_module(name, Convolution(channels, outputs, kernel, stride=2 if last else 1, pad=not last))
                channels = sum(outputs for _, outputs, _ in forks)
        if pooled:
            self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for branch in self.shape:
            y = x
            for step in branch:
                forks = step if isinstance(step, list) else [step]
                y = torch.cat([self.get_submodule(name)(y) for name, _, _ in forks], dim=1)
            found.append(y)
        if self.pool == "average":
            y = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        elif self.pool == "max":
            y = F.max_pool2d(x, 3, stride=1, padding=1)
        else:
            y = F.max_pool2d(x, 3, stride=2)
        found.append(self.branch_pool(y) if self.pool != "shrink" else y)
        return torch.cat(found, dim=1)


def _mixed_a(inputs: int, pooled: int) -> Mixed:
    """35 x 35: 1x1, 5x5, twice 3x3, and a pooled branch."""
    return Mixed(
        inputs,
        [
            [("branch1x1", 64, 1)],
            [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
            [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ],
        "average",
        pooled,
    )


def _mixed_c(width: int) -> Mixed:
    """17 x 17: 7x7 as 1x7 and 7x1, once and twice."""
    wide, tall = (1, 7), (7, 1)
    return Mixed(
        768,
        [
            [("branch1x1", 192, 1)],
            [("branch7x7_1", width, 1), ("branch7x7_2", width, wide), ("branch7x7_3", 192, tall)],
            [
                ("branch7x7dbl_1", width, 1),
                ("branch7x7dbl_2", width, tall),
                ("branch7x7dbl_3", width, wide),
                ("branch7x7dbl_4", width, tall),
                ("branch7x7dbl_5", 192, wide),
            ],
        ],
        "average",
        192,
    )


def _mixed_e(inputs: int, pool: Pool) -> Mixed:
    """8 x 8: 3x3 as 1x3 beside 3x1."""
    wide, tall = (1, 3), (3, 1)
    return Mixed(
        inputs,
        [
            [("branch1x1", 320, 1)],
            [("branch3x3_1", 384, 1), [("branch3x3_2a", 384, wide), ("branch3x3_2b", 384, tall)]],
            [
                ("branch3x3dbl_1", 448, 1),
                ("branch3x3dbl_2", 384, 3),
                [("branch3x3dbl_3a", 384, wide), ("branch3x3dbl_3b", 384, tall)],
            ],
        ],
        pool,
        192,
    )


class InceptionNetwork(Backbone):
    """Bytes [B, 3, H, W] to features [B, 2048]; modules carry the names of the published files of weights.

    It differs from the Inception v3 of other libraries as the TensorFlow release does: averages count only pixels
    within the image, the last block pools by the maximum, and there are 1008 classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2, pad=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, pad=False)
        self.Mixed_5b = _mixed_a(192, 32)
        self.Mixed_5c = _mixed_a(256, 64)
        self.Mixed_5d = _mixed_a(288, 64)
        self.Mixed_6a = Mixed(
            288,
            [
                [("branch3x3", 384, 3)],
                [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
            ],
            "shrink",
            0,
        )
        self.Mixed_6b = _mixed_c(128)
        self.Mixed_6c = _mixed_c(160)
        self.Mixed_6d = _mixed_c(160)
        self.Mixed_6e = _mixed_c(192)
        self.Mixed_7a = Mixed(
            768,
            [
                [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)],
                [
                    ("branch7x7x3_1", 192, 1),
                    ("branch7x7x3_2", 192, (1, 7)),
                    ("branch7x7x3_3", 192, (7, 1)),
                    ("branch7x7x3_4", 192, 3),
                ],
            ],
            "shrink",
            0,
        )
        self.Mixed_7b = _mixed_e(1280, "average")
        self.Mixed_7c = _mixed_e(2048, "max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = (resized_tf1(x, SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):  # in the order in which they were made
                x = block(x)
        return x.mean((2, 3))


class Inception(Extractor, name="inception", source="https://arxiv.org/abs/1706.08500"):
    """h(x) [n, 2048], the pooled features of the Inception network behind every published FID.

    Images become bytes, are resized to 299 x 299 as TensorFlow 1 did it (bilinear, without antialiasing), and go in
    as (byte - 128) / 128. Its logits are without the bias of the last layer, as the reference's Inception Score takes
    them. The weights are not part of ganbench: see docs/extractors.md.
    """

    weights: str = field(default="", doc="path of the file of weights; where empty it is looked for")
    sha256: str = field(default=SHA256, doc="what the SHA-256 of that file must be; empty accepts any")

    def mismatch(self, cell: Cell) -> str | None:
        return refusal(TITLE, cell.dataset.spec())

    def missing(self) -> str | None:
        return without(self._path)

    def load(self, dataset: Dataset | None, device: torch.device) -> ClassifyingFeatures:
        spec = spec_of(dataset, TITLE)
        path = self._path()
        network = InceptionNetwork()
        fill(network, read_weights(path, self.sha256, title=TITLE), title=TITLE)
        return fitted(network, spec, device)

    def _path(self) -> Path:
        folders = (weights_dir(), Path(torch.hub.get_dir()) / "checkpoints")
        return find_weights(
            self.weights,
            [folder / file for folder in folders for file in FILES],
            title=TITLE,
            how=f"put {FILES[0]}, which the pytorch-fid project publishes as the release fid_weights, into "
            f"{weights_dir()}, or name its path: {{ use = 'inception', weights = 'PATH' }}",
        )


def fitted(network: InceptionNetwork, spec: SampleSpec | None, device: torch.device) -> ClassifyingFeatures:
    """The extractor with the weights that ``network`` has."""
    head = nn.Linear(2048, 1008, bias=False)
    head.weight = network.fc.weight
    return ClassifyingFeatures(
        network.to(device),
        head,
        spec,
        title=TITLE,
        preprocessing=f"bilinear to {SIDE} x {SIDE} as in TensorFlow 1; (byte - 128) / 128",
        chunk=CHUNK,
    )


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The extractor of this module."""
    return [Inception]
