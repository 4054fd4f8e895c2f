"""Samples that somebody else has made: a folder of images, an npz file, or the generator of a trial.

Nothing is resized, cropped, rescaled or cut here: whatever was done to samples is part of what was measured, and so it
is for their maker to do. Files are data, never code: arrays without objects, images within Pillow's limits.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ganbench import players
from ganbench.canvas import extent
from ganbench.dataset import Dataset
from ganbench.errors import ConfigError, nearest
from ganbench.evaluation import generate
from ganbench.players import Which
from ganbench.samples import Samples, SampleSpec
from ganbench.seeding import stream
from ganbench.trained import Trained

if TYPE_CHECKING:
    from PIL import Image

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

ENDINGS = (".png", ".bmp", ".gif", ".jpg", ".jpeg", ".ppm", ".tif", ".tiff", ".webp")
LOSSY = (".jpg", ".jpeg")
KEYS = ("samples", "images", "x", "arr_0")
"""Names under which an npz file is expected to hold the samples, if it holds several arrays."""
OVERSHOOT = 0.01
"""How far beyond the range of the data a value may lie, as a share of the range."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Given:
    """Samples in the range of the data.

    Args:
        samples: as many as were asked for.
        source: what they are, for a table.
        found: how many there were to choose from; 0 for a generator, which makes as many as are wanted.
        notes: what a reader of the numbers should know.
    """

    samples: Samples
    source: str
    found: int
    notes: tuple[str, ...] = ()


def read(path: Path, dataset: Dataset, n: int, *, seed: int = 0) -> Given:
    """``n`` of the samples at ``path``, or all if there are fewer, drawn with ``seed``.

    Args:
        path: a folder of images, or an npz file; ``FILE.npz:NAME`` names one of its arrays.
        dataset: what they imitate; their shape and range must be its own.
        n: how many.
        seed: of the choice, where there are more.

    Raises:
        ConfigError: there is nothing there, it cannot be read, or it is not like the data.
    """
    file, _, key = str(path).partition(".npz:")
    if key:
        return _from_npz(Path(f"{file}.npz"), key, dataset, n, seed)
    if path.is_dir():
        return _from_folder(path, dataset, n, seed)
    if not path.exists():
        raise ConfigError("there is no such file or folder", place=str(path))
    if path.suffix == ".npz":
        return _from_npz(path, "", dataset, n, seed)
    if path.suffix in {".pt", ".pth", ".pkl", ".npy"}:
        hint = "numpy.savez(FILE, samples=array) writes one"
        raise ConfigError(f"{path.suffix} files are not read; an npz file is", place=str(path), hint=hint)
    raise ConfigError(
        "these are no samples", place=str(path), hint="name a folder of images, an npz file, or the folder of a trial"
    )


def from_trial(trained: Trained, n: int, *, seed: int | None = None, which: Which = "ema") -> Given:
    """``n`` samples of a trained generator, of the latents that its own evaluation took, or of those of ``seed``."""
    latents, labels = players.evaluated(trained.cell, trained.seed if seed is None else seed, n, CPU)
    weights = players.weights(trained.cell, trained.generator, trained.state, which)
    samples = Samples(generate(trained.generator, weights, latents, labels), labels)
    words = "running average" if which == "ema" else "last iterate"
    source = f"{trained.cell.name}, seed {trained.seed}, {words} after {trained.step:,} steps"
    return Given(samples, source, 0, trained.notes)


# -- a folder of images ------------------------------------------------------------------------------------------------


def _from_folder(folder: Path, dataset: Dataset, n: int, seed: int) -> Given:
    spec = dataset.spec()
    if (folder / "run.json").is_file():
        hint = "name one of its trials: RUN/trials/CELL/seed-0"
        raise ConfigError("this is a whole run", place=str(folder), hint=hint)
    if not spec.is_image:
        raise ConfigError(
            f"a folder holds images, and samples of {dataset.name} have shape {list(spec.shape)}",
            place=str(folder),
            hint="give an npz file",
        )
    files = image_files(folder)
    if not files:
        seen = sorted({p.suffix for p in folder.rglob("*") if p.is_file()})[:5]
        found = f"; there are {', '.join(s or 'files without an ending' for s in seen)}" if seen else "; it is empty"
        raise ConfigError(f"no image in this folder{found}", place=str(folder), hint=f"read are {', '.join(ENDINGS)}")
    chosen = choose(len(files), n, seed)
    levels = np.stack([_read_image(files[i], spec, dataset) for i in chosen.tolist()])
    notes = []
    if any(files[i].suffix.lower() in LOSSY for i in chosen.tolist()):
        notes.append("some images are JPEG: what its compression lost counts against them")
    return Given(Samples(_scaled(levels, spec)), f"images in {folder}", len(files), tuple(notes))


def image_files(folder: Path) -> list[Path]:
    """The images in ``folder`` and below, by path; what is hidden is left out, links to folders are not followed."""
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(base, name) for name in names if name.lower().endswith(ENDINGS) and not name.startswith(".")]
    return sorted(found)


def _read_image(path: Path, spec: SampleSpec, dataset: Dataset) -> Array:
    """The bytes [channels, height, width] of one image.

    Raises:
        ConfigError: it is damaged, too large, or not of the size, the colours and the depth of the data.
    """
    from PIL import Image

    channels, height, width = spec.shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of bombs and of files that are not as they say
            with Image.open(path) as opened:
                if opened.size != (width, height):
                    raise ConfigError(
                        f"this image has {opened.width} x {opened.height} pixels, "
                        f"and those of {dataset.name} have {width} x {height}",
                        place=str(path),
                        hint="resize them first: how that is done is part of what is measured",
                    )
                opened.load()
                pixels = _bytes_of(opened, path)
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise ConfigError(f"this image cannot be read: {error}", place=str(path)) from error
    if channels == 3:
        return pixels.transpose(2, 0, 1)
    if channels != 1:
        raise ConfigError(f"images have one or three channels, and those of {dataset.name} have {channels}")
    if (pixels[..., :1] != pixels).any():
        raise ConfigError(f"this image has colours, and those of {dataset.name} are grey", place=str(path))
    return pixels[None, ..., 0]


def _bytes_of(picture: Image.Image, path: Path) -> Array:
    """Red, green and blue [height, width, 3] of an opaque image of at most 8 bits a channel."""
    if picture.mode[0] in "IF":
        hint = "save them with 8 bits, or as an npz file"
        raise ConfigError(f"this image is of mode {picture.mode}: not of 8 bits a channel", place=str(path), hint=hint)
    if "A" in picture.mode or "transparency" in picture.info:
        rgba = np.asarray(picture.convert("RGBA"))
        if (rgba[..., 3] != 255).any():
            hint = "lay them on a background first"
            raise ConfigError("parts of this image are transparent", place=str(path), hint=hint)
        return rgba[..., :3]
    return np.asarray(picture.convert("RGB"))


# -- an npz file -------------------------------------------------------------------------------------------------------


def _from_npz(path: Path, key: str, dataset: Dataset, n: int, seed: int) -> Given:
    spec = dataset.spec()
    try:
        with path.open("rb") as opened:  # numpy does not close a file that is torn
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, Mapping):
                raise ConfigError("this is a single array, not an npz file", place=str(path))
            name = _named(file, key, path)
            array = file[name]
    except FileNotFoundError as error:
        raise ConfigError("there is no such file or folder", place=str(path)) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        reason = "it holds Python objects" if "pickle" in str(error) else str(error)
        hint = "numpy.savez(FILE, samples=array) writes one"
        raise ConfigError(f"this npz file cannot be read: {reason}", place=str(path), hint=hint) from error
    place = f"{path}:{name}"
    array, notes = _arranged(array, spec, dataset, place)
    chosen = array[choose(len(array), n, seed).numpy()]
    if chosen.dtype == np.uint8:
        x = _scaled(chosen, spec) if spec.bounded else torch.from_numpy(chosen.astype(np.float32))
    else:
        notes += _in_range(chosen, spec, dataset, place)
        x = torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.float32))
    return Given(Samples(x), place, len(array), tuple(notes))


def _named(file: Mapping[str, Any], key: str, path: Path) -> str:
    """Which array is meant: the one that was named, the only one, or the first of the usual names."""
    names = list(file)
    if key:
        if key not in names:
            raise ConfigError(f"there is no array {key!r}", place=str(path), hint=nearest(key, names))
        return key
    if len(names) == 1:
        return names[0]
    for usual in KEYS:
        if usual in names:
            return usual
    raise ConfigError(
        f"which of its arrays are the samples? {', '.join(names) or 'it has none'}",
        place=str(path),
        hint=f"name it: {path}:{names[0] if names else 'NAME'}",
    )


def _arranged(array: Array, spec: SampleSpec, dataset: Dataset, place: str) -> tuple[Array, list[str]]:
    """``array`` as [n, *shape]: channels may be last, and may be left out where there is one."""
    if array.dtype.kind not in "fiu" or (array.dtype.kind in "iu" and array.dtype != np.uint8):
        raise ConfigError(f"values are of type {array.dtype}", place=place, hint="give bytes (uint8) or floats")
    shape, notes = list(array.shape[1:]), []
    if spec.is_image:
        channels, height, width = spec.shape
        if shape == [height, width] and channels == 1:
            array = array[:, None]
        elif shape == [height, width, channels] and shape != list(spec.shape):
            array = array.transpose(0, 3, 1, 2)
            notes.append("channels were the last axis")
    if array.ndim == 0 or list(array.shape[1:]) != list(spec.shape) or not len(array):
        raise ConfigError(
            f"the array has shape {list(array.shape)}, and samples of {dataset.name} are [n, {_listed(spec.shape)}]",
            place=place,
        )
    return array, notes


def _in_range(array: Array, spec: SampleSpec, dataset: Dataset, place: str) -> list[str]:
    """Notes about the range of floats.

    Raises:
        ConfigError: they are in another range than the data.
    """
    if not spec.bounded:
        return []
    low, high = extent(array)
    margin = OVERSHOOT * (spec.high - spec.low)
    if low < spec.low - margin or high > spec.high + margin:
        raise ConfigError(
            f"values go from {low:g} to {high:g}, and those of {dataset.name} from {spec.low:g} to {spec.high:g}",
            place=place,
            hint="scale them, or give bytes (uint8), where 0 is the least and 255 the greatest value",
        )
    if spec.low < 0 <= low:
        return [f"no value is below 0, though those of {dataset.name} reach {spec.low:g}: is this the same range?"]
    return []


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def choose(found: int, n: int, seed: int) -> Tensor:
    """Which ``n`` of ``found`` samples are taken: all of them in order, or a random choice."""
    if found <= n:
        return torch.arange(found)
    return torch.randperm(found, generator=stream(seed, "given"))[:n]


def _scaled(levels: Array, spec: SampleSpec) -> Tensor:
    """Bytes as float32 in the range of the data."""
    x = torch.from_numpy(np.ascontiguousarray(levels)).float()
    return x.div_(255 / (spec.high - spec.low)).add_(spec.low)
