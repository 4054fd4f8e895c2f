"""Tensors on their way from the host to a device, for which neither waits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``.

    From the host to a GPU it goes from pinned memory: the copy takes its turn in the queue of the GPU and the host goes
    on. torch gives pinned memory out again only when the copies from it are done.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def stacked(tensors: Sequence[Tensor], dim: int, device: torch.device) -> Tensor:
    """``tensors`` with a new axis ``dim``, on ``device``: one copy for all of them."""
    first = tensors[0]
    if device.type != "cuda" or first.device.type != "cpu":
        return torch.stack(list(tensors), dim).to(device)
    shape = [*first.shape[:dim], len(tensors), *first.shape[dim:]]
    held = torch.empty(shape, dtype=first.dtype, pin_memory=True)
    return torch.stack(list(tensors), dim, out=held).to(device, non_blocking=True)
