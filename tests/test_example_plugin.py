"""The example of a distribution: its own tests pass, and ganbench finds it by its entry point once it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "plugins" / "ganbench-example"


def test_its_own_tests_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "tests"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_it_is_found_by_its_entry_point(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed_metadata(project, tmp_path)
    path = os.pathsep.join([str(tmp_path), str(EXAMPLE / "src")])
    command = [sys.executable, "-m", "ganbench.cli", "show", "regularizer", "running-drift", "--json"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["plugin"] == {"name": "example", "from": "ganbench-example 0.1.0"}
    assert shown["hook_points"] == ["init", "observe", "d_penalty"]


def installed_metadata(project: dict[str, object], folder: Path) -> None:
    """What pip would write beside an installed distribution, made from its pyproject.toml without building it."""
    info = folder / f"ganbench_example-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.3\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    groups = project["entry-points"]
    assert isinstance(groups, dict)
    lines = [line for group, points in groups.items() for line in (f"[{group}]", *map(" = ".join, points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
