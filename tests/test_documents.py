"""Documents are taken by what reads them."""

import shutil
import subprocess
from dataclasses import replace

import pytest

from ganbench.render import render
from ganbench.stats import Estimate, Percent
from ganbench.table import Column, PValue, Row, Table, Tally

NAMES = ("r1(gamma=0.1)", "a_b^c$%&#{}~\\", '"q" <x> |y| [z]', "·×±–↓Δ", "*star*")  # noqa: RUF001 # signs we write


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


def test_latex_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
    (tmp_path / "table.tex").write_text(f"{head}\n{render(table(), 'latex')}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 0
    assert b"Overfull" not in done.stdout  # though it is wide


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
