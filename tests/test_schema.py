"""The JSON Schema of grids accepts what ganbench accepts, and refuses what it refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ganbench.errors import ConfigError
from ganbench.grid import Grid
from ganbench.registry import Registry
from ganbench.scaffold import GRID_TEMPLATE
from ganbench.schema import grid_schema

BASE: dict[str, Any] = {"dataset": "ring", "generator": "mlp", "discriminator": "mlp", "loss": "hinge"}
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(scope="module")
def schema(registry: Registry) -> jsonschema.Draft202012Validator:
    made = grid_schema(registry)
    jsonschema.Draft202012Validator.check_schema(made)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return jsonschema.Draft202012Validator(made)


def planned(registry: Registry, grid: Any) -> bool:
    try:
        Grid.load(grid).combinations(registry)
    except ConfigError:
        return False
    return True


R1 = {"use": "r1"}
RIGHT: list[dict[str, Any]] = [
    {"grid": BASE},
    {"grid": [BASE, BASE | {"loss": ["minimax"]}]},
    {"run": {"name": "a.b-c", "seeds": 3, "plugins": ["x.py"], "timeout": "2h"}, "grid": BASE},
    {"run": {"seeds": [0, 5], "precision": "float64", "ema": 0}, "grid": BASE},
    {"grid": BASE | {"regularizer": "none"}},
    {"grid": BASE | {"regularizer": ["none", R1, ["spectral-norm", R1 | {"gamma": 1}], []]}},
    {"grid": BASE | {"regularizer": R1 | {"gamma": {"sweep": [0.1, 1]}, "every": {"sweep": [1, 4]}}}},
    {"grid": BASE | {"regularizer": {"sweep": ["none", R1 | {"gamma": {"sweep": [1]}}]}}},
    {"grid": BASE | {"regularizer": [["spectral-norm", R1 | {"gamma": {"sweep": [1, 2]}}]]}},
    {"grid": BASE | {"regularizer": "r*", "loss": ["*"]}},
    {"grid": BASE | {"zip": [["generator", "discriminator"]]}},
    {"grid": BASE | {"zip": ["generator", "discriminator"]}},
    {"grid": BASE | {"steps": 3, "batch": 4, "metrics": []}},
    {"grid": BASE | {"metrics": {"use": "sliced-wasserstein", "extractor": {"use": "pixels"}, "prefix": "p_"}}},
    {"grid": BASE | {"optimizer": {"use": "adam", "lr_g": 1e-3}, "update": {"use": "alternating", "critic_steps": 5}}},
    {"grid": BASE, "exclude": {"loss": "hinge", "because": "x"}},
    {"grid": BASE, "exclude": [{"loss": ["hinge", {"use": "least-squares", "a": 1}]}, {"regularizer": [["r1", "r2"]]}]},
]
WRONG: list[dict[str, Any]] = [
    {},
    {"grid": BASE, "excludes": []},
    {"grid": {"dataset": "ring"}},
    {"grid": BASE | {"los": "hinge"}},
    {"grid": BASE | {"loss": "hing"}},
    {"grid": BASE | {"loss": 3}},
    {"grid": BASE | {"loss": []}},
    {"grid": BASE | {"loss": [["hinge"]]}},
    {"grid": BASE | {"loss": {"a": 1}}},
    {"grid": BASE | {"loss": "r1"}},
    {"grid": BASE | {"regularizer": R1 | {"gama": 1}}},
    {"grid": BASE | {"regularizer": R1 | {"gamma": "1"}}},
    {"grid": BASE | {"regularizer": R1 | {"gamma": -1}}},
    {"grid": BASE | {"regularizer": R1 | {"gamma": {"sweep": []}}}},
    {"grid": BASE | {"regularizer": R1 | {"gamma": {"sweep": [-1]}}}},
    {"grid": BASE | {"regularizer": R1 | {"gamma": {"sweep": [1], "x": 1}}}},
    {"grid": BASE | {"regularizer": R1 | {"every": 1.5}}},
    {"grid": BASE | {"regularizer": R1 | {"every": True}}},
    {"grid": BASE | {"regularizer": R1 | {"on": "x"}}},
    {"grid": BASE | {"zip": [["generator"]]}},
    {"grid": BASE | {"zip": [["generator", "x"]]}},
    {"grid": BASE | {"metrics": ["frechet"]}},
    {"grid": BASE | {"steps": 0}},
    {"run": {"step": 3}, "grid": BASE},
    {"run": {"ema": 1}, "grid": BASE},
    {"run": {"batch": 1}, "grid": BASE},
    {"run": {"name": "a/b"}, "grid": BASE},
    {"run": {"seeds": [-1]}, "grid": BASE},
    {"run": {"plugins": "x.py"}, "grid": BASE},
    {"grid": BASE, "exclude": [{"because": "x"}]},
    {"grid": BASE, "exclude": [{"los": "hinge"}]},
    {"grid": BASE, "exclude": [{"loss": [["hinge"]]}]},
    {"grid": BASE, "exclude": [{"loss": []}]},
]


@pytest.mark.parametrize("grid", RIGHT, ids=json.dumps)
def test_a_right_grid_is_right_to_both(schema, registry, grid) -> None:
    assert [error.message for error in schema.iter_errors(grid)] == []
    assert planned(registry, grid)


@pytest.mark.parametrize("grid", WRONG, ids=json.dumps)
def test_a_wrong_grid_is_wrong_to_both(schema, registry, grid) -> None:
    assert not schema.is_valid(grid)
    assert not planned(registry, grid)


def test_every_component_with_its_defaults_is_right(schema, registry) -> None:
    axes = {"metric": "metrics"}
    for role, _, cls in registry.components():
        if role in {"extractor", "executor"}:
            continue
        grid = {"grid": BASE | {axes.get(role, role): [cls().to_table()]}}
        assert [error.message for error in schema.iter_errors(grid)] == []


def test_the_grids_we_ship_are_right(schema) -> None:
    assert schema.is_valid(tomllib.loads(GRID_TEMPLATE.format(name="x")))
    for path in [*ROOT.glob("*.toml"), *ROOT.glob("results/*/grid.toml")]:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        if "grid" in table:
            assert [error.message for error in schema.iter_errors(table)] == [], path


def test_fields_have_ranges_defaults_and_descriptions(schema) -> None:
    (table,) = (
        t
        for t in schema.schema["$defs"]["regularizer"]["anyOf"]
        if t.get("properties", {}).get("use") == {"const": "r1"}
    )
    gamma = table["properties"]["gamma"]
    assert (gamma["type"], gamma["minimum"], gamma["default"]) == ("number", 0.0, 10.0)
    assert gamma["description"]
    assert table["required"] == ["use"]
    names = [choice["const"] for choice in schema.schema["$defs"]["loss"]["anyOf"] if "const" in choice]
    assert "hinge" in names


def test_a_plugin_is_in_the_schema_and_its_field_without_a_default_is_required(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from ganbench import Loss, hookimpl\n"
        "class Mine(Loss, name='mine'):\n"
        "    pair: tuple[int, float]\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Mine]\n"
    )
    schema = jsonschema.Draft202012Validator(grid_schema(Registry.load([tmp_path / "mine.py"])))
    assert schema.is_valid({"grid": BASE | {"loss": {"use": "mine", "pair": [1, 2.5]}}})
    assert not schema.is_valid({"grid": BASE | {"loss": {"use": "mine"}}})
    assert not schema.is_valid({"grid": BASE | {"loss": {"use": "mine", "pair": [1, 2, 3]}}})
