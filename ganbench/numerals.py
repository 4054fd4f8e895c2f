"""Entries as text: estimates with the decimals their uncertainty allows, headers, and what all rows share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ganbench.stats import Estimate, Percent
from ganbench.table import Column, Entry, Table
from ganbench.text import printable

NOTHING = "–"  # noqa: RUF001 # an en dash is meant: a minus would look like a number
REAL = "real vs real"


@dataclass(frozen=True)
class Number:
    """An estimate as text, ``12.3`` and ``±0.4`` or ``+0.5-0.3``.

    ``extra``: how many characters more than its column's the mean has.
    """

    mean: str
    half: str = ""
    extra: int = 0


def numbers(estimates: Sequence[Estimate | None], *, short: bool = False) -> list[Number | None]:
    """One column of estimates with one number of decimals, so that points stand below each other.

    The typical half-width decides: two significant digits if they begin with 1 or 2, else one, as physicists print
    uncertainties. Without half-widths means get three significant digits. A mean that is too small for that has more
    decimals. ``short``: of an interval that is not symmetric, only the longer side, after a plus-minus sign.
    """
    given = [e for e in estimates if e is not None]
    halves = sorted(e.half for e in given if e.half)
    means = sorted(abs(e.mean) for e in given if e.mean)
    if halves:
        decimals = _decimals(halves[len(halves) // 2])
    else:
        decimals = 2 - math.floor(math.log10(means[len(means) // 2])) if means else 1
    decimals = min(max(decimals, 0), 6)
    return [None if e is None else _number(e, decimals, short=short) for e in estimates]


def _decimals(half: float) -> int:
    power = math.floor(math.log10(half))
    return (half / 10.0**power < 3) - power


def _number(estimate: Estimate, decimals: int, *, short: bool) -> Number:
    size, half = abs(estimate.mean), estimate.half
    more = decimals
    if 0 < size < (2 if half else 10) * 10**-decimals:  # one digit or none would be left
        digits = -math.floor(math.log10(size))
        more = max(decimals, min(_decimals(half), digits + 2) if half else digits + 1)
    if size >= 1e7 or more > 6:
        return Number(_scientific(estimate.mean), _spread(estimate, _scientific, short=short))
    extra = more - decimals + (decimals == 0 and more > 0)
    return Number(f"{estimate.mean:.{more}f}", _spread(estimate, f"{{:.{more}f}}".format, short=short), extra)


def _spread(estimate: Estimate, text: Callable[[float], str], *, short: bool) -> str:
    """``±0.4`` if the interval is symmetric in what is shown of it, else ``+0.5-0.3``."""
    if estimate.low is None or estimate.high is None:
        return ""
    up, down = text(estimate.high - estimate.mean), text(estimate.mean - estimate.low)
    if short:
        return f"±{text(max(estimate.high - estimate.mean, estimate.mean - estimate.low))}"
    return f"±{up}" if up == down else f"+{up}-{down}"


def _scientific(x: float) -> str:
    mantissa, _, power = f"{x:.1e}".partition("e")
    return f"{mantissa}e{int(power)}"


def estimates_of(table: Table, column: Column) -> list[Estimate | None]:
    """The column's entries, then its floor."""
    entries = [row.entries.get(column.name) for row in table.rows]
    floor = None if column.floor is None else Estimate(column.floor, None, None, 1)
    return [*(e if isinstance(e, Estimate) else None for e in entries), floor]


def column_numbers(table: Table, column: Column, *, short: bool = False) -> list[Number | None]:
    """The column's numbers; times stand without intervals, for which their ratios are there."""
    estimates = estimates_of(table, column)
    if column.kind == "time":
        estimates = [None if e is None else Estimate(e.mean, None, None, e.n) for e in estimates]
    return numbers(estimates, short=short)


def fixed_labels(table: Table) -> list[str]:
    """What all rows share."""
    return named_labels({role: label for role, label in table.constants.items() if role != "dataset"})


def named_labels(labels: Mapping[str, str]) -> list[str]:
    """``generator/discriminator mlp``, ``loss hinge``: roles with their labels, equal networks once."""
    roles: dict[str, str] = {}
    both = labels.get("generator"), labels.get("discriminator")
    for role, label in labels.items():
        if both[0] != both[1] or role not in ("generator", "discriminator"):
            roles[role] = label
        elif role == "generator":
            roles["generator/discriminator"] = label
    return [f"{role} {label}" for role, label in roles.items()]


def _arrow(column: Column) -> str:
    if column.kind != "measure" or column.better is None:
        return ""
    return "↓" if column.better == "lower" else "↑"


def header_of(column: Column) -> str:
    """The header of a column with its unit, and an arrow where one way is better."""
    unit = f" ({column.unit})" if column.unit and column.kind == "measure" else ""
    return printable(f"{column.header}{unit} {_arrow(column)}".strip())


def ratio_text(entry: Estimate | None, *, short: bool) -> str:
    """``1.50 [1.40, 1.60]``, or ``1.50`` if ``short``."""
    if entry is None:
        return NOTHING
    if entry.low == entry.high == entry.mean == 1:  # the baseline itself
        return "1" if short else "1".ljust(14)
    text = f"{entry.mean:.2f}"
    if short or entry.low is None or entry.high is None:
        return text if short else text + " " * 13
    return text + f" [{entry.low:.2f}, {entry.high:.2f}]".ljust(13)


def change_text(estimate: Estimate | None, kind: str) -> str:
    """``-0.12 [-0.30, 0.06]`` with the decimals that the interval allows; with a percent sign for that kind.

    A share has two decimals and no sign.
    """
    if estimate is None:
        return NOTHING
    percent = kind == "percent" or isinstance(estimate, Percent)
    sign, mark = ("", "") if kind == "share" else ("+", " %" if percent else "")
    half = estimate.half
    if estimate.mean == half == 0:
        return "0"  # in all seeds
    decimals = (
        2 if kind == "share" else _decimals(half) if half else 1 - math.floor(math.log10(abs(estimate.mean) or 1))
    )
    decimals = max(0, decimals)
    if decimals > 6 or abs(estimate.mean) >= 1e6:
        shown = [f"{x:{sign}.1e}" for x in (estimate.mean, estimate.low, estimate.high) if x is not None]
    else:
        shown = [f"{x:{sign}.{decimals}f}" for x in (estimate.mean, estimate.low, estimate.high) if x is not None]
    shown = [x if float(x) else x.lstrip("+-") for x in shown]
    return f"{shown[0]}{mark}" + (f" [{shown[1]}, {shown[2]}]" if len(shown) == 3 else "")


def entry_text(entry: Entry) -> str:
    """An entry that is no estimate."""
    return NOTHING if entry is None else str(entry)
