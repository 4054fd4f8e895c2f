"""Comparisons as tables: one for each data set, a section for each measure, and what the numbers are."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ganbench import effects
from ganbench.compare import ALPHA, Comparison
from ganbench.effects import Effect
from ganbench.errors import ResultsError, nearest
from ganbench.stats import Estimate
from ganbench.table import AVERAGED, OK, STEP, Column, Entry, PValue, Row, Table, Tally

ARROWS = {"lower": "↓", "higher": "↑", None: ""}


def tables_of(
    found: Sequence[Comparison], *, run: str = "", left_out: Mapping[str, Sequence[str]] | None = None
) -> list[Table]:
    """A table of ``found`` for each data set, and why measures of it were ``left_out``.

    Raises:
        ResultsError: nothing was found to compare.
    """
    parts: dict[str, list[Comparison]] = {}
    for comparison in found:
        parts.setdefault(comparison.dataset, []).append(comparison)
    why = left_out or {}
    if not parts:
        if why:
            raise ResultsError(
                f"nothing to compare in {run or 'this run'}: {' '.join(t for said in why.values() for t in said)}"
            )
        raise ResultsError(
            f"nothing to compare in {run or 'this run'}: no two cells differ in that role alone, or none has a result",
            hint="name another role with --by, or a second run",
        )
    return [_table(part, run, why.get(dataset, ())) for dataset, part in parts.items()]


def _table(part: Sequence[Comparison], run: str, why: Sequence[str]) -> Table:
    first = part[0]
    blocks = max(c.found.cells for c in part)
    columns = [
        Column("measure", "measure", "role", keep=1000),
        Column(first.role, first.role, "role", keep=1000),
        *(Column(role, role, "role", keep=1000) for role in first.split),
        Column("effect", "effect", "change", keep=700),
        Column("difference", "in units", "change", keep=450),
        Column("p", "p", "test", keep=800),
        Column("flip", "p (flip)", "test", keep=440),
        Column("better_in", "better in", "extra", keep=650),
        Column("improved", "P(better)", "share", keep=400),
        Column("interaction", "against others", "change", keep=690),
        Column("same", "same", "extra", keep=300),
        Column("a12", "A12", "share", keep=AVERAGED),
        Column("correlation", "r", "share", keep=AVERAGED),
        Column("saved", "saved", "share", keep=AVERAGED),
        Column(OK, OK, "ok", keep=500),
    ]
    rows = [Row(_entries(c), note=_note(c)) for c in part]
    shown = [
        c
        for c in columns
        if c.kind in ("role", "ok") or c.name == "p" or any(row.entries.get(c.name) is not None for row in rows)
    ]
    where = ", ".join(x for x in (run, first.dataset) if x)
    over = f", within {blocks} blocks" if blocks > 1 else ""
    return Table(
        title=f"{where}: {first.role} against {first.baseline}{over}",
        constants={},
        columns=tuple(shown),
        rows=tuple(rows),
        footers=(*why, *_footers(part)),
    )


def _entries(c: Comparison) -> dict[str, Entry]:
    e = c.found.effect
    measured = f"{c.measure} {f'({c.unit}) ' if c.unit else ''}{ARROWS[c.better]}".strip()
    compared = c.found.cells if c.better else 0
    return {
        "measure": measured,
        c.role: c.level,
        **c.split,
        "effect": e.tested,
        "difference": e.difference if e.scale == "ratio" else None,
        "p": PValue(c.p, c.flip, c.need),
        "flip": None if c.flip is None else PValue(c.flip),
        "better_in": f"{c.found.better}/{compared}" if compared else None,
        "improved": e.improved,
        "interaction": c.others,
        "same": _same(c),
        "a12": _number(e.a12, e.n),
        "correlation": _number(e.correlation, e.n),
        "saved": _number(e.saved, e.n),
        OK: Tally(c.done, c.total, c.failures),
    }


def _same(c: Comparison) -> str | None:
    if c.same is None:
        return None
    return "yes" if c.same <= ALPHA else "no" if effects.beyond(c.found.effect.difference, c.margin) else "unsure"


def _number(value: float | None, n: int) -> Estimate | None:
    return None if value is None else Estimate(value, None, None, n)


def _note(c: Comparison) -> str:
    said = []
    if c.failures:
        said.append(", ".join(f"{n} {status}" for status, n in c.failures.items()))
    if c.found.failed_baseline:
        said.append(f"{c.found.failed_baseline} of the baseline failed")
    if len(c.found.used) < c.found.cells and (c.found.failed or c.found.failed_baseline):
        said.append(f"means over {len(c.found.used)} of {c.found.cells} blocks")
    return "; ".join(said)


def _footers(part: Sequence[Comparison]) -> list[str]:
    first = part[0]
    seeds = sorted({c.found.effect.n for c in part})
    many = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    about = f"Effect: {first.role} less {first.baseline} in cells that are otherwise equal, averaged within a seed"
    said = [f"{about} first; with its 95 % Student-t interval over {many} seeds."]
    if any(c.found.effect.scale == "ratio" for c in part):
        said.append(
            "%: change of the geometric mean, for positive measures that are better when lower: tested by their logs."
        )
    if tested := [c for c in part if c.need]:
        tests, need = tested[0].tests, tested[0].need
        if any(c.p is not None for c in tested):
            said.append(
                f"p: paired t test, Holm's correction over the {tests} tests of this comparison; (flip): of the exact "
                "sign-flip test, corrected likewise, which beside p stands where the two disagree."
            )
        if any(c.p is None for c in tested):
            said.append(
                f"need {need}: n too small to test; {tests} tests take {need} seeds before an exact test can reject."
            )
    if any(c.measure == STEP and c.found.effect.percent and c.found.effect.difference is None for c in part):
        said.append(
            "Step times: of the timing pass, whose ratios are paired by its rounds; their interval is over these."
        )
    said.append("Better in: blocks with a better mean, a block in which only the level failed is not one.")
    if any(c.same is not None for c in part):
        limits = {c.measure: c.margin for c in part if c.margin is not None}
        bounds = ", ".join(f"{name} ±{limit:.2g}" for name, limit in limits.items())
        said.append(
            "Same: yes where two one-sided tests put the difference within what real samples differ by, no where its "
            f"interval is outside: {bounds}."
        )
    if any(c.others is not None for c in part):
        said.append("Against others: the effect here less that in all other such cells, the interaction; not tested.")
    rs = [c.found.effect.correlation for c in part if c.measure != STEP]
    known = [r for r in rs if r is not None]
    saved = [s for c in part if c.measure != STEP and (s := c.found.effect.saved) is not None]
    if known and saved:
        said.append(
            f"Pairing by seed: correlation r {statistics.median(known):+.2f} (median of {len(known)}); it has "
            + (
                f"saved {statistics.median(saved):.0%} of the variance of a difference."
                if statistics.median(saved) > 0
                else f"saved nothing (cost {-statistics.median(saved):.0%} of variance)."
            )
        )
    said.append(
        "P(better): share of pairs that the level wins, ties one half; A12: of all pairs of seeds. In both a failed "
        "trial is worse than any number; it is not in means."
    )
    return said


def named(found: Sequence[Comparison], measure: str) -> list[tuple[str, Effect, int]]:
    """The comparisons of a measure, each with a name: what a gate looks at.

    Raises:
        ResultsError: it was not compared.
    """
    known = dict.fromkeys(c.measure for c in found)
    if measure not in known:
        raise ResultsError(f"{measure!r} is not compared", place="--fail-on", hint=nearest(measure, known))
    return [
        (
            " · ".join([c.dataset, c.level, *c.split.values()]),
            c.found.effect,
            max(0, c.found.failed - c.found.failed_baseline),
        )
        for c in found
        if c.measure == measure
    ]
