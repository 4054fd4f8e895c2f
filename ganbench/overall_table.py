"""The levels of a factor over all cells as tables: one of all measures, and their profiles."""

from __future__ import annotations

from collections.abc import Sequence

from ganbench.overall import Overall, Place
from ganbench.stats import Estimate
from ganbench.table import AVERAGED, OK, Column, Entry, PValue, Row, Table, Tally

MINUS = "\N{MINUS SIGN}"
ARROWS = {"lower": "↓", "higher": "↑", None: ""}


def tables_of(
    found: Sequence[Overall], *, run: str = "", profiles: bool = False, left_out: Sequence[str] = ()
) -> list[Table]:
    """A table of all measures, and why others were ``left_out``; with ``profiles`` one more for each that has any."""
    made = [_table(found, run, left_out)]
    if profiles:
        made += [_profile(s, run) for s in found if s.thresholds]
    return made


def _table(found: Sequence[Overall], run: str, why: Sequence[str]) -> Table:
    role, base = found[0].role, found[0].baseline
    columns = [
        Column("measure", "measure", "role", keep=1000),
        Column(role, role, "role", keep=1000),
        Column("rank", "mean rank", "share", keep=700),
        Column("iqm", "IQM", "change", keep=600),
        Column("improved", "P(better)", "share", keep=550),
        Column("a12", "A12", "share", keep=AVERAGED),
        Column("better_in", "better/worse in", "extra", keep=500),
        Column("p", "p", "test", keep=450),
        Column(OK, OK, "ok", keep=800),
    ]
    rows = []
    for s in found:
        named = f"{s.measure} {f'({s.unit}) ' if s.unit else ''}{ARROWS[s.better]}".strip()
        least = min(level.rank.mean for level in s.levels)
        rows += [_row(s, level, named, least) for level in s.levels]
    return Table(
        title=f"{run or 'run'}: {role} over all cells, against {base}",
        constants={},
        columns=tuple(columns),
        rows=tuple(rows),
        footers=(*why, *_footers(found)),
    )


def _row(s: Overall, level: Place, named: str, least: float) -> Row:
    itself = level.level == s.baseline
    entries: dict[str, Entry] = {
        "measure": named,
        s.role: level.level,
        "rank": level.rank,
        "iqm": level.iqm,
        "improved": level.improved,
        "a12": None if level.a12 is None else Estimate(level.a12, None, None, s.seeds),
        "better_in": None if itself else f"{level.better}/{level.worse} of {s.blocks}",
        "p": None if itself else PValue(level.p, need=s.need),
        OK: Tally(level.done, level.total, level.failures),
    }
    best = frozenset({"rank"} if level.rank.mean == least and len(s.levels) > 1 else ())
    return Row(entries, best, note=", ".join(f"{n} {status}" for status, n in level.failures.items()))


def _profile(s: Overall, run: str) -> Table:
    """Shares of trials at least as good as each threshold."""
    sign = "≤" if s.better == "lower" else "≥"
    mark = "×" if s.scale == "ratio" else ""  # noqa: RUF001 # times
    columns = [Column(s.role, s.role, "role", keep=1000)]
    # the middle thresholds say most
    middle = (len(s.thresholds) - 1) / 2
    columns += [
        Column(f"at_{t:g}", _bound(t, sign, mark), "share", keep=int(400 - 10 * abs(i - middle)))
        for i, t in enumerate(s.thresholds)
    ]
    rows = [
        Row({s.role: level.level} | {c.name: x for c, x in zip(columns[1:], level.profile, strict=True)})
        for level in s.levels
    ]
    what = "over" if s.scale == "ratio" else "less"
    about = (
        f"Share of all trials whose {s.measure}, {what} the mean of {s.baseline} in the same block, is at least as "
        "good as the bound; a failure never is. Intervals: as those of the IQM."
    )
    return Table(f"{run or 'run'}: profile of {s.measure}", {}, tuple(columns), tuple(rows), footers=(about,))


def _bound(threshold: float, sign: str, mark: str) -> str:
    number = f"{threshold:g}" if mark else f"{threshold:+g}"
    return f"{sign}{mark}{number.replace('-', MINUS)}"  # a hyphen is where a line may end


def _footers(found: Sequence[Overall]) -> list[str]:
    shapes = {(s.blocks, s.seeds, s.left_out, s.datasets) for s in found}
    said = []
    for blocks, seeds, left_out, datasets in sorted(shapes):
        names = [
            s.measure
            for s in found
            if (s.blocks, s.seeds, s.left_out, s.datasets) == (blocks, seeds, left_out, datasets)
        ]
        where = "" if len(shapes) == 1 else f"{', '.join(names)}: "
        rest = f"; {left_out} more, which some level lacks, are left out" if left_out else ""
        said.append(
            f"{where}{blocks} blocks (cells that differ in {found[0].role} alone) of {', '.join(datasets)}, with "
            f"{seeds} {'seeds' if seeds > 1 else 'seed'} that all levels have{rest}."
        )
    said.append(
        "Mean rank: within each block and seed, 1 is best, failures last; interval by resampled blocks, from six on."
    )
    if ps := [f"{s.measure} {s.friedman:.2g}" for s in found if s.friedman is not None]:
        said.append(f"Friedman's p that all levels rank alike: {', '.join(ps)}.")
    else:
        said.append("Friedman's test that all levels rank alike takes five blocks.")
    said.append(
        "IQM: mean of the middle half of all (block, seed) values over the baseline's mean in the block (less it, for "
        "measures that are not positive and better when lower), against that of the baseline; interval by Student's t "
        "with the deviation over resampled seeds, the same for all levels and blocks, from 20 values on. It is none "
        "where too many failed."
    )
    said.append(
        "P(better): share of pairs with the baseline that the level wins, ties one half, with Wilson's interval for as "
        "many draws as seeds; A12: of all pairs of seeds. A failure is worse than any number."
    )
    tests, need = found[0].tests, found[0].need
    said.append(
        f"p: Wilcoxon's signed-rank test over blocks, Holm's correction over {tests} tests; need {need}: with fewer "
        "blocks than that none of them could reject."
    )
    return said
