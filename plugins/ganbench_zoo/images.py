"""Differentiable image operations, with numbers of one sample each as tensors: flips, shifts, masks, colours.

Images are ``x [B, channels, height, width]``. At strength 0 each of the operations gives back the very values it got.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Fill = Literal["zeros", "reflect"]


def per_sample(values: Tensor) -> Tensor:
    """``values [B]`` as [B, 1, 1, 1]."""
    return values[:, None, None, None]


def flipped(x: Tensor, chosen: Tensor) -> Tensor:
    """``x`` with left and right exchanged where ``chosen [B]``."""
    return torch.where(per_sample(chosen), x.flip(3), x)


def turned(x: Tensor, quarters: Tensor) -> Tensor:
    """Square ``x``, turned by ``quarters [B]`` (whole numbers) quarters of a circle."""
    out = x
    for k in (1, 2, 3):
        out = torch.where(per_sample(quarters % 4 == k), x.rot90(k, (2, 3)), out)
    return out


def shifted(x: Tensor, down: Tensor, right: Tensor, fill: Fill) -> Tensor:
    """``x`` moved by whole pixels ``down [B]`` and ``right [B]``; what comes in is zero, or a mirror image."""
    for dim, by in ((2, down), (3, right)):
        n = x.shape[dim]
        shape = (-1, 1, n, 1) if dim == 2 else (-1, 1, 1, n)
        source = (torch.arange(n, device=x.device)[None] - by.long()[:, None]).reshape(shape)
        inside = (source >= 0) & (source < n)
        if fill == "reflect":
            period = max(2 * (n - 1), 1)
            folded = source % period
            source = torch.where(folded < n, folded, period - folded)
        index = source.clamp(0, n - 1).expand(-1, *(x.shape[d] if d != dim else n for d in (1, 2, 3)))
        x = x.gather(dim, index)
        if fill == "zeros":
            x = torch.where(inside, x, 0.0)
    return x


def interpolated(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``x [B, channels, height, width]`` at ``rows`` and ``columns`` [B, ...], bilinear; it goes on for ever.

    It is linear in ``x``, by gathers, so that any derivative exists.
    """
    height, width = x.shape[2:]
    top, left = rows.floor(), columns.floor()
    down, right = rows - top, columns - left
    corners = [
        (r % height * width + c % width, wide * high)
        for r, high in ((top, 1 - down), (top + 1, down))
        for c, wide in ((left, 1 - right), (left + 1, right))
    ]
    index, share = (torch.stack(parts, 1) for parts in zip(*corners, strict=True))  # [B, 4, ...]
    # one gather for all corners: each has a whole image of zeros in its derivative
    read = x.flatten(2).gather(2, index.long().flatten(1)[:, None].expand(-1, x.shape[1], -1))
    return (read.reshape(*x.shape[:2], *share.shape[1:]) * share[:, None]).sum(2)


def mirrored(position: Tensor, n: int) -> Tensor:
    """Positions on a line of ``n`` pixels, folded back into [0, n - 1]."""
    period = max(2 * (n - 1), 1)
    folded = position % period
    return torch.where(folded <= n - 1, folded, period - folded)


def covered(x: Tensor, down: Tensor, right: Tensor, side: Tensor) -> Tensor:
    """``x`` with zeros in a rectangle about ``down`` and ``right``, of ``side``, all [B] and shares of the sides.

    A pixel is in it if its middle is nearer than half the rectangle's sides.
    """
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device, dtype=x.dtype) + 0.5) / height - down[:, None]
    columns = (torch.arange(width, device=x.device, dtype=x.dtype) + 0.5) / width - right[:, None]
    near_rows, near_columns = rows.abs() < side[:, None] / 2, columns.abs() < side[:, None] / 2
    return torch.where((near_rows[:, :, None] & near_columns[:, None, :])[:, None], 0.0, x)


def cut(x: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """``x`` with zeros in a window of ``size`` whose first row and column are ``top [B]`` and ``left [B]``."""
    rows = torch.arange(x.shape[2], device=x.device)[None] - top[:, None]
    columns = torch.arange(x.shape[3], device=x.device)[None] - left[:, None]
    in_rows, in_columns = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
    return torch.where((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0, x)


def brightened(x: Tensor, by: Tensor) -> Tensor:
    """``x + by``, one number of ``by [B]`` for each sample."""
    return x + per_sample(by)


def contrasted(x: Tensor, extra: Tensor, middle: Tensor | float = 0.0) -> Tensor:
    """``x + extra (x - middle)``, with ``extra [B]``: the distance from ``middle`` times 1 + extra."""
    return x + per_sample(extra) * (x - middle)


def saturated(x: Tensor, extra: Tensor) -> Tensor:
    """``x + extra (x - m)``, with ``extra [B]`` and m the mean over the channels of a pixel."""
    return contrasted(x, extra, x.mean(1, keepdim=True))


def inverted(x: Tensor, chosen: Tensor) -> Tensor:
    """``x`` with the mean over the channels of each pixel negated where ``chosen [B]``: dark becomes bright."""
    return torch.where(per_sample(chosen), x - 2 * x.mean(1, keepdim=True), x)


def hued(x: Tensor, angle: Tensor) -> Tensor:
    """Colours ``x [B, 3, ...]`` turned by ``angle [B]`` about the grey axis (1, 1, 1)."""
    grey = x.mean(1, keepdim=True)
    across = (x.roll(1, 1) - x.roll(-1, 1)) / 3**0.5  # the cross product of the axis and the colour
    return x + per_sample(angle.cos() - 1) * (x - grey) + per_sample(angle.sin()) * across
