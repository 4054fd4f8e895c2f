"""Distances between rows, in tiles: nearest neighbours and balls, without ever holding an n x m matrix.

All distances here are squared. Rows of up to 16 values are compared by differences in float64. Above, tiles are
``|x|^2 + |y|^2 - 2 x.y`` about a common centre, which is fast and loses digits; every decision that rounding could
turn (a distance against a radius, one neighbour against the next) is taken again from differences in float64.
So equal distances compare as equal, and the results are those of float64 whatever made the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DIRECT_UP_TO = 16
"""Dimension up to which a distance is a sum of squared differences, not a matrix product."""
TILE = 2**22
"""Distances held at a time, in numbers."""
SINGLE_FROM = 2**27
"""Multiplications (n m d) from which float32 rows make float32 tiles."""
SPARE = 3
"""Neighbours kept beyond the k-th, so that rounding cannot hide the true one."""
RECHECK = 2**20
"""Pairs whose distance is taken again at a time, divided by the dimension."""


class Tile(NamedTuple):
    """Squared distances of rows ``top..`` of x to rows ``left..`` of y, good to ``+- slack``."""

    top: int
    left: int
    squares: Tensor
    slack: float


class Inside(NamedTuple):
    """Balls and points: how many balls hold each point, and how many points each ball holds."""

    of_points: Tensor
    of_balls: Tensor


def tiles(x: Tensor, y: Tensor, *, symmetric: bool = False) -> Iterator[Tile]:
    """Squared distances of x [n, d] and y [m, d], tile by tile; ``symmetric`` (y is x): none below the diagonal."""
    n, d = x.shape
    m = len(y)
    side = max(1, math.isqrt(TILE))
    height, width = (min(n, max(1, TILE // max(m, 1))), m) if m <= side else (min(n, side), side)
    if symmetric:
        height = width = min(n, side)
    exact = d <= DIRECT_UP_TO
    single = x.dtype == y.dtype == torch.float32 and n * m * d >= SINGLE_FROM and not exact
    kind = torch.float32 if single else torch.float64
    centre = _mean(y)
    far = 0.0
    if not exact:
        far = max(_greatest_norm(x, centre), _greatest_norm(y, centre))
    # what a product of d terms loses, generously
    slack = 0.0 if exact else 4 * far * torch.finfo(kind).eps * (4 + math.sqrt(d))
    for top in range(0, n, height):
        rows = _shifted(x[top : top + height], centre, kind)
        of_rows = rows.square().sum(1)
        for left in range(top if symmetric else 0, m, width):
            columns = rows if symmetric and left == top else _shifted(y[left : left + width], centre, kind)
            if exact:
                squares = torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist").square_()
            else:
                squares = (rows @ columns.T).mul_(-2).add_(columns.square().sum(1)).add_(of_rows[:, None])
            yield Tile(top, left, squares, slack)


def differences(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """|x_i - y_j|^2 in float64, from differences, for index vectors i and j of one length."""
    step = max(1, RECHECK // max(1, x.shape[1]))
    parts = [
        (x[a].double() - y[b].double()).square().sum(1)
        for a, b in zip(torch.split(i, step), torch.split(j, step), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64, device=x.device)


def nearest(x: Tensor, y: Tensor, k: int = 1, *, others: bool = False) -> tuple[Tensor, Tensor]:
    """Squared distance [n] of each row of x to its k-th nearest row of y, in float64, and the place [n] of that row.

    With ``others``, y is x and a row is no neighbour of itself; its duplicates are, at distance 0.
    """
    return several(x, y, [k], others=others)[0]


def several(x: Tensor, y: Tensor, ks: Sequence[int], *, others: bool = False) -> list[tuple[Tensor, Tensor]]:
    """:func:`nearest` for each k of ``ks``, from the same distances."""
    n = len(x)
    kept = min(max(ks) + SPARE, len(y) - others)
    best = torch.full((n, kept), math.inf, dtype=torch.float64, device=x.device)
    place = torch.zeros(n, kept, dtype=torch.int64, device=x.device)

    def merge(start: int, left: int, squares: Tensor) -> None:
        found = squares.topk(min(kept, squares.shape[1]), dim=1, largest=False)
        rows = slice(start, start + len(squares))
        values = torch.cat([best[rows], found.values.to(best.dtype)], 1)
        places = torch.cat([place[rows], found.indices + left], 1)
        chosen = values.topk(kept, dim=1, largest=False, sorted=True)
        best[rows], place[rows] = chosen.values, places.gather(1, chosen.indices)

    slack = 0.0
    for tile in tiles(x, y, symmetric=others):
        slack = tile.slack
        if others and tile.top == tile.left:
            tile.squares.fill_diagonal_(math.inf)
        merge(tile.top, tile.left, tile.squares)
        if others and tile.top != tile.left:
            merge(tile.left, tile.top, tile.squares.T)
    return [_settled(x, y, k, best, place, slack) for k in ks]


def _settled(x: Tensor, y: Tensor, k: int, best: Tensor, place: Tensor, slack: float) -> tuple[Tensor, Tensor]:
    """The k-th of the candidates ``best`` and ``place`` [n, kept], in order of distances good to ``slack``, exactly."""
    n, kept = best.shape
    last = place[:, k - 1]
    exact = differences(x, y, torch.arange(n, device=x.device), last)
    # where another candidate is as near to rounding, all of the row are measured again
    margin = 2 * slack + 8 * torch.finfo(best.dtype).eps * best[:, k - 1 : k]
    unsure = ((best - best[:, k - 1 : k]).abs() <= margin).sum(1) > 1
    if (rows := unsure.nonzero().squeeze(1)).numel():
        again = differences(x, y, rows.repeat_interleave(kept), place[rows].flatten()).reshape(-1, kept)
        order = again.sort(dim=1, stable=True)
        exact[rows] = order.values[:, k - 1]
        last = last.index_put((rows,), place[rows].gather(1, order.indices)[:, k - 1])
    return exact, last


class Balls(NamedTuple):
    """A question to :func:`counted`: squared radii of balls about y [m], and of those about x [n] where asked."""

    of_y: Tensor
    of_x: Tensor | None = None
    strict: bool = False


def inside(points: Tensor, balls: Tensor, radii: Tensor, *, strict: bool) -> Inside:
    """How many of the balls about ``balls [m, d]``, of squared radii [m], hold each of ``points [n, d]``, and back.

    A point on the rim is inside unless ``strict``.
    """
    return counted(points, balls, [Balls(radii, strict=strict)])[0][0]


def counted(x: Tensor, y: Tensor, questions: Sequence[Balls]) -> list[tuple[Inside, Inside]]:
    """For each question the points x [n, d] in the balls about y [m, d], and the points y in those about x, if asked.

    All from the same distances, so that they cost little more than one.
    """
    counts = [[torch.zeros(len(z), dtype=torch.int64, device=x.device) for z in (x, y, y, x)] for _ in questions]
    for tile in tiles(x, y):
        rows = slice(tile.top, tile.top + tile.squares.shape[0])
        columns = slice(tile.left, tile.left + tile.squares.shape[1])
        for asked, into in zip(questions, counts, strict=True):
            hits = _within(tile, x, y, asked.of_y[None, columns], strict=asked.strict)
            into[0][rows] += hits.sum(1)
            into[1][columns] += hits.sum(0)
            if asked.of_x is not None:
                hits = _within(tile, x, y, asked.of_x[rows, None], strict=asked.strict)
                into[2][columns] += hits.sum(0)
                into[3][rows] += hits.sum(1)
    return [(Inside(c[0], c[1]), Inside(c[2], c[3])) for c in counts]


def _within(tile: Tile, x: Tensor, y: Tensor, reach: Tensor, *, strict: bool) -> Tensor:
    """Whether each distance of a tile is within ``reach``, that of its row [h, 1] or of its column [1, w]."""
    squares = tile.squares
    limit = reach.to(squares.dtype)
    margin = tile.slack + 8 * torch.finfo(squares.dtype).eps * limit
    surely = squares < limit - margin
    unsure = (squares <= limit + margin) & ~surely
    if not bool(unsure.any()):
        return surely
    if not tile.slack and not bool(reach.any()):  # without either, every distance is 0, exactly
        return surely if strict else squares <= limit
    i, j = unsure.nonzero(as_tuple=True)
    exact, wide = differences(x[tile.top :], y[tile.left :], i, j), reach.expand(squares.shape)[i, j]
    surely[i, j] = exact < wide if strict else exact <= wide
    return surely


def _mean(x: Tensor) -> Tensor:
    """The mean row [d] in float64, without a copy of x in float64."""
    total: Tensor = x.sum(0, dtype=torch.float64) / max(1, len(x))
    return total


def _shifted(x: Tensor, centre: Tensor, kind: torch.dtype) -> Tensor:
    """X about a point near the centre: any common shift leaves distances as they are."""
    return x.to(kind) - centre.to(kind)


def _greatest_norm(x: Tensor, centre: Tensor) -> float:
    """max_i |x_i - centre|^2."""
    step = max(1, RECHECK // max(1, x.shape[1]))
    return max(((part.double() - centre).square().sum(1).max().item() for part in torch.split(x, step)), default=0.0)
