"""The grid language: what an entry stands for, which cells there are, in which order, and under which names."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganbench.component import digest
from ganbench.errors import ConfigError, PluginError
from ganbench.grid import AXES, Cell, Combination, Grid, Trial, parse_duration, trials
from ganbench.metric import Measure
from ganbench.registry import Registry

BASE: dict[str, Any] = {"dataset": "ring", "generator": "mlp", "discriminator": "mlp", "loss": "hinge"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def combine(registry: Registry, grid: Mapping[str, Any] | list[Mapping[str, Any]], **tables: Any) -> list[Combination]:
    blocks = [BASE | block for block in grid] if isinstance(grid, list) else BASE | grid
    return Grid.load({"grid": blocks, **tables}).combinations(registry)


def cells(registry: Registry, grid: Any, **tables: Any) -> list[Cell]:
    return [c.cell for c in combine(registry, grid, **tables)]


def labels(registry: Registry, role: str, value: Any) -> list[str]:
    return [c.labels[role] for c in cells(registry, {role: value})]


def test_what_a_grid_does_not_name_has_a_default(registry: Registry) -> None:
    (cell,) = cells(registry, {})
    assert cell.labels == {
        **BASE,
        "regularizer": "none",
        "optimizer": "adam",
        "update": "alternating",
    }
    assert (cell.steps, cell.batch, cell.ema, cell.samples) == (5_000, 64, 0.999, 2_500)
    assert [m.name for m in cell.metrics] == list(cell.dataset.metrics)
    assert Grid.load({"grid": BASE}).settings.seed_list == (0, 1, 2, 3, 4)


def test_a_table_names_a_component_with_use(registry: Registry) -> None:
    assert labels(registry, "regularizer", {"use": "r1", "gamma": 1}) == ["r1(gamma=1)"]
    assert labels(registry, "regularizer", {"use": "r1", "gamma": 10}) == ["r1"]  # the default, whoever writes it


def test_a_list_is_a_list_of_alternatives_and_equal_ones_are_one(registry: Registry) -> None:
    assert labels(registry, "loss", ["minimax", "hinge", "minimax"]) == ["minimax", "hinge"]
    assert labels(registry, "regularizer", ["r1", {"use": "r1", "gamma": 10.0}]) == ["r1"]


def test_a_sweep_makes_an_alternative_of_each_value(registry: Registry) -> None:
    sweep = {"use": "r1", "gamma": {"sweep": [0.1, 1, 10]}}
    assert labels(registry, "regularizer", sweep) == ["r1(gamma=0.1)", "r1(gamma=1)", "r1"]


def test_sweeps_of_several_fields_multiply_and_the_last_varies_fastest(registry: Registry) -> None:
    sweep = {"use": "r1", "gamma": {"sweep": [1, 2]}, "every": {"sweep": [1, 4]}}
    found = [
        (c.regularizers[0].to_table()["gamma"], c.regularizers[0].every)
        for c in cells(registry, {"regularizer": sweep})
    ]
    assert found == [(1.0, 1), (1.0, 4), (2.0, 1), (2.0, 4)]


def test_sweeps_nest(registry: Registry) -> None:
    whole = {"sweep": ["none", {"use": "r1", "gamma": {"sweep": [1, {"sweep": [2, 3]}]}}]}
    assert labels(registry, "regularizer", whole) == ["none", "r1(gamma=1)", "r1(gamma=2)", "r1(gamma=3)"]


def test_a_list_in_the_list_of_regularizers_is_a_stack(registry: Registry) -> None:
    assert labels(registry, "regularizer", ["r1", ["spectral-norm", "r1"]]) == ["r1", "spectral-norm + r1"]
    (cell,) = cells(registry, {"regularizer": [["spectral-norm", "r1"]]})
    assert [r.name for r in cell.regularizers] == ["spectral-norm", "r1"]


def test_the_order_of_a_stack_makes_another_cell(registry: Registry) -> None:
    one, other = cells(registry, {"regularizer": [["spectral-norm", "r1"], ["r1", "spectral-norm"]]})
    assert one.id != other.id


def test_a_sweep_in_a_stack_makes_a_stack_of_each_value(registry: Registry) -> None:
    stack = [["spectral-norm", {"use": "r1", "gamma": {"sweep": [1, 2]}}]]
    assert labels(registry, "regularizer", stack) == ["spectral-norm + r1(gamma=1)", "spectral-norm + r1(gamma=2)"]


def test_none_is_the_empty_stack_alone_and_among_others(registry: Registry) -> None:
    found = cells(registry, {"regularizer": ["none", ["none"], [], ["none", "r1"]]})
    assert [c.labels["regularizer"] for c in found] == ["none", "r1"]
    assert found[0].regularizers == ()
    assert found[1].id == cells(registry, {"regularizer": "r1"})[0].id


def test_a_glob_stands_for_every_name_it_matches_in_order(registry: Registry) -> None:
    assert labels(registry, "regularizer", "r*") == ["r1", "r2"]
    assert labels(registry, "loss", ["hinge", "*"]) == ["hinge", *[n for n in registry.names("loss") if n != "hinge"]]


def test_zipped_axes_go_together(registry: Registry) -> None:
    networks = [{"use": "mlp", "width": w} for w in (8, 16)]
    axes = {"generator": networks, "discriminator": networks, "loss": ["hinge", "minimax"]}
    pairs = [["generator", "discriminator"]]
    found = cells(registry, axes | {"zip": pairs})
    widths = [(c.generator.to_table()["width"], c.discriminator.to_table()["width"], c.loss.name) for c in found]
    assert widths == [(8, 8, "hinge"), (8, 8, "minimax"), (16, 16, "hinge"), (16, 16, "minimax")]
    assert cells(registry, axes | {"zip": pairs[0]}) == found
    assert len(cells(registry, axes)) == 8


def test_an_axis_is_zipped_once(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="'loss' is zipped twice"):
        cells(registry, {"zip": [["loss", "update"], ["loss", "optimizer"]]})


def test_blocks_unite_and_a_cell_of_two_blocks_is_one(registry: Registry) -> None:
    found = cells(registry, [{"loss": ["hinge", "minimax"]}, {"loss": ["minimax", "wasserstein"]}])
    assert [c.loss.name for c in found] == ["hinge", "minimax", "wasserstein"]


def test_a_block_may_have_its_own_steps_batch_and_metrics(registry: Registry) -> None:
    blocks = [{"steps": 10}, {"batch": 8, "metrics": ["frechet-distance"]}, {}]
    found = cells(registry, blocks, run={"steps": 20})
    assert [(c.steps, c.batch, next(m.name for m in c.metrics)) for c in found] == [
        (10, 64, "mixture-modes"),
        (20, 8, "frechet-distance"),
        (20, 64, "mixture-modes"),
    ]
    grid = Grid.load({"grid": [BASE | b for b in blocks]})
    assert {c.cell.steps for c in grid.combinations(registry, steps=3)} == {3}


def test_a_measure_called_as_a_column_of_the_records_needs_a_prefix(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: dict[str, object] = {"use": "sliced-wasserstein"}
    monkeypatch.setattr(registry.get("metric", "sliced-wasserstein"), "measures", (Measure("steps", None),))
    with pytest.raises(ConfigError, match=r"named 'steps', as a column.*prefix"):
        cells(registry, {"metrics": [table]})
    (cell,) = cells(registry, {"metrics": [{**table, "prefix": "of_"}]})
    assert [m.name for m in cell.metrics[0].named()] == ["of_steps"]


def test_two_metrics_with_one_measure_need_a_prefix(registry: Registry) -> None:
    twice = ["sliced-wasserstein", {"use": "sliced-wasserstein", "extractor": "pixels"}]
    with pytest.raises(ConfigError, match="prefix"):
        cells(registry, {"metrics": twice})
    (cell,) = cells(registry, {"metrics": [twice[0], {**twice[1], "prefix": "pixels_"}]})  # type: ignore[dict-item] # a table
    assert [m.name for metric in cell.metrics for m in metric.named()] == ["sw2", "pixels_sw2"]


def test_cells_come_in_the_order_of_the_roles_whatever_the_order_of_the_file(registry: Registry) -> None:
    axes = {"dataset": ["ring", "grid25"], "loss": ["hinge", "minimax"], "regularizer": ["none", "r1"]}
    forward = cells(registry, axes)
    backward = cells(registry, dict(reversed(axes.items())))
    assert [c.id for c in forward] == [c.id for c in backward]
    assert [(c.dataset.name, c.loss.name, c.labels["regularizer"]) for c in forward[:3]] == [
        ("ring", "hinge", "none"),
        ("ring", "hinge", "r1"),
        ("ring", "minimax", "none"),
    ]


# -- exclude -------------------------------------------------------------------------------------------------------


def excluded(registry: Registry, regularizers: list[Any], exclude: Any) -> list[str]:
    found = combine(registry, {"regularizer": regularizers}, exclude=exclude)
    return [c.cell.labels["regularizer"] for c in found if c.skip is not None]


STACKS = ["none", "r1", {"use": "r1", "gamma": 1}, "r2", ["spectral-norm", "r1"], ["r1", "spectral-norm"]]


@pytest.mark.parametrize(
    ("regularizer", "left_out"),
    [
        ("none", ["none"]),
        ("r1", ["r1", "r1(gamma=1)", "spectral-norm + r1", "r1 + spectral-norm"]),
        ({"use": "r1", "gamma": 10}, ["r1", "spectral-norm + r1", "r1 + spectral-norm"]),
        ({"use": "r1", "gamma": 1}, ["r1(gamma=1)"]),
        (["none", "r2"], ["none", "r2"]),
        ([["r1"]], ["r1", "r1(gamma=1)"]),
        ([["spectral-norm", "r1"]], ["spectral-norm + r1"]),
        ([["spectral-norm", "r1"], "r2"], ["r2", "spectral-norm + r1"]),
        ([[]], ["none"]),
        ([["spectral-norm", {"use": "r1", "gamma": 1}]], []),
    ],
)
def test_exclude_matches_a_regularizer_in_any_stack_and_a_list_as_the_very_stack(
    registry: Registry, regularizer: Any, left_out: list[str]
) -> None:
    assert excluded(registry, STACKS, {"regularizer": regularizer}) == left_out


def test_exclude_leaves_out_what_has_all_of_the_roles_it_names(registry: Registry) -> None:
    axes = {"loss": ["hinge", "wasserstein"], "regularizer": ["none", "r1"]}
    exclude = [{"loss": "wasserstein", "regularizer": "none", "because": "no Lipschitz bound"}]
    found = combine(registry, axes, exclude=exclude)
    reasons = {(c.cell.loss.name, c.cell.labels["regularizer"]): c.skip for c in found}
    assert reasons == {
        ("hinge", "none"): None,
        ("hinge", "r1"): None,
        ("wasserstein", "none"): "excluded: no Lipschitz bound",
        ("wasserstein", "r1"): None,
    }


def test_an_exclude_without_a_reason_has_one(registry: Registry) -> None:
    (found,) = combine(registry, {}, exclude=[{"loss": "hinge"}])
    assert found.skip == "excluded: excluded by the grid"


def test_the_first_exclude_that_matches_gives_the_reason_and_one_that_matches_nothing_a_note(
    registry: Registry,
) -> None:
    excludes = [{"loss": "hinge", "because": "a"}, {"loss": "hinge", "because": "b"}, {"loss": "minimax"}]
    grid = Grid.load({"grid": BASE, "exclude": excludes})
    (found,) = grid.combinations(registry)
    assert found.skip == "excluded: a"
    assert grid.notes == ["grid: [[exclude]] 3 matches no cell"]
    grid.combinations(registry)
    assert len(grid.notes) == 1  # asking again repeats no note


# -- mismatch ------------------------------------------------------------------------------------------------------


def test_a_combination_that_a_component_refuses_is_skipped_with_its_reason(registry: Registry) -> None:
    found = combine(registry, {"generator": ["mlp", "dcgan"]})
    assert found[0].skip is None
    assert "dcgan is for images" in (found[1].skip or "")


def test_a_component_that_fails_to_say_whether_it_fits_is_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from ganbench import Loss, hookimpl\n"
        "class Odd(Loss, name='odd'):\n"
        "    def mismatch(self, cell):\n"
        "        raise RuntimeError('oops')\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Odd]\n"
    )
    with pytest.raises(PluginError, match=r"loss 'odd' failed to say whether it fits .*: RuntimeError: oops"):
        cells(Registry.load([tmp_path / "odd.py"]), {"loss": "odd"})


def test_a_discriminator_that_returns_what_the_loss_does_not_ask_for_is_skipped(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "energy.py").write_text(
        "from ganbench import Loss, hookimpl\n"
        "class Energy(Loss, name='energy'):\n"
        "    output = 'energy'\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Energy]\n"
    )
    (found,) = combine(Registry.load([tmp_path / "energy.py"]), {"loss": "energy"})
    assert found.skip == "energy asks the discriminator for energy, and mlp returns scores"


# -- identity ------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from([0.5, 1.0, 2.0])
REGULARIZERS = st.lists(
    st.one_of(
        st.builds(lambda g: {"use": "r1", "gamma": g}, VALUES),
        st.builds(lambda g: {"use": "r2", "gamma": g}, VALUES),
        st.sampled_from(["spectral-norm", "instance-noise", {"use": "weight-clipping", "bound": 0.5}]),
    ),
    max_size=3,
)
GRIDS = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(["hinge", {"use": "least-squares", "a": -1.0}]),
        "regularizer": REGULARIZERS.map(lambda stack: [stack]),
        "optimizer": st.builds(lambda lr: {"use": "sgd", "lr_g": lr}, VALUES),
        "update": st.sampled_from(["simultaneous", {"use": "alternating", "critic_steps": 2}]),
        "metrics": st.sampled_from(
            [["mixture-modes"], [{"use": "sliced-wasserstein", "extractor": {"use": "pixels"}}], []]
        ),
        "batch": st.integers(2, 9),
    }
)


@settings(max_examples=40, deadline=None)
@given(grid=GRIDS)
def test_a_cell_is_rebuilt_from_its_spec_with_every_field(grid: dict[str, Any]) -> None:
    registry = Registry.load()
    (cell,) = cells(registry, grid)
    spec = json.loads(json.dumps(cell.spec))  # as a process or a file gives it back
    again = Cell.from_spec(spec, registry)
    assert again == cell
    assert (again.id, again.name, again.spec) == (cell.id, cell.name, spec)
    assert cell.id == digest(spec, 12)


def test_every_field_enters_the_id_and_nothing_of_the_run_does(registry: Registry) -> None:
    (plain,) = cells(registry, {})
    others = [
        {"loss": "minimax"},
        {"optimizer": {"use": "adam", "lr_d": 1e-3}},
        {"generator": {"use": "mlp", "width": 9}},
        {"metrics": ["mixture-modes"]},
        {"steps": 9},
        {"batch": 9},
    ]
    ids = {plain.id} | {cells(registry, other)[0].id for other in others}
    assert len(ids) == 1 + len(others)
    run = {"name": "other", "seeds": 9, "threads": 3, "evaluations": 1, "checkpoint_every": 7, "timeout": "1h"}
    assert cells(registry, {}, run=run)[0].id == plain.id
    assert cells(registry, {}, run={"precision": "float64"})[0].id != plain.id


def test_an_id_is_the_same_in_another_process_with_another_hash_seed(registry: Registry) -> None:
    grid = {"grid": BASE | {"regularizer": [["spectral-norm", "r1"]]}}
    code = (
        "import json, sys; from ganbench.grid import Grid; from ganbench.registry import Registry;"
        "print(Grid.load(json.loads(sys.argv[1])).combinations(Registry.load())[0].cell.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(grid)],
        env={"PYTHONHASHSEED": "7", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == Grid.load(grid).combinations(registry)[0].cell.name


def test_a_folder_is_named_after_the_components_and_the_id_and_is_never_a_path(registry: Registry) -> None:
    (cell,) = cells(registry, {"regularizer": [["spectral-norm", "r1", "r2", "instance-noise", "gradient-penalty"]]})
    assert cell.name.startswith("ring-mlp-mlp-hinge-spectral-norm_r1_r2")
    assert cell.name.endswith(f"-{cell.id}")
    assert len(cell.name) <= 93
    assert Trial(cell, 3).folder == Path("trials", cell.name, "seed-3")
    assert [t.seed for t in trials([cell], (1, 2))] == [1, 2]


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_file_and_a_dictionary_of_the_same_shape_are_the_same_grid(registry: Registry, tmp_path: Path) -> None:
    text = (
        '[run]\nname = "x"\nseeds = [3, 1]\nplugins = ["a.py"]\n[grid]\ndataset = "ring"\ngenerator = "mlp"\n'
        'discriminator = "mlp"\nloss = "hinge"\n'
    )
    (tmp_path / "my-grid.toml").write_text(text)
    grid = Grid.load(tmp_path / "my-grid.toml")
    assert grid.text == text
    assert grid.settings.seed_list == (3, 1)
    assert grid.plugin_files == (tmp_path / "a.py",)
    same = Grid.load(tomllib.loads(text)).combinations(registry)
    assert [c.cell.id for c in grid.combinations(registry)] == [c.cell.id for c in same]


def test_a_grid_without_a_name_is_called_after_its_file(tmp_path: Path) -> None:
    (tmp_path / "my-grid.toml").write_text("[grid]\n")
    assert Grid.load(tmp_path / "my-grid.toml").name == "my-grid"


def test_a_component_made_in_python_stands_in_a_grid(registry: Registry) -> None:
    made = registry.create("regularizer", "r1", gamma=3.0)
    assert labels(registry, "regularizer", [made]) == ["r1(gamma=3)"]


def test_the_axes_are_the_roles_of_a_cell() -> None:
    from ganbench.records import ROLES

    assert AXES == ROLES


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5m", 90), ("2 h", 7200), ("1d", 86400), ("7", 7), (3, 3), ("none", float("inf"))],
)
def test_a_duration_is_seconds(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "1w", "m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a duration"):
        parse_duration(text)
