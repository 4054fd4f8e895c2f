"""What README and docs show is loaded, planned, parsed or run here, and their links lead somewhere."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ganbench import scaffold, testing
from ganbench.cli import build_parser
from ganbench.grid import AXES, Grid
from ganbench.observers import Silent
from ganbench.registry import Registry
from ganbench.runner import Options, execute

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "results/README.md",
        ROOT / "plugins/ganbench-example/README.md",
    ]
)
EXAMPLE = ROOT / "plugins/ganbench-example/src/ganbench_example.py"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
TINY: dict[str, Any] = {
    "run": {"name": "tiny", "seeds": 1, "steps": 2, "batch": 4, "samples": 16, "evaluations": 1},
    "grid": {"dataset": "dirac", "generator": "dirac", "discriminator": "dirac", "loss": "non-saturating"},
}


@dataclass(frozen=True)
class Snippet:
    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0]}"


def snippets(language: str) -> list[Snippet]:
    found = (
        Snippet(page, *match.groups()) for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
    )
    return [s for s in found if s.language == language]


def is_plugin(snippet: Snippet) -> bool:
    return "@hookimpl" in snippet.text


def plugin(snippet: Snippet, folder: Path) -> Path:
    path = folder / "snippet.py"
    path.write_text(snippet.text, encoding="utf-8")
    return path


def test_every_block_says_what_it_is_and_is_checked_here() -> None:
    known = {"python", "toml", "console", "text"}
    seen = {(page, match[1]) for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert {language for _, language in seen} <= known
    fences = sum(page.read_text(encoding="utf-8").count("\n```") for page in PAGES)
    assert fences == 2 * sum(len(BLOCK.findall(page.read_text(encoding="utf-8"))) for page in PAGES)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Our components, those that the pages define, and the one that the tutorial has written."""
    files = {s.text: s for s in snippets("python") if is_plugin(s) and "ganbench_components" in s.text}
    with contextlib.chdir(tmp_path_factory.mktemp("tutorial")):
        scaffold.write("regularizer", "my-idea")
        written = Path("my_idea.py").resolve()
    return Registry.load([EXAMPLE, written, *(plugin(s, tmp_path_factory.mktemp("docs")) for s in files.values())])


@pytest.mark.parametrize("snippet", snippets("toml"), ids=str)
def test_toml_is_a_grid_or_a_part_of_one(snippet: Snippet, registry: Registry) -> None:
    table = tomllib.loads(snippet.text)
    if "project" in table:
        assert {"ganbench", "ganbench.view"} >= set(table["project"]["entry-points"])
        return
    if not set(table) & {"run", "grid", "exclude"}:
        table = {"grid": table}
    whole = table.get("grid", {})
    base = {"dataset": "digits", "generator": "mlp", "discriminator": "mlp", "loss": ["wasserstein", "hinge"]}
    if "grid" not in table:  # exclusions alone: of a grid that has what they name
        stacks = ["none", "r1", "vat", ["spectral-norm", "r1"]]
        whole = {"discriminator": ["mlp", {"use": "dcgan", "norm": "batch"}], "regularizer": stacks}
    blocks = whole if isinstance(whole, list) else [base | whole]
    grid = Grid.load({"run": {}, **table, "grid": blocks})
    combinations = grid.combinations(registry)
    assert combinations
    assert not grid.notes


def test_the_language_page_counts_cells_right(registry: Registry) -> None:
    base = {"dataset": "ring", "generator": "mlp", "discriminator": "mlp", "loss": "hinge"}

    def count(text: str) -> int:
        table = tomllib.loads(text)
        return len(Grid.load({"grid": base | table.get("grid", table)}).combinations(registry))

    page = (ROOT / "docs/grid.md").read_text(encoding="utf-8")
    numbers = {"two": 2, "four": 4, "five": 5, "eight": 8}
    claims = re.findall(r"```toml\n([^`]*)```\n\nhas (\w+) (?:cells|alternatives)", page)
    assert len(claims) == 3
    assert [count(text) for text, _ in claims] == [numbers[word] for _, word in claims]
    sweeps = next(text for text in re.findall(r"```toml\n([^`]*)```", page) if "lr_g" in text)
    assert [count(line) for line in sweeps.splitlines()] == [4, 4]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n([^`]*)```\n\nis 2 × 2 × 5 cells", readme)  # noqa: RUF001 # a multiplication sign
    assert count(shown) == 20


@pytest.mark.parametrize("snippet", [s for s in snippets("python") if is_plugin(s)], ids=str)
def test_plugins_load_keep_their_contract_and_hear_a_run(
    snippet: Snippet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(snippet, tmp_path)
    loaded = Registry.load([path])
    offered = [c for _, _, c in loaded.components() if loaded.origin(c).file == path.resolve()]
    findings = [finding for component in offered for finding in testing.check(component)]
    assert [finding for finding in findings if not finding.ok] == []
    if offered:
        assert findings
        return
    display = Notes()
    outcome = execute(Grid.load(TINY), tmp_path / "results", Options(device="cpu", workers=1, plugins=(path,)), display)
    assert not [note for note in display.notes if "failed in" in note]
    hook = loaded.manager.hook
    for found in hook.ganbench_columns(records=outcome.results.records):
        assert all(len(column) == len(outcome.results.records) for column in found.values())
    _, commands = build_parser()
    hook.ganbench_commands(cli=commands)
    for name in set(commands.choices) - set(build_parser()[1].choices):
        args = commands.choices[name].parse_args(["you"])
        assert args.call(args) == 0
        assert "you" in capsys.readouterr().out


class Notes(Silent):
    """A display that keeps what it is told of failing observers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_observer_writes_what_it_says(tmp_path: Path) -> None:
    (snippet,) = (s for s in snippets("python") if "ganbench_record" in s.text)
    options = Options(device="cpu", workers=1, plugins=(plugin(snippet, tmp_path),))
    outcome = execute(Grid.load(TINY), tmp_path / "results", options)
    assert len((outcome.run.folder / "stream.jsonl").read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize("snippet", [s for s in snippets("python") if not is_plugin(s)], ids=str)
def test_scripts_run(snippet: Snippet, tmp_path: Path) -> None:
    command = [sys.executable, "-c", snippet.text]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_plugin_is_twelve_lines() -> None:
    (snippet,) = (s for s in snippets("python") if s.page.name == "README.md" and is_plugin(s))
    assert len(snippet.text.splitlines()) == 12


def commands() -> Iterator[tuple[Path, str]]:
    for snippet in snippets("console"):
        for line in snippet.text.splitlines():
            if line.startswith("$ "):
                yield snippet.page, line.removeprefix("$ ")


@pytest.mark.parametrize(("page", "line"), list(commands()), ids=lambda v: v if isinstance(v, str) else v.name)
def test_commands_exist(page: Path, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    program = words[0].rpartition("/")[2]
    if program == "ganbench":
        build_parser()[0].parse_args(words[1:])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), f"{page}: {line}"
    else:
        assert program in {"git", "pip", "pytest"}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_pages_speak_of_every_axis_and_hook_point() -> None:
    from ganbench.regularizer import HOOK_POINTS

    plugin_page = (ROOT / "docs/write-a-plugin.md").read_text(encoding="utf-8")
    assert [h for h in HOOK_POINTS if f"| `{h}(" not in plugin_page] == []
    grid_page = (ROOT / "docs/grid.md").read_text(encoding="utf-8")
    assert [a for a in AXES if f"`{a}`" not in grid_page] == []


def test_lines_of_prose_fit_an_editor() -> None:
    written = [page for page in PAGES if "reference" not in page.parts]
    lines = itertools.chain.from_iterable(page.read_text(encoding="utf-8").splitlines() for page in written)
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
