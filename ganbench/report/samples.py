"""Pictures of samples side by side: one seed throughout, so that they come from the same latents."""

from __future__ import annotations

from collections import Counter

from ganbench import verdicts
from ganbench.report.images import embed
from ganbench.report.text import by_dataset, esc, short_name
from ganbench.results import Results
from ganbench.text import plural

SAME = (
    "Within a data set all are drawn from the same latents, so tiles at one place compare. "
    "Choose a picture to enlarge it."
)


def samples(results: Results) -> str:
    """One picture for each cell, of the same seed throughout, as far as the budget goes."""
    done = [r for r in results.trials if r.status == "done"]
    tally = Counter(r.seed for r in done if r.seed is not None)
    if not tally:
        return ""
    seed = min(tally, key=lambda s: (-tally[s], s))
    files = {r.cell: results.folder(r.cell, seed) / "samples.png" for r in done if r.seed == seed}
    pictures, left_out = embed(files)
    if not pictures:
        return ""
    parts = [
        f"<p>Samples of the generator's running average after training with seed {seed}, beside real ones. {SAME}</p>"
    ]
    for dataset, cells in by_dataset(results).items():
        groups = verdicts.together([cell.labels for cell in cells])
        figures = []
        for cell in cells:
            if cell.cell not in pictures:
                continue
            name = short_name(cell, groups)
            image = pictures[cell.cell]
            figures.append(
                f'<figure><figcaption>{esc(name)}</figcaption><button class="zoom" type="button" aria-expanded="false">'
                f'<img src="{image.uri}" width="{image.width}" height="{image.height}" loading="lazy" decoding="async" '
                f'alt="Samples: {esc(name)}"></button></figure>'
            )
        if figures:
            parts.append(f'<h3>{esc(dataset)}</h3><div class="small">{"".join(figures)}</div>')
    told = [f"{plural(n, 'picture')}: {reason}" for reason, n in Counter(left_out.values()).items()]
    other = sum(cell.skip is None for cell in results.plan) - len(files)
    if other:
        told.append(f"{plural(other, 'cell')}: no finished trial of seed {seed}")
    if len(tally) > 1:
        told.append(f"all pictures of the other {plural(len(tally) - 1, 'seed')}")
    if told:
        parts.append(f'<p class="soft">Left out: {esc("; ".join(told))}. samples.png of each trial has it in full.</p>')
    return "".join(parts)
