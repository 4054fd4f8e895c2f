"""Plugins: what is loaded, from where, in which order, and who is blamed when one is broken."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path

import pytest

from ganbench import registry as registry_module
from ganbench.errors import ConfigError, PluginError
from ganbench.loss import Loss
from ganbench.registry import GROUP, ROLES, VIEW_GROUP, Registry, installed

PLUGIN = '''\
from ganbench import Loss, hookimpl

class {cls}(Loss, name="{name}"):
    """x."""

@hookimpl
def ganbench_components():
    return [{cls}]
'''


def plugin(folder: Path, file: str, text: str) -> Path:
    path = folder / file
    path.write_text(text)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return plugin(tmp_path, "my_loss.py", PLUGIN.format(cls="Mine", name="mine"))


class Distribution:
    """One that is not installed."""

    version = "1.2"

    def __init__(self, name: str) -> None:
        self.metadata = {"Name": name}


class Point:
    """An entry point of a distribution that is not installed."""

    def __init__(self, name: str, module: types.ModuleType, dist: str | None = "their-losses") -> None:
        self.name, self.module, self.value = name, module, "their_losses"
        self.dist = Distribution(dist) if dist else None

    def load(self) -> types.ModuleType:
        return self.module


def offer(monkeypatch: pytest.MonkeyPatch, points: list[Point], group: str = GROUP) -> None:
    def entry_points(*, group: str) -> list[Point]:
        return points if group == wanted else []

    wanted = group
    monkeypatch.setattr(registry_module.importlib.metadata, "entry_points", entry_points)


def module(path: Path, name: str) -> types.ModuleType:
    made = types.ModuleType(name)
    exec(compile(path.read_text(), str(path), "exec"), vars(made))  # noqa: S102 # our own text
    return made


def test_the_zoo_comes_in_by_entry_points_like_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry.load()
    points = {p.name for p in importlib.metadata.entry_points(group=GROUP)}
    assert points <= {origin.name for origin in registry.origins.values()}
    assert "hinge" in registry.names("loss")
    assert str(registry.origin(registry.get("loss", "hinge"))).startswith("zoo-losses (ganbench ")
    offer(monkeypatch, [])
    assert list(Registry.load().components()) == []


def test_an_entry_point_is_loaded_with_its_distribution(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, [Point("their", module(mine, "their_losses"))])
    registry = Registry.load()
    assert registry.names("loss") == ["mine"]
    assert str(registry.origin(registry.get("loss", "mine"))) == "their (their-losses 1.2)"


def test_plugins_of_views_are_of_a_group_of_their_own(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, [Point("their", module(mine, "their_losses"))], group=VIEW_GROUP)
    assert Registry.load(groups=[GROUP]).origins == {}
    assert len(Registry.load(groups=[VIEW_GROUP], components=False).origins) == 1


def test_a_file_is_a_plugin(mine: Path) -> None:
    registry = Registry.load([mine])
    cls = registry.get("loss", "mine")
    assert issubclass(cls, Loss)
    assert registry.origin(cls).file == mine
    assert registry.origin(cls).name == "my_loss"


def test_a_file_reached_twice_gives_the_same_classes(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    registry = Registry.load([mine, "my_loss.py"])
    assert registry.get("loss", "mine") is Registry.load([mine]).get("loss", "mine")
    assert sum(o.name == "my_loss" for o in registry.origins.values()) == 1


def test_files_of_one_name_in_two_folders_are_two_plugins(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "other").mkdir()
    other = plugin(tmp_path / "other", "my_loss.py", PLUGIN.format(cls="Other", name="other"))
    assert {"mine", "other"} <= set(Registry.load([mine, other]).names("loss"))


def test_a_plugin_file_imports_the_helper_beside_it_and_leaves_the_path_as_it_was(tmp_path: Path) -> None:
    plugin(tmp_path, "helper_of_the_registry_test.py", "NAME = 'helped'\n")
    text = "from helper_of_the_registry_test import NAME\n" + PLUGIN.format(cls="Helped", name="helped")
    before = list(sys.path)
    registry = Registry.load([plugin(tmp_path, "helped.py", text)])
    assert "helped" in registry.names("loss")
    assert sys.path == before


def test_a_blocked_plugin_is_not_loaded(mine: Path) -> None:
    registry = Registry.load([plugin(mine.parent, "bad.py", "1 / 0"), mine], without=["bad", "zoo-losses"])
    assert "mine" in registry.names("loss")
    assert "hinge" not in registry.names("loss")


def test_blocking_what_is_not_there_is_an_error(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"--without: there is no plugin 'my_los'; did you mean 'my_loss'\?"):
        Registry.load([mine], without=["my_los"])


def test_two_plugins_with_one_name_are_both_named(tmp_path: Path, mine: Path) -> None:
    other = plugin(tmp_path, "other.py", PLUGIN.format(cls="Other", name="mine"))
    with pytest.raises(PluginError) as caught:
        Registry.load([mine, other])
    assert f"my_loss ({mine})" in caught.value.message
    assert f"other ({other})" in caught.value.message


def test_one_name_may_stand_for_components_of_two_roles(tmp_path: Path) -> None:
    registry = Registry.load([plugin(tmp_path, "adam.py", PLUGIN.format(cls="Adam", name="adam"))])
    assert registry.get("loss", "adam") is not registry.get("optimizer", "adam")


def test_a_hook_that_does_not_exist_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    text = PLUGIN.format(cls="Mine", name="mine").replace("ganbench_components", "ganbench_componets")
    with pytest.raises(
        PluginError, match=r"typo \(.*\) has an unknown hook 'ganbench_componets'; did you mean 'ganbench_comp"
    ):
        Registry.load([plugin(tmp_path, "typo.py", text)])


def test_a_function_that_is_not_marked_is_no_hook(tmp_path: Path) -> None:
    text = PLUGIN.format(cls="Mine", name="mine").replace("@hookimpl\n", "")
    assert "mine" not in Registry.load([plugin(tmp_path, "unmarked.py", text)]).names("loss")


def test_a_hook_may_take_fewer_arguments_than_there_are(tmp_path: Path) -> None:
    text = "from ganbench import hookimpl\n@hookimpl\ndef ganbench_record(record):\n    pass\n"
    registry = Registry.load([plugin(tmp_path, "few.py", text)])
    assert len(registry.manager.hook.ganbench_record.get_hookimpls()) == 1


def test_the_traceback_of_a_broken_plugin_has_no_frame_of_ours(tmp_path: Path) -> None:
    bad = plugin(tmp_path, "bad.py", "def f():\n    raise KeyError('no')\n\nf()\n")
    with pytest.raises(PluginError) as caught:
        Registry.load([bad])
    error = caught.value
    assert error.place == f"{bad}, line 2"
    assert "KeyError" in error.message
    assert error.traceback.count("File ") == 2
    assert error.traceback.count(str(bad)) == 2
    assert "raise KeyError('no')" in error.traceback


def test_a_mistake_within_a_component_made_at_import_keeps_its_own_frames(tmp_path: Path) -> None:
    text = PLUGIN.format(cls="Mine", name="mine").replace("return [Mine]", "return [Mine(a=1)]")
    bad = plugin(tmp_path, "late.py", text)
    with pytest.raises(PluginError) as caught:
        Registry.load([bad])
    assert caught.value.place == f"{bad}, line 8"


def test_a_plugin_that_failed_can_be_loaded_once_it_is_mended(tmp_path: Path) -> None:
    path = plugin(tmp_path, "mended.py", "1 / 0")
    with pytest.raises(PluginError):
        Registry.load([path])
    path.write_text(PLUGIN.format(cls="Mended", name="mended"))
    assert "mended" in Registry.load([path]).names("loss")


def test_looking_up_names_the_nearest_or_the_role_that_has_it() -> None:
    registry = installed()
    with pytest.raises(ConfigError, match=r"did you mean 'hinge'\?"):
        registry.get("loss", "hing")
    with pytest.raises(ConfigError, match="'r1' is a regularizer"):
        registry.get("loss", "r1")
    with pytest.raises(ConfigError, match=r"there is no role 'los'; did you mean 'loss'\?"):
        registry.names("los")
    with pytest.raises(ConfigError, match="'hinge' is a loss, not a regularizer"):
        registry.parse("regularizer", registry.create("loss", "hinge"))


def test_components_come_by_role_and_name_and_are_frozen_values() -> None:
    listed = [(role, name) for role, name, _ in installed().components()]
    assert listed == sorted(listed, key=lambda pair: (ROLES.index(pair[0]), pair[1]))
    for role, name, cls in installed().components():
        assert (cls.role, cls.name) == (role, name)


def test_an_extractor_in_a_metric_is_read_from_its_name() -> None:
    metric = installed().create("metric", "frechet-distance", extractor="pixels")
    assert metric == installed().parse("metric", {"use": "frechet-distance", "extractor": {"use": "pixels"}})
