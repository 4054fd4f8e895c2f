"""Tables as text, in the style that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ganbench.documents import html, markdown
from ganbench.errors import ConfigError, nearest
from ganbench.latex import latex
from ganbench.rawdata import csv_text, json_text
from ganbench.table import Table
from ganbench.terminal import Terminal
from ganbench.text import terminal_width, wants_color

STYLES = ("rich", "md", "latex", "html", "csv", "json")


def render(
    tables: Table | Sequence[Table], style: str = "rich", *, width: int | None = None, color: bool | None = None
) -> str:
    """``tables`` as text.

    Args:
        tables: one or several; footers that all share are said once.
        style: ``rich`` for people, ``md``, ``latex``, ``html``, ``csv`` (raw numbers, one header), ``json``.
        width: of the ``rich`` style, in terminal cells; that of the terminal by default, 80 without one.
        color: whether the ``rich`` style has escape codes; by default if standard output is a terminal.

    Raises:
        ConfigError: there is no such style.
    """
    several = [tables] if isinstance(tables, Table) else list(tables)
    if style == "rich":
        return Terminal(width or terminal_width(), color=wants_color() if color is None else color).text(several)
    styles: Mapping[str, Callable[[Sequence[Table]], str]] = {
        "md": markdown,
        "latex": latex,
        "html": html,
        "csv": csv_text,
        "json": json_text,
    }
    if style not in styles:
        raise ConfigError(f"no table style {style!r}", place="--format", hint=nearest(style, STYLES))
    return styles[style](several)
