"""The HTML page of a run: whole, inert, self-contained; and, where there is a Chromium, alive.

The tests in a browser are marked slow: ``.venv/bin/python -m pytest -m slow tests/test_report.py`` runs them, and skips
them where no Chromium is found.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import browser
import pytest
import reporting
from PIL import Image

from ganbench.cli import main
from ganbench.errors import ResultsError
from ganbench.report import page, write
from ganbench.report.images import embed
from ganbench.report.text import esc
from ganbench.results import Results

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes and text; raises if tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is given twice"
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag) -> None:
        assert self.open
        assert self.open.pop()[0] == tag

    def handle_data(self, data) -> None:
        for _, _, texts in self.open:
            texts.append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, "".join(texts)) for name, attrs, texts in self.elements if name == tag]


def fd(loss, regularizer, seed):
    return None if (loss, regularizer, seed) == ("hinge", "r1", 1) else 1.0 + seed + (regularizer == "r1")


@pytest.fixture
def run(tmp_path) -> Path:
    return reporting.make(tmp_path / "toy", fd=fd, picture=reporting.png())


def trials(found: Page) -> list[str]:
    rows = [text for attrs, text in found.all("tr")]
    return [row for row in rows if "done" in row or "diverged" in row or "missing" in row]


def test_the_page_is_well_formed_and_has_every_section(run) -> None:
    found = Page(page(Results(run)))
    headings = [text for _, text in found.all("h2")]
    assert headings == [
        "What helped",
        "Tables",
        "Quality against time",
        "Training curves",
        "Samples",
        "Failures",
        "Environment",
        "Reproduce",
    ]
    ids = [attrs["id"] for _, attrs, _ in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs, _ in found.all("a"):
        assert attrs["href"].removeprefix("#") in ids
    for attrs, _ in found.all("label"):
        assert attrs["for"] in ids
    assert len(found.all("h1")) == 1


def test_every_trial_is_a_row_failed_and_missing_ones_too(run) -> None:
    gone = next(run.glob("trials/*-000001000001/seed-2/result.json"))
    gone.unlink()
    found = Page(page(Results(run)))
    table = next(text for attrs, text in found.all("details") if "every trial (12)" in text)
    assert table.count("done") == 10
    assert table.count("diverged") == 1
    assert table.count("missing") == 1
    assert "not run yet" in table
    assert "d_loss is nan at step 7" in table


def test_nothing_is_loaded_and_the_policy_allows_no_more_than_the_page_has(run) -> None:
    text = page(Results(run))
    found = Page(text)
    for _, attrs, _ in found.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = attrs.get(name) or ""
            assert value == "" or value.startswith(("#", "data:image/png;base64,"))
        assert not any(name.startswith("on") or name == "style" for name in attrs)
    assert not re.search(r"@import|url\(", text)
    (policy,) = [a["content"] for a, _ in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        ((_, inner),) = found.all(tag)
        assert base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode() in policy


def test_names_and_messages_are_inert(tmp_path) -> None:
    run = reporting.make(
        tmp_path / f"a{EVIL.replace('/', '')}",
        losses=("hinge", f"'\"{EVIL}"),
        regularizers=("none", EVIL),
        fd=lambda loss, _r, seed: None if loss == "hinge" and seed == 0 else 1.0 + seed,
        skip=lambda loss, r: f"why </pre>{EVIL}\x1b[31m\u202e" if loss != "hinge" and r == "none" else None,
        reason=f"</td></table>{EVIL}",
        picture=reporting.png(),
    )
    (run / "grid.toml").write_text(f"# </code></pre>{EVIL}\n")
    text = page(Results(run))
    found = Page(text)
    assert len(found.all("script")) == 1
    assert "<script>alert" not in text
    assert not re.search("[\x1b\u202e]", text)
    assert "why </pre>" in "".join(inner for _, inner in found.all("h3"))


def test_halves_of_characters_do_not_stop_the_page() -> None:
    assert esc("a\ud800<\x00") == "a\N{REPLACEMENT CHARACTER}&lt;\N{REPLACEMENT CHARACTER}"


def test_the_verdict_the_best_and_the_failures_are_there(run) -> None:
    text = page(Results(run))
    found = Page(text)
    (verdict,) = [t for _, t in found.all("li") if t.startswith("r1 ")]
    assert "against none" in verdict
    assert "1 trial of it failed" in verdict
    assert re.search(r'<td class="number best" data-v="[0-9.]+">', text)
    (log,) = [t for _, t in found.all("pre") if "the <last> line" in t]
    assert log.count("first") == 19  # the last twenty lines
    assert "ganbench run --grid grid.toml" in text
    assert "pip install ganbench==9.8.7" in text
    assert "0a1b2c" in text
    assert "# as it was" in text
    assert "--seeds" not in text  # the seeds are those of the grid


def test_seeds_that_are_not_the_grids_are_in_the_commands(tmp_path) -> None:
    run = reporting.make(tmp_path / "toy", seeds=1)
    assert "ganbench run --grid grid.toml --seeds 0,\n" in Page(page(Results(run))).all("pre")[0][1] + "\n"


def test_skipped_cells_are_listed_with_their_reasons(tmp_path) -> None:
    run = reporting.make(tmp_path / "toy", skip=lambda loss, _: "no bound" if loss == "minimax" else None)
    text = page(Results(run))
    assert "no bound" in text
    assert "Skipped" in text


def test_advice_names_the_cells_that_it_is_about(run) -> None:
    raw = json.loads((run / "run.json").read_text())
    raw["cells"][1]["advice"] = ["r1 with hinge is <doubtful>"]
    (run / "run.json").write_text(json.dumps(raw))
    section = page(Results(run)).partition('<section id="advice"')[2].partition("</section>")[0]
    assert "r1 with hinge is &lt;doubtful&gt;" in section
    assert "1 cell<" in section
    assert "hinge · r1" in section


def test_times_of_several_machines_have_no_front(run) -> None:
    assert 'class="front"' in page(Results(run))
    for path in run.glob("trials/*/seed-0/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprints": {"hardware": "another"}}))
    text = page(Results(run))
    assert 'class="front"' not in text
    assert "2 machines or environments" in text


def test_runs_without_results_or_measures_have_a_page(tmp_path) -> None:
    empty = reporting.make(tmp_path / "empty", losses=())
    assert "empty" in page(Results(empty))
    unmeasured = reporting.make(tmp_path / "unmeasured", measures={}, timing={})
    Page(page(Results(unmeasured)))
    failed = reporting.make(tmp_path / "failed", fd=lambda *_: None)
    Page(page(Results(failed)))
    wild = reporting.make(tmp_path / "wild", seeds=2, fd=lambda _l, r, s: 1e38 if (r == "r1") != (s == 0) else 1e-38)
    Page(page(Results(wild)))
    torn = reporting.make(tmp_path / "torn")
    for path in torn.glob("trials/*/*/curves.jsonl"):
        path.write_text("not json\n")
    for path in torn.glob("trials/*/seed-0/result.json"):
        path.write_text("{")
    (torn / "environment.json").write_text("[")
    (torn / "grid.toml").unlink()
    assert "unreadable result" in page(Results(torn))


def test_the_same_results_give_the_same_page(run) -> None:
    assert page(Results(run)) == page(Results(run))


def test_a_thousand_trials_fit_in_a_page(tmp_path) -> None:
    regularizers = ("none", *(f"r1(gamma={k})" for k in range(99)))
    run = reporting.make(tmp_path / "toy", losses=("hinge", "minimax"), regularizers=regularizers, seeds=5)
    text = page(Results(run))
    assert text.count("</tr>") > 1000
    assert len(text) < 3_000_000


# -- pictures ------------------------------------------------------------------------------------------------------


def test_pictures_are_embedded_as_they_are_if_there_is_room(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(reporting.png(20))
    pictures, left_out = embed({"a": path})
    assert base64.b64decode(pictures["a"].uri.partition(",")[2]) == path.read_bytes()
    assert (pictures["a"].width, pictures["a"].height) == (20, 20)
    assert not left_out


def test_pictures_keep_to_the_budget(tmp_path) -> None:
    files = {}
    for i in range(10):
        files[str(i)] = tmp_path / f"{i}.png"
        files[str(i)].write_bytes(reporting.png(400, seed=i))
    pictures, left_out = embed(files, budget=400_000)
    assert len(pictures) == 10
    assert sum(len(p.uri) for p in pictures.values()) <= 400_000
    smaller = Image.open(io.BytesIO(base64.b64decode(pictures["0"].uri.partition(",")[2])))
    assert smaller.size == (pictures["0"].width, pictures["0"].height)
    assert smaller.size < (400, 400)
    none, left_out = embed(files, budget=1000)
    assert none == {}
    assert set(left_out.values()) == {"no room in the page"}


def test_files_that_are_no_pictures_are_left_out_with_a_reason(tmp_path) -> None:
    (tmp_path / "text.png").write_text("<svg onload=alert(1)>" * 9)
    head = reporting.png()[:24]
    (tmp_path / "huge.png").write_bytes(head[:16] + b"\0\1\0\0" * 2)
    (tmp_path / "torn.png").write_bytes(head + b"x" * 5000)
    files = {name: tmp_path / f"{name}.png" for name in ("text", "huge", "torn", "gone")}
    pictures, left_out = embed(files, budget=1000)
    assert pictures == {}
    assert left_out == {
        "text": "not a PNG file",
        "huge": "too large",
        "torn": "not a readable PNG file",
        "gone": "there is no file",
    }


def test_the_page_says_which_pictures_it_leaves_out(run) -> None:
    found = Page(page(Results(run)))
    assert len(found.all("img")) == 4  # one for each cell
    assert "Left out: all pictures of the other 2 seeds" in " ".join(t for _, t in found.all("p"))


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_into_the_run_or_where_it_is_told(run, tmp_path, capsys) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert main(["report", str(run), "-o", str(tmp_path / "x.html"), "--baseline", "r1"]) == 0
    assert "none</strong>" in (tmp_path / "x.html").read_text()
    assert main(["verify", str(run)]) in (0, 1)
    assert "report.html" not in capsys.readouterr().out  # it belongs there


def test_failures_that_differ_in_a_number_are_one_kind(tmp_path) -> None:
    run = reporting.make(
        tmp_path / "toy",
        fd=lambda _l, r, _s: None if r == "r1" else 1.0,
        reason=lambda _value, seed: f"d_loss is nan at step {seed}" if seed else "",
    )
    section = page(Results(run)).partition('<section id="failures"')[2].partition("</section>")[0]
    heads = [text for _, text in Page(section).all("h3")]
    assert heads == ["diverged: no message", "diverged: d_loss is nan at step …"]  # in the order of seeds
    assert "seed 2: d_loss is nan at step 2" in section


def test_how_levels_stand_over_all_cells_is_a_table(run) -> None:
    found = Page(page(Results(run)))
    (caption,) = [text for _, text in found.all("h3") if "over all cells" in text]
    assert caption == "toy: regularizer over all cells, against none"
    assert [text for _, text in found.all("h3") if "over all cells" in text]
    (row,) = [text for _, text in found.all("tr") if text.startswith("fd ↓r1")]
    assert "5/6 1 diverged" in row
    one = reporting.make(run.parent / "one", losses=("hinge",))
    assert "over all cells" not in page(Results(one))  # which is one block


def test_a_page_is_written_whole_or_not_at_all(run, tmp_path, monkeypatch) -> None:
    target = tmp_path / "x.html"
    target.write_text("before")

    def full(*_args, **_kwargs) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResultsError, match="No space left"):
        write(Results(run), target)
    monkeypatch.undo()
    assert target.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy", "x.html"]
    with pytest.raises(ResultsError, match="cannot be written"):
        write(Results(run), tmp_path / "nowhere" / "x.html")


# -- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium")
    with browser.tab(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_has_nothing_to_complain_of(run, tab, width, dark) -> None:
    write(Results(run), run / "report.html")
    tab.size(width, 800, dark=dark)
    tab.open(run / "report.html")
    assert tab.run("Promise.all([...document.images].map(i => (i.loading = 'eager', i.decode()))).then(() => 'all')")
    assert tab.errors() == []
    assert [r for r in tab.requests() if not r.startswith("data:")] == [(run / "report.html").resolve().as_uri()]
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")  # wide tables scroll in their own box
    colour = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") != dark


@pytest.mark.slow
def test_columns_sort_and_rows_filter(run, tab) -> None:
    write(Results(run), run / "report.html")
    tab.open(run / "report.html")
    column = "[...document.querySelector('table.data').tBodies[0].rows].map(r => r.cells[2].dataset.v)"
    head = "document.querySelector('table.data').tHead.rows[0].cells[2]"
    before = tab.run(column)
    tab.run(f"{head}.querySelector('button').focus()")
    for kind in ("rawKeyDown", "char", "keyUp"):  # as a keyboard does it
        tab.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert tab.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    assert tab.run(column) == sorted(before, key=float)
    tab.run(f"{head}.querySelector('button').click()")
    assert tab.run(f"{head}.getAttribute('aria-sort')") == "descending"
    assert tab.run(column) == sorted(before, key=float, reverse=True)
    assert tab.run("document.querySelectorAll('[aria-sort=descending]').length") == 1

    tab.run("document.querySelector('input').focus()")
    tab.ask("Input.insertText", text="Hinge R1")
    shown = "[...document.querySelector('table.data').tBodies[0].rows].filter(r => !r.hidden).map(r => r.innerText)"
    (row,) = tab.run(shown)
    assert "hinge" in row
    assert "r1" in row
    assert tab.run("document.querySelector('output').textContent") == "1 of 4 rows"
    assert tab.errors() == []


@pytest.mark.slow
def test_smuggled_scripts_do_not_run(tmp_path, tab) -> None:
    run = reporting.make(tmp_path / "toy", regularizers=("none", "<img src=x onerror=document.title='caught'>"))
    write(Results(run), run / "report.html")
    tab.open(run / "report.html")
    assert tab.run("document.title") == "toy · ganbench report"
    assert tab.errors() == []
    # and what escaping would miss, the policy stops: this element is made on purpose
    tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 1\">')")
    tab.run("new Promise(resolve => setTimeout(resolve, 200))")
    assert tab.run("document.title") == "toy · ganbench report"


@pytest.mark.slow
def test_a_thousand_trials_open_in_two_seconds(tmp_path, tab) -> None:
    regularizers = ("none", *(f"r1(gamma={k})" for k in range(99)))
    run = reporting.make(
        tmp_path / "toy",
        losses=("hinge", "minimax"),
        regularizers=regularizers,
        seeds=5,
        fd=lambda _l, r, s: 1.0 + s + len(r),
        picture=reporting.png(),
    )
    write(Results(run), run / "report.html")
    tab.size(1280, 800)
    tab.open(run / "report.html")
    last = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert tab.run(f"new Promise(r => setTimeout(() => r({last}), 100))") < 2000
    start = "(() => { const t = performance.now(); const input = document.querySelector('input');"
    ended = "document.body.offsetHeight; return performance.now() - t; })()"
    assert tab.run(f"{start} input.value = 'hinge gamma=98'; input.dispatchEvent(new Event('input')); {ended}") < 500
    assert tab.run("document.querySelector('output').textContent") == "1 of 200 rows"
    assert tab.run(f"{start} document.querySelector('table.data thead button').click(); {ended}") < 500


def test_tables_name_the_machine_unless_there_were_several(run) -> None:
    environment = json.loads((run / "environment.json").read_text())
    gpus = [{"name": "H100", "memory_mib": 81559}]
    (run / "environment.json").write_text(json.dumps(environment | {"cpu": "EPYC", "cores": 2, "gpus": gpus}))
    (table,) = Results(run).tables()
    assert "Machine: EPYC (2 cores)." in table.footers  # the trials were not on the GPU
    assert "name H100 memory_mib 81559" in page(Results(run))
    for path in run.glob("trials/*/seed-*/result.json"):
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"facts": raw["facts"] | {"device": "cuda:0"}}))
    assert "Machine: H100, EPYC (2 cores)." in Results(run).tables()[0].footers
    one = next(run.glob("trials/*/seed-0/result.json"))
    one.write_text(json.dumps(json.loads(one.read_text()) | {"fingerprints": {"hardware": "another"}}))
    assert not any("Machine" in footer for footer in Results(run).tables()[0].footers)


def test_quality_is_drawn_against_seconds_of_training(tmp_path) -> None:
    def fd(_loss, regularizer, seed):
        return None if (regularizer, seed) == ("r2", 0) else {"none": 2.0, "r1": 0.8, "r2": 0.1}[regularizer]

    run = reporting.make(tmp_path / "run", losses=["hinge"], regularizers=["none", "r1", "r2"], fd=fd)
    text = page(Results(run))
    assert "run: ring: fd against seconds of training" in text
    # the slower cell is better at each of its evaluations; one with a failed trial is no choice, however good
    (_, figure) = text.split("against seconds of training")
    listed = re.findall("<li>(.*?)</li>", figure.partition("</figure>")[0])
    assert listed == [
        "none: fd 4.000 after 0.5000 s (step 5)",
        "r1: fd 1.600 after 1.000 s (step 5)",
        "r1: fd 0.8000 after 2.000 s (step 10)",
    ]
    for curves in run.glob("trials/*/seed-*/curves.jsonl"):  # as older versions wrote them
        curves.write_text(curves.read_text().replace("train_s", "was"))
    assert "seconds of training" not in page(Results(run))
