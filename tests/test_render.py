import csv
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ganbench.errors import ConfigError
from ganbench.numerals import numbers
from ganbench.render import render
from ganbench.stats import Estimate
from ganbench.table import Column, Row, Skip, Table, Tally
from ganbench.text import kinds_of, printable, wrap

LONG = "gradient-clipping(max_norm=0.5, norm_type=1)"
LABELS = ("none", LONG, "spectral-norm + r1")


def sample(
    labels=LABELS, *, measures=("modes20", "hq", "rkl", "sw2"), losses=("hinge", "minimax"), note="", title="run: ring"
):
    shown = [Column(m, m, "measure", "lower", "", 300 - i, floor=0.0123) for i, m in enumerate(measures)]
    shown += [Column(f"{m}_ema", f"{m} ema", "measure", "lower", "", 200 - i) for i, m in enumerate(measures)]
    columns = (
        Column("loss", "loss", "role", keep=1000),
        Column("regularizer", "regularizer", "role", keep=1000),
        *shown,
        Column("step_ms", "step ms", "time", "lower", "ms", 500),
        Column("step_ratio", "× none", "ratio", "lower", "", 400),  # noqa: RUF001 # the header that tables have
        Column("ok", "ok", "ok", keep=800),
    )
    rows = []
    for i, (loss, label) in enumerate((m, r) for m in losses for r in labels):
        value = Estimate(1.2345 + i, 1.2345 + i - 0.123, 1.2345 + i + 0.123, 3)
        entries = dict.fromkeys([c.name for c in shown], value) | {
            "loss": loss,
            "regularizer": label,
            "step_ms": Estimate(1.5, 1.4, 1.6, 3),
            "step_ratio": Estimate(1.5, 1.4, 1.6, 3),
            "ok": Tally(2, 3, {"diverged": 1}) if note else Tally(3, 3),
        }
        rows.append(Row(entries, frozenset({"hq"}) if i == 0 else frozenset(), note))
    skipped = (Skip("no bound", (f"wasserstein · {labels[0]}",), ({"loss": "wasserstein", "regularizer": labels[0]},)),)
    constants = {"dataset": "ring", "generator": "mlp", "discriminator": "mlp"}
    return Table(title, constants, columns, tuple(rows), skipped, ("Mean ± half-width.", "* best."))


def lines(text):
    return text.splitlines()


# any text but surrogates, which hypothesis leaves out by itself unless asked
names = st.text(st.characters(), min_size=1, max_size=60) | st.sampled_from(
    [
        "[red]a[/red]",
        "a|b",
        "x_y^z$%&#{}~\\",
        "模型(宽度=32)",
        "\x1b[31mred\x1b[0m",
        "a\nb\tc",
        ":smile:",
        "\u2028",
        "\ud800",
    ]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(names, min_size=1, max_size=4, unique=True), names, st.integers(60, 200))
def test_no_line_is_wider_than_the_terminal_and_there_are_no_control_characters(labels, note, width):
    text = render(sample(labels, note=note, title=note), width=width, color=False)
    text.encode()
    assert all(cell_len(line) <= width for line in lines(text))
    assert all(c == "\n" or c.isprintable() or not c.isascii() for c in text)
    assert "\x1b" not in text


@given(names, st.integers(24, 90))
def test_a_label_is_wrapped_and_never_cut(label, width):
    columns = (Column("regularizer", "regularizer", "role"), Column("ok", "ok", "ok"))
    text = render(Table("t", {}, columns, (Row({"regularizer": label, "ok": Tally(1, 1)}),)), width=width, color=False)
    _title, _head, _rule, first, *rest = text.split("\n")
    whole = first.removesuffix("1/1") + "".join(rest)
    assert re.sub(r"\s", "", whole) == re.sub(r"\s", "", printable(label))


def test_columns_that_do_not_fit_are_named_and_all_are_shown_where_there_is_room():
    narrow, wide = render(sample(), width=80, color=False), render(sample(), width=200, color=False)
    assert "Not shown in 80 columns: the ema columns, intervals of ratios" in narrow
    assert "--format csv" in narrow
    assert "Not shown" not in wide
    assert "1.50 [1.40, 1.60]" in wide
    head = "\n".join(lines(wide)[:5])
    assert all(name in head for name in ("modes20", "hq", "rkl", "sw2", "ema"))


def test_all_four_plain_measures_fit_80_columns_beside_a_long_label():
    head = "\n".join(lines(render(sample(), width=80, color=False))[:5])
    assert all(f"{name} ↓" in head for name in ("modes20", "hq", "rkl", "sw2"))
    assert "step" in head
    assert "ok" in head


@pytest.mark.parametrize("width", [1, 5, 20, 40])
def test_a_very_narrow_terminal_still_gets_its_labels(width):
    text = render(sample(), width=width, color=False)
    assert "none" in re.sub(r"\s", "", text)


def test_color_is_escape_codes_only():
    plain, loud = (render(sample(), width=100, color=color) for color in (False, True))
    assert "\x1b[" in loud
    assert re.sub(r"\x1b\[[0-9;]*m", "", loud) == plain


def test_off_a_terminal_there_are_no_escape_codes_and_80_columns(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("os.get_terminal_size", lambda _stream: (_ for _ in ()).throw(OSError))
    text = render(sample())
    assert "\x1b" not in text
    assert max(map(cell_len, lines(text))) <= 80
    monkeypatch.setenv("COLUMNS", "150")
    assert max(map(cell_len, lines(render(sample())))) > 80


def test_the_best_is_starred_in_text_and_bold_in_documents():
    assert "1.23±0.12*" in render(sample(), width=120, color=False)
    assert "**1.23** ±0.12" in render(sample(), "md")
    assert r"$\mathbf{1.23} \pm 0.12$" in render(sample(), "latex")


def test_roles_outside_the_last_become_headings_only_where_that_saves_lines():
    headed = render(sample(), width=80, color=False)
    assert re.search("^── loss hinge ─+$", headed, re.MULTILINE)
    flat = render(sample(("none",)), width=80, color=False)
    assert "── loss" not in flat
    assert re.search(r"^hinge +none ", flat, re.MULTILINE)


def test_failures_stand_under_their_row_and_in_documents():
    table = sample(("none",), note="1 diverged (seed 2): not finite")
    for style in ("rich", "md", "latex"):
        text = render(table, style, width=80, color=False)
        assert "2/3" in text
        assert "1 diverged (seed 2): not finite" in text
    assert "no bound" in render(table, "md")


def test_shared_footers_are_said_once():
    text = render([sample(title="a"), sample(title="b")], width=80, color=False)
    assert text.count("Mean ± half-width.") == 1
    assert text.index("Mean ±") > text.index("b\n")


@given(st.lists(names, min_size=1, max_size=4, unique=True), names)
def test_csv_is_one_table_with_raw_numbers(labels, note):
    labels = [printable(label) for label in labels]
    tables = [sample(labels, note=note, title="a"), sample(labels, measures=("fd",), title="b")]
    head, *rows = csv.reader(io.StringIO(render(tables, "csv")))
    assert all(len(row) == len(head) for row in rows)
    assert len(set(head)) == len(head)
    got = [dict(zip(head, row, strict=True)) for row in rows]
    assert [g["regularizer"] for g in got if g["loss"] == "hinge" and g["table"] == "a"] == labels
    assert float(got[0]["hq"]) == 1.2345
    assert float(got[0]["hq_low"]) == 1.2345 - 0.123
    assert float(got[0]["hq_floor"]) == 0.0123
    assert got[0]["fd"] == ""
    assert [g["failures"] for g in got].count("skipped") == 2


def test_json_has_the_raw_numbers_and_the_words():
    (table,) = json.loads(render(sample(note="why"), "json"))
    assert table["title"] == "run: ring"
    row = table["rows"][0]
    assert row["hq"] == 1.2345
    assert row["hq_n"] == 3
    assert row["hq_best"] is True
    assert (row["ok"], row["total"], row["failures"], row["note"]) == (2, 3, "1 diverged", "why")
    assert table["skipped"][0]["reason"] == "no bound"
    assert table["footers"] == ["Mean ± half-width.", "* best."]
    assert json.loads(render([], "json")) == []


@given(st.lists(names, min_size=1, max_size=4, unique=True), names)
def test_markdown_rows_all_have_as_many_cells_as_the_header(labels, note):
    table = sample(labels, note=note)
    rows = [line for line in lines(render(table, "md")) if line.startswith("| ")]
    cells = [len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows]
    assert set(cells) == {len(table.columns) + 2}
    assert len(rows) == len(table.rows) + 3  # header, rule and floor


@given(st.lists(names, min_size=1, max_size=4, unique=True), names)
def test_latex_is_balanced_and_has_no_bare_special_characters(labels, note):
    table = sample(labels, note=note)
    text = render(table, "latex")
    body = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert body.count("{") == body.count("}")
    assert body.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular"]
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"]
    math_free = re.sub(r"\$[^$]*\$", "", body.split("\n", 1)[1])
    assert not re.search(r"[_^#%~]", math_free)
    rows = [line for line in lines(text) if line.endswith(r"\\")]
    (many,) = {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows}
    left_out = re.findall(r"Not shown: (.*)\.\\par", text)
    assert many + sum(len(names.split(", ")) for names in left_out) == len(table.columns)


def test_markup_in_names_is_text():
    text = render(sample(("[red]x[/red]", ":smile:")), width=160, color=False)
    assert "[red]x[/red]" in text
    assert ":smile:" in text


def test_an_unknown_style_teaches():
    with pytest.raises(ConfigError, match="no table style 'latx'; did you mean 'latex'"):
        render(sample(), "latx")


def test_tables_without_rows_say_so():
    empty = Table("run", {}, (), (), footers=("Not run yet: 3 of 3 trials.",))
    for style in ("rich", "md", "latex", "csv", "json"):
        text = render(empty, style, width=80, color=False)
        assert style == "csv" or "Not run yet" in text
    assert "no trial has a result yet" in render(empty, width=80, color=False)


def estimate(mean, half=None):
    return Estimate(mean, *((None, None) if half is None else (mean - half, mean + half)), 3)


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ([(12.345, 0.123), (1.5, 0.2)], ["12.35 ±0.12", "1.50 ±0.20"]),
        ([(12.345, 0.5)], ["12.3 ±0.5"]),
        ([(123.0, 45.0), (0.5, 0.001)], ["123 ±45", "0.500 ±0.001"]),
        ([(20.0, 0.0)], ["20.0 ±0.0"]),
        ([(0.123456,)], ["0.123"]),
        ([(1234.5,)], ["1234"]),
        ([(0.31, 0.04), (0.0031,)], ["0.31 ±0.04", "0.0031"]),
        ([(1e9, 1e3)], ["1.0e9 ±1.0e3"]),
        ([(1e-9,)], ["1.0e-9"]),
        ([(0.0,)], ["0.0"]),
    ],
)
def test_numbers_have_the_decimals_their_uncertainty_allows(given_, shown):
    got = numbers([estimate(*pair) for pair in given_])
    assert [f"{n.mean} {n.half}".strip() for n in got] == shown


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.none() | st.floats(0, 1e12)), max_size=8))
def test_numbers_show_every_mean_to_within_its_uncertainty_or_to_two_digits(pairs):
    for (mean, half), number in zip(pairs, numbers([estimate(*pair) for pair in pairs]), strict=True):
        assert float(number.mean) == pytest.approx(mean, rel=0.051, abs=max(half or 0, 1e-300))
        assert len(number.mean) <= 15


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Mn", "Me", "Cf"))), st.integers(2, 40))
def test_wrapping_loses_nothing_and_keeps_to_its_width(text, width):
    wrapped = wrap(text, width, indent=2)
    assert all(cell_len(line) <= width for line in wrapped)
    assert "".join(wrapped).replace(" ", "") == text.replace(" ", "")


def test_messages_that_differ_in_numbers_are_one_kind():
    assert kinds_of(["a-0 is 1.5 at 3", "b", "a-0 is 2 at 3", "b"]) == {
        "a-0 is … at 3": ["a-0 is 1.5 at 3", "a-0 is 2 at 3"],
        "b": ["b", "b"],
    }
    assert kinds_of([]) == {}
