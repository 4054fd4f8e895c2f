"""What helped: a sentence and a row for each level of each factor."""

from __future__ import annotations

import itertools

from ganbench import sentences, verdicts
from ganbench.report.text import DASH, esc, ratio
from ganbench.results import Results

SHOWN = 12
"""Sentences of a factor that stand open; the others are one click away."""
INTRODUCTION = (
    "<p>Each level of a factor against a baseline, between cells that differ in nothing else. The changes are averaged "
    "over those cells within a seed first, so intervals (95 %, Student t) are over seeds, never over cells. "
    "Measures are of the generator's last iterate.</p>"
)


def effects(results: Results, baseline: str) -> str:
    """For each data set and factor the effects in its first measure as sentences, and in all as a table."""
    factors = verdicts.factors(results, baseline=baseline)
    if not factors:
        return ""
    parts = [INTRODUCTION]
    refused = verdicts.not_shown(results)
    for dataset, group in itertools.groupby(factors, key=lambda f: f.dataset):
        parts.append(f"<h3>{esc(dataset)}</h3>")
        parts += [f'<p class="soft">{esc(why)}</p>' for why in refused.get(dataset, ())]
        silent = []
        for factor in group:
            if factor.silent:
                silent.append(
                    f'<p class="soft">{esc(factor.name)}: {esc(factor.silent)}, so nothing is said of it.</p>'
                )
                continue
            first = factor.effects[0].measure
            told = [
                f"<li><strong>{esc(e.level)}</strong> {esc(sentences.sentence(e))}</li>"
                for e in factor.effects
                if e.measure == first
            ]
            head = sentences.headline([e for e in factor.effects if e.measure == first])
            parts.append(
                f'<h4>{esc(factor.name)}</h4><p>{esc(head)}</p><ul class="verdicts">{"".join(told[:SHOWN])}</ul>'
            )
            if len(told) > SHOWN:
                more = f'<ul class="verdicts">{"".join(told[SHOWN:])}</ul>'
                parts.append(f"<details><summary>{len(told) - SHOWN} more of them</summary>{more}</details>")
            if factor.interactions:
                said = "".join(
                    f"<li><strong>{esc(c.level)}</strong>: {esc(sentences.interaction(c))}</li>"
                    for c in factor.interactions
                )
                parts.append(
                    f"<details><summary>Where it depends on another choice ({len(factor.interactions)})</summary>"
                    f'<ul class="verdicts">{said}</ul><p class="soft">Interactions whose interval (95 %, not corrected '
                    "for their number) excludes 0.</p></details>"
                )
            parts.append(_table(factor))
        parts += silent
    return "".join(parts)


def _table(factor: verdicts.Factor) -> str:
    """The effects in all measures, as a table: one row for each level."""
    better = {e.measure: e.better for e in factor.effects}
    levels: dict[str, dict[str, verdicts.Effect]] = {}
    for effect in factor.effects:
        levels.setdefault(effect.level, {})[effect.measure] = effect
    base = factor.effects[0].baseline
    heads = "".join(
        f'<th scope="col" class="number">{esc(n)}<span class="about">{esc(better[n])} is better</span></th>'
        for n in better
    )
    rows = []
    for level, effects in levels.items():
        cells = []
        for name in better:
            effect = effects[name]
            kind = "number best" if effect.clear and effect.improves else "number"
            cells.append(f'<td class="{kind}">{_change(effect)}</td>')
        cost = next(iter(effects.values())).cost
        cells.append(f'<td class="number">{ratio(cost) if cost else DASH}</td>')
        rows.append(f'<tr><th scope="row">{esc(level)}</th>{"".join(cells)}</tr>')
    label = f"{factor.dataset}: changes by {factor.name} against {base}"
    return (
        f"<details><summary>{esc(factor.name)} against {esc(base)}, in all measures</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(label)}"><table><thead><tr>'
        f'<th scope="col">{esc(factor.name)}</th>{heads}<th scope="col" class="number">step time</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="soft">Bold: better, and the interval excludes no change; '
        "intervals are not corrected for the number of comparisons.</p></details>"
    )


def _change(effect: verdicts.Effect) -> str:
    change = effect.change
    if change is None:
        return DASH

    def part(x: float) -> str:
        return ("+" if x > 0 else "") + sentences.short(x)

    text = part(change.mean) + ("\N{NO-BREAK SPACE}%" if effect.relative else "")
    if change.low is None or change.high is None:
        return text
    return f'{text} <span class="spread">[{part(change.low)}, {part(change.high)}]</span>'
