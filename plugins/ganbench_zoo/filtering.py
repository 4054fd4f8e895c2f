"""Images through filters, mirrored at the edge: amplified bands, and resampling without aliases.

Images are ``x [B, channels, height, width]``. Filters are matrices from both sides, linear in x, so that any derivative
exists and vmap needs no grouped convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganbench_zoo.images import interpolated, mirrored


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    """``x`` through the zero-phase filter ``taps [B, 2 r + 1]`` of each sample, along rows and along columns."""
    for dim in (2, 3):
        n = x.shape[dim]
        at = torch.arange(n, device=x.device)
        offsets = torch.arange(taps.shape[1], device=x.device) - taps.shape[1] // 2
        # [taps, n, n]: which pixel, mirrored at the edge, each tap of each pixel reads
        reads = _reads(at - offsets[:, None], n).to(x.dtype)
        matrix = (taps @ reads.flatten(1)).reshape(-1, 1, n, n)
        x = matrix @ x if dim == 2 else x @ matrix.mT
    return x


def resampled(x: Tensor, source: Tensor, low: Tensor) -> Tensor:
    """``x`` seen through a map of the plane: pixel p from the centre shows what was at A p + b, ``source [B, 2, 3]``.

    x is upsampled twice by the low-pass filter ``low [n]`` (of sum 1), read between its pixels bilinearly, and
    downsampled by the mirror image of the filter. Under the identity, an orthogonal filter gives back x. p is (right,
    down) in pixels; beyond its edge x is a mirror image.
    """
    height, width = x.shape[2:]
    fine = upsampling(height, low) @ x @ upsampling(width, low).mT
    margin = (len(low) + 1) // 2
    rows, columns = (torch.arange(-margin, 2 * n + margin, device=x.device, dtype=x.dtype) for n in (height, width))
    down, right = ((at - (n - 1)) / 2 for at, n in ((rows, height), (columns, width)))
    at_right, at_down = (
        row[:, 0, None, None] * right + row[:, 1, None, None] * down[:, None] + row[:, 2, None, None]
        for row in source.unbind(1)
    )
    seen = interpolated(fine, 2 * at_down + height - 1, 2 * at_right + width - 1)
    return downsampling(height, low) @ seen @ downsampling(width, low).mT


def upsampling(n: int, low: Tensor) -> Tensor:
    """[period, n]: one period of a line of ``n`` pixels, mirrored for ever, at twice its resolution.

    u[m] = 2 sum_k low[k] x[i] over k with m + c - k = 2 i, with c = (len(low) - 1) // 2: pixel i is at m = 2 i, as
    filters that are delayed by c have it.
    """
    m = torch.arange(max(4 * (n - 1), 1), device=low.device)
    at = m + (len(low) - 1) // 2 - torch.arange(len(low), device=low.device)[:, None]
    reads = _reads(at.div(2, rounding_mode="floor"), n) & (at % 2 == 0)[..., None]
    return 2 * (low @ reads.to(low.dtype).flatten(1)).reshape(-1, n)


def downsampling(n: int, low: Tensor) -> Tensor:
    """[n, 2 (n + margin)]: y[i] = sum_k low[k] v[2 i + k - c]; v begins ``margin``, (len(low) + 1) // 2, before 0."""
    margin, delay = (len(low) + 1) // 2, (len(low) - 1) // 2
    at = 2 * torch.arange(n, device=low.device) - delay + torch.arange(len(low), device=low.device)[:, None]
    places = torch.arange(-margin, 2 * n + margin, device=low.device)
    return (low @ (at[..., None] == places).to(low.dtype).flatten(1)).reshape(n, -1)


def _reads(at: Tensor, n: int) -> Tensor:
    """[..., n]: whether a whole position, folded back at the mirrors of a line of ``n`` pixels, is each of them."""
    return mirrored(at, n)[..., None] == torch.arange(n, device=at.device)
