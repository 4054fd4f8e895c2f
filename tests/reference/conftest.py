"""The libraries compared with import torchvision, whose operators may be compiled for another torch than this one."""

from __future__ import annotations

import sys

import pytest
import torch

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@pytest.fixture(scope="session", autouse=True)
def torchvision():
    """torchvision, whose operators are declared if its own library did not load: nothing here calls one."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in OPERATORS:
            library.define(operator)
        import torchvision

        yield torchvision
        del library
    else:
        yield torchvision
