"""The pictures of a run as files, for people to look at: which trials they show, and where they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench import verdicts
from ganbench.errors import ConfigError, ResultsError, nearest
from ganbench.gallery import Gallery, Say, Wanted
from ganbench.records import Record, replacing
from ganbench.registry import Registry
from ganbench.results import Results
from ganbench.sheets import sheet
from ganbench.trained import Trained
from ganbench.training import SNAPSHOTS

if TYPE_CHECKING:
    from PIL import Image

FRAME_MS, LAST_FRAME_MS = 350, 1_600


def look(results: Results, registry: Registry, out: Path, wanted: Wanted, say: Say) -> list[Path]:
    """Write the pictures of a run into ``out`` and return their paths; ``say`` hears what is left out.

    For each dataset an overview, cells by seeds; for each cell a folder with its samples, and, as its data allow,
    nearest neighbours, densities, interpolations and an animation.

    Raises:
        ResultsError: no trial that is wanted has left a generator.
    """
    records = _chosen(results, wanted)
    written: list[Path] = []
    for name, group in _by_dataset(records).items():
        trained = _load(results, registry, group, say)
        if not trained:
            continue
        titles = _titles([record.labels for record in group])
        folder = out if len(_by_dataset(records)) == 1 else out / name
        folder.mkdir(parents=True, exist_ok=True)
        gallery = Gallery(trained, titles, wanted, registry, say)
        written += _save(folder / "overview.png", gallery.overview())
        one = wanted.seeds or (_most_common_seed(group),)
        for record, generator in trained:
            if record.seed not in one:
                continue
            place = folder / generator.cell.name / f"seed-{generator.seed}"  # a name of our own making, never a path
            place.mkdir(parents=True, exist_ok=True)
            for stem, picture in gallery.pictures(record, generator):
                written += _save(place / f"{stem}.png", picture)
            if wanted.gif:
                written += _animate(results.folder(record.cell, record.seed), place / "training.gif", say)
    if not written:
        raise ResultsError("no trial that is wanted has left a generator to draw from", place=str(results.path))
    if wanted.gif and not any(path.suffix == ".gif" for path in written):
        raise ResultsError(
            "--gif: no trial has kept snapshots", place=str(results.path), hint="set snapshots = true under [run]"
        )
    return written


# -- which trials ------------------------------------------------------------------------------------------------------


def _chosen(results: Results, wanted: Wanted) -> list[Record]:
    """The finished trials that are wanted, in the order of the plan."""
    records = [r for r in results.trials if r.seed is not None]
    if not records:
        raise ResultsError("no trial has finished yet", place=str(results.path))
    for text in wanted.cells:
        if not any(_is_called(r, text) for r in records):
            known = {label for r in records for label in r.labels.values()}
            raise ConfigError(f"no cell is called {text!r}", place="--cell", hint=nearest(text, known))
    seeds = {r.seed for r in records}
    for seed in wanted.seeds:
        if seed not in seeds:
            listed = ", ".join(map(str, sorted(s for s in seeds if s is not None)))
            raise ConfigError(f"no trial has the seed {seed}", place="--seed", hint=f"known: {listed}")
    return [
        r
        for r in records
        if (not wanted.cells or any(_is_called(r, text) for text in wanted.cells))
        and (not wanted.seeds or r.seed in wanted.seeds)
    ]


def _is_called(record: Record, text: str) -> bool:
    """Whether ``text`` is a label of the cell, the beginning of its ID, or its folder."""
    return text in record.labels.values() or text == record.cell or (len(text) >= 4 and record.id.startswith(text))


def _by_dataset(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Trials of one dataset together, under a name for a folder."""
    labels = list(dict.fromkeys(r.labels.get("dataset", "") for r in records))
    plain = [label.partition("(")[0] for label in labels]
    names = {
        label: name if plain.count(name) == 1 else f"{name}-{labels.index(label) + 1}"
        for label, name in zip(labels, plain, strict=True)
    }
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(_safe(names[record.labels.get("dataset", "")]), []).append(record)
    return found


def _safe(name: str) -> str:
    """``name`` as a single part of a path: letters, digits and hyphens."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in name) or "data"


def _most_common_seed(records: Sequence[Record]) -> int:
    """The seed with most finished trials; the least of several."""
    seeds = [r.seed for r in records if r.status == "done" and r.seed is not None] or [r.seed or 0 for r in records]
    return min(seeds, key=lambda s: (-seeds.count(s), s))


def _titles(labels: Sequence[Mapping[str, str]]) -> dict[tuple[str, ...], str]:
    """What each cell is called beside the others: the labels that differ, by all labels of the cell."""
    groups = verdicts.together(list(labels))
    roles = [group[0] for group in groups] or ["loss", "regularizer"]
    return {tuple(own.values()): "\n".join(own.get(role, "") for role in roles) for own in labels}


def _load(results: Results, registry: Registry, records: Sequence[Record], say: Say) -> list[tuple[Record, Trained]]:
    found: list[tuple[Record, Trained]] = []
    for record in records:
        if record.status != "done":
            say(f"{record.cell}, seed {record.seed}: left out: {record.status}")
            continue
        try:
            trained = Trained.load(results.folder(record.cell, record.seed), registry)
        except ResultsError as error:
            say(f"left out: {error}")
            continue
        for note in trained.notes:
            say(f"{record.cell}, seed {record.seed}: {note}")
        found.append((record, trained))
    return found


# -- files -------------------------------------------------------------------------------------------------------------


def _save(path: Path, picture: Image.Image) -> list[Path]:
    with replacing(path) as partial:
        picture.save(partial, format="PNG")
    return [path]


def _animate(folder: Path, path: Path, say: Say) -> list[Path]:
    """The snapshots in a trial's folder as one GIF, the last frame longer."""
    from PIL import Image

    frames = []
    for file in sorted((folder / SNAPSHOTS).glob("step-*.png")):
        try:
            with Image.open(file) as picture:
                framed = sheet([[picture.convert("RGB")]], title=f"step {int(file.stem.removeprefix('step-')):,}")
        except (OSError, ValueError, SyntaxError) as error:
            say(f"left out: {file}: {error}")
            continue
        frames.append(framed.quantize(128))
    if not frames:
        say(f"no animation: {folder} has no snapshots; set snapshots = true under [run]")
        return []
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    with replacing(path) as partial:
        frames[0].save(partial, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return [path]
