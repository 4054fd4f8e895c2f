"""`ganbench samples`: which pictures are written, of which trials, and what it says where there are none."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import making
import numpy as np
import pytest
import torch
from PIL import Image

import ganbench
from ganbench.cli import main
from ganbench.gallery import linear, spherical
from ganbench.results import Results


def grid_of(name: str, **axes) -> dict:
    grid = copy.deepcopy(making.SMALL)
    grid["run"] |= {"name": name, "steps": 4, "samples": 16, "snapshots": True}
    grid["grid"] |= axes
    return grid


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two finished runs: one of points with two cells and two seeds, one of images with one of each."""
    folder = tmp_path_factory.mktemp("results")
    images = grid_of("images", dataset="digits", regularizer="none")
    images["run"]["seeds"] = 1
    for grid in (grid_of("points"), images):
        assert ganbench.run(grid, results=folder, workers=1).counts["done"]
    return folder


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """The pictures below a folder and their sizes."""
    found = {}
    for path in sorted(folder.rglob("*.*")):
        with Image.open(path) as picture:
            picture.load()
            found[path.relative_to(folder).as_posix()] = picture.size
    return found


def test_points_get_an_overview_densities_paths_and_an_animation(runs, tmp_path, capsys):
    assert main(["samples", str(runs / "points"), "--gif", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.split()
    found = files(tmp_path / "out")
    assert sorted(printed) == sorted(str(tmp_path / "out" / name) for name in found)
    cells = [cell.cell for cell in Results(runs / "points").plan]
    names = ("samples.png", "interpolation.png", "training.gif")
    assert set(found) == {"overview.png", *(f"{cell}/seed-0/{name}" for cell in cells for name in names)}
    with Image.open(tmp_path / "out" / cells[0] / "seed-0" / "training.gif") as animation:
        assert animation.n_frames == 2  # one for each evaluation


def test_images_get_a_grid_neighbours_and_strips(runs, capsys):
    run = runs / "images"
    assert main(["samples", "images", "--results", str(runs), "--which", "last", "--extractor", "pixels"]) == 0
    (cell,) = Results(run).plan
    names = ("samples.png", "nearest.png", "interpolation.png")
    assert set(files(run / "samples")) == {"overview.png", *(f"{cell.cell}/seed-0/{name}" for name in names)}
    shutil.rmtree(run / "samples")


def test_the_same_command_draws_the_same_pictures(runs, tmp_path):
    for name in "ab":
        assert main(["samples", str(runs / "images"), "--extractor", "pixels", "-o", str(tmp_path / name)]) == 0
    one, two = (sorted((tmp_path / name).rglob("*.png")) for name in "ab")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_cells_and_seeds_can_be_chosen(runs, tmp_path):
    run = runs / "points"
    plain, _ = Results(run).plan
    for number, chosen in enumerate((plain.cell, "none", plain.id[:6])):
        out = tmp_path / str(number)
        assert main(["samples", str(run), "--cell", chosen, "--seed", "1", "-o", str(out)]) == 0
        assert {name.partition("/")[0] for name in files(out)} == {"overview.png", plain.cell}
        assert (out / plain.cell / "seed-1" / "samples.png").is_file()
        assert not (out / plain.cell / "seed-0").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cell", "r11"], "no cell is called 'r11'; did you mean 'r1'?"),
        (["--seed", "7"], "no trial has the seed 7; known: 0, 1"),
        (["--seed", "x"], "'x' is not a list of seeds such as 0,1,2"),
        (["--extractor", "pixel"], "did you mean 'pixels'?"),
        (["--which", "best"], "invalid choice: 'best'"),
    ],
)
def test_choices_that_are_not_there_name_the_nearest(runs, tmp_path, capsys, options, message):
    assert main(["samples", str(runs / "points"), "-o", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_trials_without_a_generator_are_left_out_and_said(runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs / "points", run)
    first, second = (run / "trials" / cell.cell for cell in Results(run).plan)
    (first / "seed-0" / "checkpoint.safetensors").unlink()
    result = json.loads((first / "seed-1" / "result.json").read_text())
    (first / "seed-1" / "result.json").write_text(json.dumps(result | {"status": "diverged"}))
    shutil.rmtree(second / "seed-0" / "snapshots")
    shutil.rmtree(second / "seed-1" / "snapshots")
    assert main(["samples", str(run), "--gif"]) == 2
    said = capsys.readouterr().err
    assert "has left no checkpoint.safetensors" in said
    assert "left out: diverged" in said
    assert "no trial has kept snapshots; set snapshots = true under [run]" in said.replace(f"{run}: ", "")
    assert set(files(run / "samples")) >= {"overview.png", f"{second.name}/seed-0/samples.png"}
    for folder in second.glob("seed-*"):
        (folder / "checkpoint.safetensors").unlink()
    assert main(["samples", str(run)]) == 2
    assert "no trial that is wanted has left a generator to draw from" in capsys.readouterr().err


def test_names_in_a_run_never_lead_out_of_the_folder(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "images", run)
    for path in (run / "run.json", *run.glob("trials/*/*/result.json")):
        text = json.loads(path.read_text())
        for labels in [text["labels"]] if "labels" in text else [cell["labels"] for cell in text["cells"]]:
            labels["dataset"] = "../../out"
        path.write_text(json.dumps(text))
    before = {p for p in tmp_path.rglob("*") if not p.is_relative_to(run)}
    assert main(["samples", str(run), "--extractor", "pixels"]) == 0
    assert {p for p in tmp_path.rglob("*") if not p.is_relative_to(run)} == before


def test_spherical_ways_keep_the_length_and_turn_evenly():
    a, b = torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 3.0], dtype=torch.float64)
    at = torch.linspace(0, 1, 5, dtype=torch.float64)
    way = spherical(a, b, at)
    angles = at * np.pi / 2
    torch.testing.assert_close(way, 3 * torch.stack([angles.cos(), angles.sin()], dim=1))
    torch.testing.assert_close(linear(a, b, at)[2], (a + b) / 2)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_ways_between_latents_on_one_line_end_where_they_should(factor):
    a = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    way = spherical(a, factor * a, torch.linspace(0, 1, 3, dtype=torch.float64))
    assert torch.isfinite(way).all()
    torch.testing.assert_close(way[0], a)
    torch.testing.assert_close(way[2], factor * a)
