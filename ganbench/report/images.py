"""Pictures as data URIs within a budget: as they are where they fit, else smaller and in fewer colours."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUDGET = 6_000_000
"""Characters of data URIs in one page."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST = 4096
"""Pixels along a side beyond which a picture is not opened: it is none of ours."""
SIDES = (320, 200, 120)
COLORS = 64
HEAD = "data:image/png;base64,"


@dataclass(frozen=True)
class Embedded:
    """A picture in a page."""

    uri: str
    width: int
    height: int


def embed(files: Mapping[str, Path], *, budget: int = BUDGET) -> tuple[dict[str, Embedded], dict[str, str]]:
    """The pictures in ``files`` by name, and for each that is left out the reason; together within ``budget``."""
    found: dict[str, Embedded] = {}
    left_out: dict[str, str] = {}
    left = budget
    for i, (name, path) in enumerate(files.items()):
        picture = _one(path, left // (len(files) - i))  # what one does not use, the others may
        if isinstance(picture, str):
            left_out[name] = picture
        else:
            found[name] = picture
            left -= len(picture.uri)
    return found, left_out


def _one(path: Path, limit: int) -> Embedded | str:
    """The picture in at most ``limit`` characters, or why not."""
    try:
        raw = path.read_bytes()
    except OSError:
        return "there is no file"
    if len(raw) < 24 or not raw.startswith(SIGNATURE):
        return "not a PNG file"
    width, height = struct.unpack(">II", raw[16:24])
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        return "too large"
    if _length(raw) <= limit:
        return Embedded(_uri(raw), width, height)
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            whole = image.convert("RGB")
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for a broken file
        return "not a readable PNG file"
    for side in SIDES:
        share = min(1.0, side / max(width, height))
        small = whole.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
        out = io.BytesIO()
        # the octree is many times faster than the median cut, and its files are smaller
        small.quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(out, format="PNG", optimize=True)
        if _length(out.getvalue()) <= limit:
            return Embedded(_uri(out.getvalue()), *small.size)
    return "no room in the page"


def _length(raw: bytes) -> int:
    return len(HEAD) + (len(raw) + 2) // 3 * 4


def _uri(raw: bytes) -> str:
    return HEAD + base64.b64encode(raw).decode("ascii")
