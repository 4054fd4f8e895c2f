"""What names, messages and numbers look like in a page: inert, and to the digits that mean something."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from ganbench.results import Results
from ganbench.runfolder import Planned
from ganbench.stats import Estimate

DASH = "\N{EN DASH}"
"""Stands where there is no value."""
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that reorder a line, and halves of characters: names and messages may have them."""


def inert(value: object) -> str:
    """``value`` without characters that act on their surroundings."""
    return UNSAFE.sub("\N{REPLACEMENT CHARACTER}", str(value))


def esc(value: object) -> str:
    """``value`` as text for HTML, in elements and in quoted attributes."""
    return html.escape(inert(value))


def signed(value: float, places: int) -> str:
    """A number to so many decimal places, with a true minus sign."""
    text = f"{abs(value):,.{places}f}"
    return f"\N{MINUS SIGN}{text}" if value < 0 else text


def plain(value: float) -> str:
    """A number alone: four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return signed(value, min(max(3 - math.floor(math.log10(abs(value))), 0), 6))


def ratio(estimate: Estimate) -> str:
    """A ratio with its interval, as HTML."""
    text = f"× {estimate.mean:.2f}"  # noqa: RUF001 # times
    if estimate.low is None or estimate.high is None:
        return text
    return f'{text} <span class="spread">[{estimate.low:.2f}, {estimate.high:.2f}]</span>'


def by_dataset(results: Results) -> dict[str, list[Planned]]:
    """The cells that are trained, by data set, in the order of the plan."""
    found: dict[str, list[Planned]] = {}
    for cell in results.plan:
        if cell.skip is None:
            found.setdefault(cell.labels.get("dataset", ""), []).append(cell)
    return found


def short_name(cell: Planned, groups: Sequence[Sequence[str]]) -> str:
    """A cell by its labels in the roles that differ, which ``groups`` has together where they go together."""
    return " · ".join(cell.labels.get(roles[0], "") for roles in groups) or cell.labels.get("regularizer", "")
