"""What stands under a table: seeds, protocol, floors, and how times were taken. No number is shown without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench.arrivals import MOST
from ganbench.errors import ResultsError
from ganbench.records import read_json
from ganbench.stats import Estimate
from ganbench.table import CLOCK, PROTOCOL, Column, Row
from ganbench.trials import Asked, Group, Trial, block_of, is_number, is_unsure, joined, levels_of

if TYPE_CHECKING:
    from ganbench.results import Results


def footers_of(
    live: Sequence[Trial],
    groups: Sequence[Group],
    rows: Sequence[Row],
    columns: Sequence[Column],
    asked: Asked,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
) -> tuple[str, ...]:
    """What the numbers are, one sentence or two for each thing."""
    if not live:
        return ()
    seeds = sorted({t["seed"] for t in live})
    known = [c for c in columns if c.kind in ("measure", "extra")]
    intervals = any(isinstance(e := r.entries[c.name], Estimate) and e.half is not None for r in rows for c in known)
    many = f"{len(seeds)} seeds ({ranges(seeds)})" if len(seeds) > 1 else f"1 seed ({seeds[0]})"
    said = []
    if intervals:
        how = "Mean with its 95 % Student-t interval"
        if any(c.log for c in known):
            how += " (of measures that are positive and better when lower: the geometric mean, on the log scale)"
        said.append(f"{how} over {many}; failed trials are not in it.")
    elif known:
        said.append(f"Means over {many}; no row has two seeds done, so there are no intervals.")
    done = [t for group in groups for t in group.done]
    lost = {c.name: sum(not is_number(t.get(c.name)) for t in done) for c in columns if c.kind == "measure"}
    if told := [f"{n} of {name}" for name, n in lost.items() if n]:
        text = f"Of {len(done)} finished trials, values that are not finite are not in the means"
        said.append(f"{text}: {', '.join(told)}.")
    if averaged and asked.by:
        text = f"A row averages the cells of a seed first, over {', '.join(averaged)}"
        if pairs is None:
            text += "; no cell was completed by all rows, so rows average DIFFERENT cells"
        else:
            every = {(block_of(t, averaged), t["seed"]) for g in groups for t in g.trials}
            text += f" ({len(pairs)} of {len(every)} (cell, seed) pairs: those that every row completed)"
        said.append(text + ".")
    if any(row.best for row in rows):
        one = " and of one protocol" if any(c.name in PROTOCOL for c in columns) else ""
        text = f"* (or bold): the best mean among rows without a failure{one}"
        if any(row.tied for row in rows):
            text += "; ~ (or underlined): its paired difference from the best is within noise (t test, p > 0.05)"
        said.append(f"{text}.")
    if any(c.kind == "change" for c in columns):
        role, label = asked.baseline
        of = f"Δ: difference from the same cell with {role} {label}, paired by seed, with its 95 % interval"
        said.append(f"{of}; in % of the geometric mean where all values are positive.")
    if asked.pareto:
        said.append(f"Front: no other row is as good in {asked.pareto} and as fast, or better, by their means.")
    if any(c.floor is not None for c in known):
        said.append("Real vs real: the measure of real samples against other real samples, at the same counts.")
    said += _measured(live, known)
    if any(c.name.endswith("_ema") for c in known):
        said.append("ema: of the generator's running average; without it, of its last iterate.")
    if any(c.kind == "time" for c in columns):
        said.append(_clock(live, columns, asked, rows))
    said += _targets(live, columns)
    said += _protocol(live, {c.name for c in columns})
    return tuple(said)


def _targets(live: Sequence[Trial], columns: Sequence[Column]) -> list[str]:
    """What the times to targets are, and the areas beside them."""
    said = []
    stacks = sorted(levels_of(live, "stack"))
    if any(c.header.startswith("s to ") for c in columns if c.kind == "extra"):
        text = "S to a target: seconds of training, evaluations excluded, until an evaluation first reached it"
        said.append(f"{text}: the median over trials (those that did/all), with misses and failures as infinite.")
        if len(stacks) > 1:
            text = (
                f"Of a step that trained {stacks[0]:.0f} to {stacks[-1]:.0f} trials together, each has an equal share"
            )
            said.append(f"{text}: these seconds depend on how many trained together.")
    if any(c.header == "area" and c.kind == "share" for c in columns):
        text = "Area: under the share of trials that are there within r times the fastest row of the same seed"
        text += f", from r = 1 to {MOST:g}; 1: always the fastest, 0: never within {MOST:g} times it"
        said.append(f"{text}; with its 95 % Student-t interval over seeds.")
    return said


def _protocol(live: Sequence[Trial], hidden: set[str]) -> list[str]:
    """How the trials were made, as far as no column says it."""
    protocol = [
        text.format(value)
        for fact, text in (
            ("steps", "{} steps"),
            ("batch", "batch {}"),
            ("engine", "engine {}"),
            ("samples", "{} samples evaluated"),
            ("arithmetic", "{}"),
            ("device", "on {}"),
            ("threads", "threads {}"),
        )
        if fact not in hidden and (value := joined(live, fact))
    ]
    loose = sum(t.get("deterministic") is False for t in live)
    if loose == len(live):
        protocol.append("deterministic = false")
    said = [f"Protocol: {', '.join(protocol)}."] if protocol else []
    mixed = levels_of(live, "engine")
    if len(mixed) > 1:
        said.append(f"Engines are mixed ({', '.join(mixed)}): they agree to rounding, and times compare within one.")
    if 0 < loose < len(live):
        text = f"{loose} of {len(live)} trials were trained with deterministic = false, the others without"
        said.append(f"{text}: they agree to rounding, and times compare only among either.")
    return said


def machine(results: Results) -> str:
    """``Machine: NVIDIA H100, AMD EPYC (16 cores).`` as the run recorded it; empty if it did not, or ran on several."""
    try:
        found = read_json(results.path / "environment.json") or {}
    except ResultsError:
        return ""
    done = [r for r in results.trials if r.status == "done"]
    if len({r.fingerprints.get("hardware") for r in done}) > 1:
        return ""
    gpus = found.get("gpus") or []
    used = gpus if any(str(r.facts.get("device", "")).startswith("cuda") for r in done) else []
    names = dict.fromkeys(str(gpu["name"]) for gpu in used if isinstance(gpu, Mapping) and "name" in gpu)
    cores = f" ({found['cores']} cores)" if found.get("cores") else ""
    said = [*names, *([f"{found['cpu']}{cores}"] if found.get("cpu") else [])]
    return f"Machine: {', '.join(said)}." if said else ""


def ranges(numbers: Sequence[int]) -> str:
    """``0-4, 7``: ascending whole numbers, runs of three or more by their ends."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts)


def refusals(mixed: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """Why measures are not shown: their values were taken under several protocols."""
    said: dict[str, list[str]] = {}
    for name, sets in mixed.items():
        said.setdefault(" | ".join(f"{i}: {text}" for i, text in enumerate(sets[0], start=1)), []).append(name)
    return [
        f"NOT SHOWN: {', '.join(names)}. Values of several protocols do not compare ({which}). Run older trials again."
        for which, names in said.items()
    ]


def _measured(live: Sequence[Trial], columns: Sequence[Column]) -> list[str]:
    """How each measure was taken, and what the null model reads."""
    protocols: dict[str, dict[str, list[str]]] = {}
    nulls = []
    for name in (c.name for c in columns if c.kind == "measure" and not c.name.endswith("_ema")):
        for text in levels_of(live, f"{name}_protocol"):
            metric, _, rest = text.partition(", ")
            protocols.setdefault(rest, {}).setdefault(metric, []).append(name)
        found = [t[f"{name}_null"] for t in live if is_number(t.get(f"{name}_null"))]
        if found:
            nulls.append(f"{name} {sum(found) / len(found):.3g}")
    said = []
    for rest, metrics in protocols.items():
        which = ", ".join(f"{', '.join(names)} ({metric})" for metric, names in metrics.items())
        said.append(f"Measured: {which}: {rest}.")
    if nulls:
        said.append(f"Null model, a Gaussian with the mean and covariance of the data: {', '.join(nulls)}.")
    return said


def _clock(live: Sequence[Trial], columns: Sequence[Column], asked: Asked, rows: Sequence[Row]) -> str:
    done = [t for t in live if t["status"] == "done"]
    apart = [t for t in done if t.get("timed") == "apart"]
    text = "Step ms: the median over windows of one whole training step, "
    text += "timed apart from training" if apart else "averaged (geometric mean) over seeds"
    if apart and len(apart) < len(done):
        text += f" ({len(done) - len(apart)} of {len(done)} trials: in training)"
    role, label = asked.baseline
    ratio = next((c for c in columns if c.kind == "ratio"), None)
    if ratio:
        paired = "round" if apart else "seed"
        text += (
            f"; {ratio.header}: over that of the same cell with {role} {label}, paired by {paired}, with its 95 % "
            "interval"
        )
    if asked.times is not None and (floors := asked.times.floors(t["cell"] for t in apart)):
        text += f"; noise floor {100 * max(floors):.2g} %: what two timings of one and the same cell differ by"
    if drifted := len({t["cell"] for t in apart if (t.get("drifted") or 0) > 0}):
        text += f"; {drifted} cells were timed while the machine changed its pace"
    unsure = sum(is_unsure(t) for t in done)
    machines = {tuple(str(t.get(name)) for name in CLOCK[-2:]) for t in done}
    if len(machines) > 1:
        text += f"; {len(machines)} machines or environments: times compare only within one"
    if any(r.shared for r in rows):
        return text + f"; ~ {unsure} of {len(done)} trials were timed in training or beside other work."
    return (
        text
        + "; "
        + ("nothing else ran beside it." if all(t.get("exclusive") for t in done) else "timing may be shared.")
    )
