"""How soon the levels of a factor reach a run's targets, over all cells, and that as tables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganbench.arrivals import MOST, RATIOS, Arrival, clock_of, standings, times_of
from ganbench.compare import rows_of
from ganbench.grouping import facts_by_cell
from ganbench.records import ROLES
from ganbench.table import Column, Entry, Row, Table
from ganbench.targets import column
from ganbench.text import plural
from ganbench.trials import Trial, levels_of, mixed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Arrivals:
    """All levels of a factor on their way to one target.

    Args:
        role: the factor.
        measure: whose target it is.
        target: its value.
        levels: how soon each is there, in the order of the plan.
        blocks: that all levels have; a block is a choice of all other roles under one protocol.
        seeds: of those blocks.
        lacking: blocks that some level lacks, or in which some trial was not evaluated.
        unlike: blocks whose times do not compare: of several machines, engines or numbers of threads.
    """

    role: str
    measure: str
    target: float
    levels: Mapping[str, Arrival]
    blocks: int
    seeds: int
    lacking: int
    unlike: int


def arrivals(records: pd.DataFrame, targets: Mapping[str, float], *, role: str = "regularizer") -> list[Arrivals]:
    """How soon each level of ``role`` reaches each of ``targets``, where two levels or more share a block.

    Measures of several protocols are left out, as by :func:`ganbench.overall.overall`.
    """
    rows = rows_of(records)
    levels = [str(level) for level in levels_of(rows, role)]
    facts = facts_by_cell(rows)
    others = [r for r in ROLES if r != role]
    refused = mixed(rows, targets)
    found = []
    for measure, target in targets.items():
        goal = column(measure, target)
        blocks: dict[tuple[Hashable, ...], dict[str, list[Trial]]] = {}
        for row in rows if measure not in refused and goal in records else ():
            key = (*(row[r] for r in others), *facts[row["cell"]])
            blocks.setdefault(key, {}).setdefault(str(row[role]), []).append(row)
        timed = {key: of for key, of in blocks.items() if any(times_of(t, goal, ()) for t in of.values())}
        whole = {
            key: of
            for key, of in timed.items()
            if all(level in of and times_of(of[level], goal, ()) for level in levels)
        }
        alike = {
            key: of
            for key, of in whole.items()
            if len({clock_of(t) for trials in of.values() for t in trials if t["status"] == "done"}) < 2
        }
        times: list[dict[tuple[Hashable, int], float]] = [
            {(key, seed): s for key, of in alike.items() for (_, seed), s in times_of(of[level], goal, ()).items()}
            for level in levels
        ]
        made = standings(times) if len(levels) > 1 else None
        if made is not None:
            seeds = {seed for _, seed in times[0]}
            lost = (len(timed) - len(whole), len(whole) - len(alike))
            each = dict(zip(levels, made, strict=True))
            found.append(Arrivals(role, measure, target, each, len(alike), len(seeds), *lost))
    return found


def tables_of(found: Sequence[Arrivals], *, run: str = "", profiles: bool = False) -> list[Table]:
    """One table of all targets; with ``profiles`` one more for each."""
    if not found:
        return []
    role = found[0].role
    columns = [
        Column("target", "target", "role", keep=1000),
        Column(role, role, "role", keep=1000),
        Column("area", f"area to ×{MOST:g}", "share", keep=800),  # noqa: RUF001 # times
        Column("first", "first in", "extra", keep=600),
        Column("reached", "reached", "extra", keep=700),
    ]
    rows = []
    for one in found:
        best = max(arrival.area.mean for arrival in one.levels.values())
        for level, arrival in one.levels.items():
            entries: dict[str, Entry] = {
                "target": f"{one.measure} {one.target:g}",
                role: level,
                "area": arrival.area,
                "first": f"{arrival.first}/{arrival.pairs}",
                "reached": f"{arrival.reached}/{arrival.pairs}",
            }
            rows.append(Row(entries, frozenset({"area"} if arrival.area.mean == best > 0 else ())))
    title = f"{run or 'run'}: how soon {role} reaches targets"
    made = [Table(title, {}, tuple(columns), tuple(rows), footers=_about(found))]
    return made + [_profile(one, run) for one in found if profiles]


def _profile(one: Arrivals, run: str) -> Table:
    columns = [Column(one.role, one.role, "role", keep=1000)]
    columns += [Column(f"within_{r:g}", f"≤×{r:g}", "share", keep=400) for r in RATIOS]  # noqa: RUF001 # times
    rows = [
        Row({one.role: level} | {c.name: x for c, x in zip(columns[1:], arrival.profile, strict=True)})
        for level, arrival in one.levels.items()
    ]
    about = (
        "Share of (block, seed) pairs in which a level takes at most so many times the seconds of the fastest level "
        "there; the area is that under it. Intervals: Student's t over whole seeds."
    )
    title = f"{run or 'run'}: profile of seconds to {one.measure} {one.target:g}"
    return Table(title, {}, tuple(columns), tuple(rows), footers=(about,))


def _about(found: Sequence[Arrivals]) -> tuple[str, ...]:
    about = (
        "Area: under the share of (block, seed) pairs in which a level takes at most r times the seconds of training "
        f"of the fastest level there, from r = 1 to {MOST:g}. 1: always the fastest; 0: never within {MOST:g} times, "
        "as a trial that misses or fails. Interval: Student's t over whole seeds."
    )
    said = [about]
    for one in found:
        left = [f"{one.lacking} that some level lacks"] if one.lacking else []
        left += [f"{one.unlike} of several machines, engines or numbers of threads"] if one.unlike else []
        rest = f"; left out: {' and '.join(left)}" if left else ""
        count = f"{one.blocks} {'block' if one.blocks == 1 else 'blocks'}"
        said.append(f"{one.measure} {one.target:g}: {count}, {plural(one.seeds, 'seed')}{rest}.")
    return tuple(said)
