"""Two runs against each other: the same cells and seeds, before and after a change of code, machine or version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ganbench import stats
from ganbench.compare import rows_of
from ganbench.effects import Effect, Scale, Tested, effect, family
from ganbench.errors import ResultsError, nearest
from ganbench.factors import within_blocks
from ganbench.footers import refusals
from ganbench.records import ROLES, read_json
from ganbench.stats import Better, once
from ganbench.table import CLOCK, STEP, Tally
from ganbench.trials import Trial, is_number, mixed

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.results import Results

ALL = "all cells"


@dataclass(frozen=True)
class Change:
    """How one measure of one cell, or of all cells of a data set, differs in the second run.

    Args:
        dataset: of the cell.
        cell: its identity, or :data:`ALL`.
        labels: for each role, the component's label; empty for all cells.
        measure: its name.
        better: which way is better.
        effect: the second run less the first, over the seeds that both have.
        failures: trials that failed in the second run alone.
        test: what the family of all changes of the two runs says of it; step times are not tested.
    """

    dataset: str
    cell: str
    labels: Mapping[str, str]
    measure: str
    better: Better
    effect: Effect
    failures: int
    test: Tested = field(default_factory=Tested)


@dataclass(frozen=True)
class Versus:
    """Two runs, matched by cell identity and seed.

    Args:
        names: of the two runs.
        changes: for each data set, measure and cell, those of all cells first.
        tallies: trials that were done in the second run, of those matched, for each cell.
        notes: what differs besides: cells in one run alone, code, machines.
    """

    names: tuple[str, str]
    changes: tuple[Change, ...]
    tallies: Mapping[str, Tally]
    notes: tuple[str, ...]

    def named(self, measure: str) -> list[tuple[str, Effect, int]]:
        """The changes of a measure, each with a name: what a gate looks at.

        Raises:
            ResultsError: it was not compared.
        """
        known = dict.fromkeys(c.measure for c in self.changes)
        if measure == STEP and STEP not in known:
            told = " ".join(note for note in self.notes if "times are not compared" in note)
            raise ResultsError(
                "no step times are compared", place="--fail-on", hint=told or "no trial of both was timed"
            )
        if measure not in known:
            raise ResultsError(f"{measure!r} is not compared", place="--fail-on", hint=nearest(measure, known))
        varying = varying_roles(self.changes)
        return [
            (
                " · ".join([c.dataset, *(c.labels[r] for r in varying if r in c.labels and r != "dataset")]),
                c.effect,
                c.failures,
            )
            for c in self.changes
            if c.measure == measure and c.cell != ALL
        ]


def versus(first: Results, second: Results, *, show: Sequence[str] = ()) -> Versus:
    """``second`` against ``first``, over the trials that both have.

    Step times are compared only between trials that share protocol, engine, device, threads, hardware and environment,
    and no measure whose values have several protocols on one data set, be it within a run or between them.

    Raises:
        ResultsError: no trial is in both, or there is no such measure.
    """
    sides = [{(row["id"], int(row["seed"])): row for row in rows_of(r.records)} for r in (first, second)]
    common = [key for key in sides[0] if key in sides[1]]
    if not common:
        raise ResultsError(
            f"{first.name} and {second.name} have no trial in common",
            hint="trials match if their whole specification and seed are equal: run one grid twice, into two folders",
        )
    measures = dict(first.measures) | dict(second.measures)
    known = [*measures, *(f"{name}_ema" for name in measures), STEP]
    for name in show:
        if name not in known:
            raise ResultsError(f"no measure {name!r}", place="--measure", hint=nearest(name, known))
    shown = list(show) or [*(n for n, (better, _) in measures.items() if better), STEP]
    cells: dict[str, dict[str, list[int]]] = {}
    for id_, seed in common:
        cells.setdefault(str(sides[0][id_, seed]["dataset"]), {}).setdefault(id_, []).append(seed)
    changes = []
    refused = mixed([side[key] for side in sides for key in common], shown)
    for dataset, ids in cells.items():
        for name in (n for n in shown if n not in refused):
            better: Better = "lower" if name == STEP else measures[name.removesuffix("_ema")][0]
            changes += _of_measure(dataset, ids, sides, name, better)
    tallies = {}
    for ids in cells.values():
        for id_, seeds in ids.items():
            statuses = Counter(str(sides[1][id_, s]["status"]) for s in seeds)
            done = statuses.pop("done", 0)
            tallies[id_] = Tally(done, len(seeds), dict(statuses))
    names = (first.name, second.name)
    if first.name == second.name:  # one grid in two places
        names = (str(first.path), str(second.path))
    if refused and not changes:
        raise ResultsError(f"nothing to compare: {' '.join(refusals(refused))}")
    notes = (*refusals(refused), *_notes(first, second, sides, common))
    told = family([None if c.measure == STEP else c.effect for c in changes])
    tested = tuple(replace(c, test=t) for c, t in zip(changes, told, strict=True))
    return Versus(names, tested, tallies, notes)


def _of_measure(
    dataset: str,
    ids: Mapping[str, Sequence[int]],
    sides: Sequence[Mapping[tuple[str, int], Trial]],
    name: str,
    better: Better,
) -> list[Change]:
    values: list[dict[str, dict[int, float | None]]] = [{}, {}]
    for id_, seeds in ids.items():
        pairs = [(sides[0][id_, s], sides[1][id_, s]) for s in seeds]
        if name == STEP:
            pairs = [(a, b) for a, b in pairs if _timed_alike(a, b)]
        for side in (0, 1):
            found = {int(p[side]["seed"]): _value(p[side], name) for p in pairs}
            values[side][id_] = found
        if name == STEP:
            for side in (0, 1):
                timed = {s: v for s, v in values[side][id_].items() if v is not None}
                values[side][id_] = dict(once(timed))
    numbers = [v for side in values for cell in side.values() for v in cell.values() if v is not None]
    if not numbers:
        return []
    scale: Scale = "ratio" if better == "lower" and min(numbers) > 0 else "difference"
    made = []
    whole = within_blocks(values[1], values[0], better=better, scale=scale)
    if whole is not None and len(ids) > 1:
        made.append(Change(dataset, ALL, {}, name, better, whole.effect, 0))
    for id_, seeds in ids.items():
        before, after = values[0][id_], values[1][id_]
        lost = sum(before.get(s) is not None and after.get(s, 0.0) is None for s in before)
        trial = sides[0][id_, seeds[0]]
        labels = {role: str(trial[role]) for role in ROLES}
        found_effect = effect(after, before, better=better, scale=scale)
        made.append(Change(dataset, id_, labels, name, better, found_effect, lost))
    return made


def _value(trial: Trial, name: str) -> float | None:
    value = trial.get(name)
    return float(value) if trial["status"] == "done" and value is not None and is_number(value) else None


def _timed_alike(first: Trial, second: Trial) -> bool:
    return all(str(first.get(fact)) == str(second.get(fact)) for fact in CLOCK)


def _notes(
    first: Results,
    second: Results,
    sides: Sequence[Mapping[tuple[str, int], Trial]],
    common: Sequence[tuple[str, int]],
) -> list[str]:
    """What a reader must know besides the numbers: what is not compared, and what else differs."""
    said = [f"Matched by specification and seed: {len(common)} trials."]
    for side, other, run in ((0, 1, first), (1, 0, second)):
        if alone := len(sides[side].keys() - sides[other].keys()):
            said.append(f"Only in {run.name}: {alone} trials, not compared.")
    pairs = [(sides[0][key], sides[1][key]) for key in common]
    if code := _code(first, second, pairs):
        said.append(f"Code differs: {', '.join(code)}.")
    elif all(a.get("code_fingerprint") == b.get("code_fingerprint") for a, b in pairs):
        said.append("The code of all components is the same.")
    for fact, what in (("hardware_fingerprint", "hardware"), ("environment_fingerprint", "environment")):
        if differ := sum(str(a.get(fact)) != str(b.get(fact)) for a, b in pairs):
            versions = _versions(first, second) if what == "environment" else ""
            said.append(f"Another {what} in {differ} of {len(pairs)} trials{versions}: their times are not compared.")
    return said


def _code(first: Results, second: Results, pairs: Sequence[tuple[Trial, Trial]]) -> list[str]:
    """The components whose code differs, from the specifications of one trial of each cell that differs."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    for a, b in pairs:
        if a.get("code_fingerprint") == b.get("code_fingerprint") or a["id"] in seen:
            continue
        seen.add(a["id"])
        folders = [run.folder(t["cell"], int(t["seed"])) for run, t in ((first, a), (second, b))]
        codes: list[dict[str, Any]] = [(read_json(f / "spec.json") or {}).get("code") or {} for f in folders]
        changed = [part for part in codes[0] | codes[1] if codes[0].get(part) != codes[1].get(part)]
        found |= dict.fromkeys(changed or ["unknown components"])
    return sorted(found)


def _versions(first: Results, second: Results) -> str:
    """`` (torch 2.6.0 -> 2.7.0)`` from the environments of the runs, empty if they say nothing."""
    told = [((read_json(run.path / "environment.json") or {}).get("versions") or {}) for run in (first, second)]
    differ = [
        f"{k} {told[0].get(k)} -> {told[1].get(k)}" for k in told[0] | told[1] if told[0].get(k) != told[1].get(k)
    ]
    return f" ({', '.join(differ)})" if differ else ""


def frame(found: Versus) -> pd.DataFrame:
    """One row for each change, flat; ``cell`` is the identity, or :data:`ALL`."""
    import pandas as pd

    rows = []
    for c in found.changes:
        row: dict[str, Any] = {"cell": c.cell, **dict.fromkeys(ROLES, ""), **c.labels, "dataset": c.dataset}
        row |= {"measure": c.measure, "better": c.better}
        for name, value in (("difference", c.effect.difference), ("percent", c.effect.percent)):
            row |= stats.flat(name, value)
        told = {"n": c.effect.n, "p": c.test.p, "p_flip": c.test.flip, "p_uncorrected": c.effect.p}
        rows.append(row | told | {"tests": c.test.tests, "need": c.test.need, "failures": c.failures})
    return pd.DataFrame(rows)


def varying_roles(changes: Sequence[Change]) -> list[str]:
    """The roles in which the cells of some changes differ; regularizer if they differ in none."""
    cells = [c.labels for c in changes if c.labels]
    return [role for role in ROLES if len({labels[role] for labels in cells}) > 1] or ["regularizer"]
