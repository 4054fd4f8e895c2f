"""The page as a whole: what was run, the sections, and the policy that keeps everything else out."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from pathlib import Path

from ganbench.records import ROLES, replacing
from ganbench.report.effects import effects
from ganbench.report.figures import curves, frontiers
from ganbench.report.origin import environment, reproduce
from ganbench.report.samples import samples
from ganbench.report.tables import tables_and_trials
from ganbench.report.text import esc
from ganbench.report.trouble import advice, failures, skipped
from ganbench.results import Results
from ganbench.table import PROTOCOL
from ganbench.text import plural

SECTIONS = {
    "verdict": "What helped",
    "tables": "Tables",
    "time": "Quality against time",
    "curves": "Training curves",
    "samples": "Samples",
    "failures": "Failures",
    "skipped": "Skipped",
    "advice": "Advice",
    "environment": "Environment",
    "reproduce": "Reproduce",
}


def write(results: Results, path: Path, *, baseline: str = "none") -> Path:
    """Write the page about ``results`` to ``path``, whole or not at all.

    Raises:
        ResultsError: there is no such baseline, or ``path`` cannot be written.
    """
    text = page(results, baseline=baseline)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def page(results: Results, *, baseline: str = "none") -> str:
    """The page as text; the same results give the same page."""
    style, script = (_resource(f"page.{kind}") for kind in ("css", "js"))
    # No source but these two texts and embedded pictures: whatever a name or a message smuggles in stays inert.
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    tables = results.tables(baseline=baseline)
    bodies = {
        "verdict": effects(results, baseline),
        "tables": tables_and_trials(results, tables, baseline),
        "time": frontiers(results, tables),
        "curves": curves(results, baseline),
        "samples": samples(results),
        "failures": failures(results),
        "skipped": skipped(results),
        "advice": advice(results),
        "environment": environment(results),
        "reproduce": reproduce(results),
    }
    bodies = {name: body for name, body in bodies.items() if body}
    links = "".join(f'<li><a href="#{name}">{SECTIONS[name]}</a></li>' for name in bodies)
    sections = "".join(
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{SECTIONS[name]}</h2>{body}</section>\n'
        for name, body in bodies.items()
    )
    title = esc(results.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · ganbench report</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header><h1>{title}</h1>{_summary(results)}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main" tabindex="-1">
{sections}</main>
<footer class="soft">Made by ganbench report from the files of the run{_until(results)}.</footer>
<script>{script}</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return importlib.resources.files("ganbench.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _until(results: Results) -> str:
    last = max((r.finished for r in results.trials if r.finished), default="")
    return f", whose last trial finished on {esc(last[:16].replace('T', ' at '))} UTC" if last else ""


def _order(value: object) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    return (False, value, "") if isinstance(value, int | float) else (True, 0.0, str(value))


def _summary(results: Results) -> str:
    live = [cell for cell in results.plan if cell.skip is None]
    trials = sum(len(cell.seeds) for cell in live)
    counts = {k: n for k, n in results.counts.items() if k != "skipped"}
    seeds = sorted({seed for cell in live for seed in cell.seeds})
    said = f"{plural(len(live), 'cell')} with {plural(len(seeds), 'seed')}, {plural(trials, 'trial')}"
    told = ", ".join(f"{n:,} {status}" for status, n in counts.items())
    pairs = []
    for role in ROLES:
        labels = list(dict.fromkeys(cell.labels.get(role, "") for cell in live))
        pairs.append((role, ", ".join(filter(None, labels))))
    pairs.append(("seeds", ", ".join(map(str, seeds))))
    done = [r for r in results.trials if r.status == "done"] or list(results.trials)
    told_facts = []
    for fact in (*PROTOCOL, "engine", "device", "threads"):
        levels = sorted({r.facts[fact] for r in done if isinstance(r.facts.get(fact), str | int | float)}, key=_order)
        if levels:
            told_facts.append(f"{fact} {' or '.join(map(str, levels))}")
    if any(r.facts.get("deterministic") is False for r in done):
        told_facts.append("deterministic = false")
    pairs.append(("protocol", ", ".join(told_facts)))
    listed = "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in pairs if v)
    return f'<p class="lead">{esc(said)}{": " + esc(told) if told else ""}.</p><dl>{listed}</dl>'
