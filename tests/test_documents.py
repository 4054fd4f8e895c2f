"""Documents are taken by what reads them."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ganbench.render import render
from ganbench.stats import Estimate, Percent
from ganbench.table import Column, PValue, Row, Table, Tally

NAMES = ("r1(gamma=0.1)", "a_b^c$%&#{}~\\", '"q" <x> |y| [z]', "·×±–↓Δ", "*star*", "γ_Ω ≤ σ² −1", "模型 é ☃ --x")  # noqa: RUF001 # signs we write


def table() -> Table:
    columns = (
        Column("regularizer", "regularizer", "role"),
        Column("fd", "fd", "measure", "lower", "nats", floor=0.5),
        Column("fd_diff", "Δ fd", "change"),
        Column("p", "p", "test"),
        Column("ok", "ok", "ok"),
    )
    value = Estimate(1.0, 0.5, 1.5, 3)
    rows = [
        Row(
            {"regularizer": name, "fd": value, "fd_diff": Percent(5.0, -1.0, 11.0, 3), "p": PValue(0.01, 0.2, 6)}
            | {"ok": Tally(2, 3, {"diverged": 1})},
            best=frozenset({"fd"} if i == 0 else ()),
            note=name,
            tied=frozenset({"fd"} if i == 1 else ()),
        )
        for i, name in enumerate(NAMES)
    ]
    columns += tuple(Column(f"fd{i}", f"another change {i}", "change") for i in range(6))
    rows = [replace(row, entries={**row.entries, **{f"fd{i}": value for i in range(6)}}) for row in rows]
    return Table("run: x_y", {"loss": "a&b"}, columns, tuple(rows), footers=("95 % of #1",))


def long_table() -> Table:
    """More rows than a page has, with more notes than stand with a table, and no room for the averages."""
    first = table()
    columns = (*first.columns, *(Column(f"m{i}_ema", f"measure {i} ema", "measure", keep=200 - i) for i in range(4)))
    value = Estimate(123.456, 100.0, 150.0, 3)
    entries = {f"m{i}_ema": value for i in range(4)}
    rows = [
        replace(row, entries={**row.entries, **entries, "regularizer": f"r{i}"}, note=f"1 diverged: at step {i} " * 3)
        for i, row in enumerate(first.rows * 10)
    ]
    return replace(first, columns=columns, rows=tuple(rows))


def test_a_long_latex_table_goes_on_in_another_and_names_what_it_leaves_out():
    text = render(long_table(), "latex")
    assert text.count(r"\begin{table}") == 3
    assert "(1 of 3)" in text
    (left_out,) = re.findall(r"Not shown: (.*)\.", text)
    assert {f"measure {i} ema" for i in range(4)} <= set(left_out.split(", "))
    assert all(text.count(f" r{i} &") + text.count(f"\nr{i} &") == 1 for i in range(len(long_table().rows)))
    assert text.rstrip().endswith("}")  # notes follow the last table as text
    assert not text.rstrip().endswith(r"\end{table}")


class Rows(HTMLParser):
    """The cells of each row of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        if tag == "tr":
            self.found.append([])
        elif tag in ("td", "th"):
            self.found[-1].append(tag)


def test_html_is_a_fragment_that_escapes_and_marks():
    text = render(replace(table(), title="<script>alert(1)</script>"), "html")
    assert "<script" not in text
    assert "&lt;x&gt;" in text
    assert "<strong>1.0</strong>" in text
    assert "<u>1.0</u>" in text
    assert "real vs real" in text
    assert "95 % of #1" in text
    rows = Rows(text)
    assert {len(row) for row in rows.found} == {len(table().columns)}
    assert len(rows.found) == 1 + len(NAMES) + 1  # the header and the floor
    assert "no results" not in render(Table("empty", {}, (), ()), "html")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_every_column_is_shown_or_named_at_any_width(width):
    columns = [Column("regularizer", "regularizer", "role"), Column("ok", "ok", "ok", keep=800)]
    columns[1:1] = [Column(f"m{i}", f"name{i}", "measure", keep=300 - i) for i in range(20)]
    columns[1:1] = [Column(f"m{i}_ema", f"name{i}ema", "measure", keep=200 - i) for i in range(20)]
    entries = {c.name: Estimate(1.25, 1.0, 1.5, 3) for c in columns}
    row = Row({**entries, "regularizer": "none", "ok": Tally(3, 3)})
    text = render(Table("t", {}, tuple(columns), (row,)), width=width, color=False)
    shown, _, rest = text.partition("Not shown in")
    heads = shown.split("\n")[1].split()
    named = rest.partition("(see a wider")[0].replace(",", " ").split()
    for i in range(20):
        assert (f"name{i}" in heads) != (f"name{i}" in named)
    assert "the ema columns" in " ".join(named)
    assert len(heads) >= {80: 7, 100: 9, 200: 18}[width]
    assert all(len(line) <= width for line in text.split("\n"))


@pytest.mark.slow
def test_latex_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
    text = render([table(), long_table(), Table("empty", {}, (), ())], "latex")
    (tmp_path / "table.tex").write_text(f"{head}\n{text}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 0
    assert b"Overfull" not in done.stdout  # though it is wide
    assert b"too large" not in done.stdout  # though it is long


def test_a_test_shows_its_p_its_doubts_or_what_it_needs():
    assert [str(t) for t in (PValue(0.0001), PValue(0.012), PValue(0.4), PValue(None, need=9), PValue(None))] == [
        "<0.001",
        "0.012",
        "0.40",
        "need 9",
        "not tested",
    ]
    assert str(PValue(0.03, 0.06)) == "0.030 (flip 0.060)"
    assert "0.010 (flip 0.20)" in render(table(), "md")
