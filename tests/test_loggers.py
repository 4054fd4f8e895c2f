"""Loggers without what they log to: a fake stands for each package, and the hooks are called as a run calls them."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganbench import plan as planning
from ganbench.errors import PluginError
from ganbench.grid import Grid
from ganbench.records import Record, Value
from ganbench.registry import Registry
from ganbench.results import Results
from ganbench.runner import Options, Run, make_folder

NAMES = ("mlflow", "tensorboard", "wandb")


class Remembers:
    """Anything: it can be called and has every attribute; what it is called with is kept in one list for all."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], name: str = "") -> None:
        self._calls, self._name = calls, name

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self._calls.append((self._name, args, keywords))
        return Remembers(self._calls, f"{self._name}()")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Remembers(self._calls, f"{self._name}.{name}".strip("."))


def module(name: str, **contents: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(contents)
    return made


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture
def calls() -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    return []


@pytest.fixture
def logger(request, monkeypatch, calls) -> types.ModuleType:
    """The logger of that name, anew, in front of a fake of its package."""
    fake = Remembers(calls)
    modules = {
        "tensorboard": module("tensorboard"),
        "torch.utils.tensorboard": module("torch.utils.tensorboard", SummaryWriter=fake.SummaryWriter),
        "torch.utils.tensorboard.summary": module("summary", hparams=lambda *args: [args]),
        "wandb": module("wandb", init=fake.init, Settings=fake.Settings, Image=fake.Image),
        "mlflow": module("mlflow"),
        "mlflow.entities": module("mlflow.entities", Metric=lambda *args: args, Param=lambda *args: args),
        "mlflow.tracking": module("mlflow.tracking", MlflowClient=fake.MlflowClient),
    }
    for name, made in modules.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.delitem(sys.modules, f"ganbench_loggers.{request.param}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    loaded = importlib.import_module(f"ganbench_loggers.{request.param}")
    monkeypatch.delitem(sys.modules, f"ganbench_loggers.{request.param}")
    return loaded


@pytest.fixture
def run(small, registry, tmp_path: Path) -> Run:
    grid = Grid.load(small)
    plan = planning.make(grid, registry, tmp_path / "small")
    run = Run("small", tmp_path / "small", plan, plan.to_run(), ["cpu"], 2)
    make_folder(run, grid, Options())
    return run


def go(logger: types.ModuleType, run: Run, status: str = "done") -> Record:
    """One trial, as a driver tells of it."""
    trial = run.todo[0].trial
    folder = run.folder / trial.folder
    folder.mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "samples.png")
    record = Record(
        cell=trial.cell.name, id=trial.cell.id, seed=trial.seed, status=status, labels=trial.cell.labels,
        measures={"sw2": Value(last=1.5, ema=None, floor=0.25)}, timing={"step_ms": 2.0}, facts={"steps": 20},
    )  # fmt: skip
    logger.ganbench_trial_started(run, trial)
    row = {"trial": str(trial.folder), "cell": trial.cell.name, **trial.cell.labels, "seed": trial.seed, "step": 10}
    logger.ganbench_record(run, {**row, "d_loss": 1.25, "sw2": 2.0, "sw2_ema": None, "bad": math.inf})
    logger.ganbench_trial_finished(run, record)
    return record


def named(calls: list[Any], name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    return [(args, keywords) for called, args, keywords in calls if called == name]


@pytest.mark.parametrize("logger", ["tensorboard"], indirect=True)
def test_tensorboard_is_told_every_finite_number_at_its_step(logger, run, calls):
    record = go(logger, run)
    ((place,), keywords) = named(calls, "SummaryWriter")[0]
    assert place == str(run.folder / "tensorboard" / record.cell / "seed-0")
    assert keywords == {"purge_step": 10}
    scalars = [args for args, _ in named(calls, "SummaryWriter().add_scalar")]
    assert scalars[:2] == [("d_loss", 1.25, 10), ("sw2", 2.0, 10)]
    assert scalars[2:] == [("final/sw2", 1.5, 20), ("final/sw2_floor", 0.25, 20), ("final/step_ms", 2.0, 20)]
    (((settings, measured),), _) = named(calls, "SummaryWriter().file_writer.add_summary")[0]
    assert (settings["regularizer"], settings["seed"], settings["batch"]) == ("none", 0, 8)
    assert measured["final/sw2"] == 1.5
    assert named(calls, "SummaryWriter().add_image")[0][0][1].shape == (4, 4, 3)
    assert len(named(calls, "SummaryWriter().close")) == 1


@pytest.mark.parametrize("logger", ["wandb"], indirect=True)
@pytest.mark.parametrize(("status", "code"), [("done", 0), ("diverged", 1)])
def test_wandb_is_told_of_a_run_for_each_trial(logger, run, calls, status, code):
    record = go(logger, run, status)
    keywords = named(calls, "init")[0][1]
    assert (keywords["project"], keywords["group"], keywords["name"]) == ("ganbench", "small", f"{record.cell}-seed-0")
    assert keywords["config"]["regularizer"] == "none"
    assert named(calls, "Settings") == [((), {"console": "off", "silent": True})]
    assert named(calls, "init().log")[0] == (({"d_loss": 1.25, "sw2": 2.0},), {"step": 10})
    assert named(calls, "init().summary.update")[0][0][0]["status"] == status
    assert named(calls, "init().finish") == [((), {"exit_code": code})]


@pytest.mark.parametrize("logger", ["mlflow"], indirect=True)
@pytest.mark.parametrize(("status", "end"), [("done", "FINISHED"), ("oom", "FAILED"), ("interrupted", "KILLED")])
def test_mlflow_is_told_of_a_run_for_each_trial(logger, run, calls, status, end):
    go(logger, run, status)
    assert named(calls, "MlflowClient")[0][1] == {"tracking_uri": (run.folder.resolve() / "mlruns").as_uri()}
    batches = [keywords for _, keywords in named(calls, "MlflowClient().log_batch")]
    assert ("regularizer", "none") in batches[0]["params"]
    assert [(name, value, step) for name, value, _, step in batches[1]["metrics"]] == [
        ("d_loss", 1.25, 10), ("sw2", 2.0, 10),
    ]  # fmt: skip
    assert batches[2]["metrics"][0][:2] == ("final/sw2", 1.5)
    assert named(calls, "MlflowClient().set_terminated")[0][0][1] == end


@pytest.mark.parametrize("logger", NAMES, indirect=True)
def test_what_an_interrupted_run_left_open_is_closed(logger, run, calls):
    trial = run.todo[0].trial
    logger.ganbench_trial_started(run, trial)
    logger.ganbench_record(run, {"trial": str(trial.folder), "seed": 0, "step": 10, "d_loss": 1.0})
    logger.ganbench_run_finished(run, Results(run.folder))
    closed = ("SummaryWriter().close", "init().finish", "MlflowClient().set_terminated")
    assert sum(len(named(calls, name)) for name in closed) == 1
    logger.ganbench_run_finished(run, Results(run.folder))
    assert sum(len(named(calls, name)) for name in closed) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_told_with_the_extra_that_has_it(name, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == name else found(package))
    monkeypatch.delitem(sys.modules, f"ganbench_loggers.{name}", raising=False)
    with pytest.raises(PluginError, match=rf'plugin {name} .* not installed; pip install "ganbench\[{name}\]"'):
        Registry.load([name], groups=())


def test_loggers_are_off_and_unknown_names_are_told_with_the_nearest(tmp_path, monkeypatch):
    program = (
        "import sys; from ganbench.registry import Registry; Registry.load();"
        "print([m for m in ('wandb', 'mlflow', 'tensorboard', 'ganbench_loggers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(PluginError, match="did you mean 'tensorboard'"):
        Registry.load(["tensorbord"])
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("")
    with pytest.raises(PluginError, match=r"mine\.py"):
        Registry.load(["mine"])


def test_a_grid_switches_a_plugin_on_by_its_name(small, tmp_path, monkeypatch):
    """In the driver and in the processes that train: the plugin is installed for both."""
    site = tmp_path / "site"
    info = site / "watcher-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: watcher\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganbench.optional]\nwatcher = watcher\n")
    (site / "watcher.py").write_text(
        "from ganbench import Regularizer, hookimpl\n"
        "class Nothing(Regularizer, name='nothing'):\n    'Nothing at all.'\n"
        "    def d_penalty(self, at):\n        return at.real_scores.sum() * 0\n"
        "@hookimpl\ndef ganbench_components():\n    return [Nothing]\n"
        "@hookimpl\ndef ganbench_trial_finished(run, result):\n"
        "    with (run.folder / 'watched').open('a') as file:\n        file.write(result.status + '\\n')\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    small["grid"]["regularizer"] = "nothing"
    small["run"] |= {"plugins": ["watcher"], "seeds": 1}
    grid = Grid.load(small)
    assert grid.plugin_files == ("watcher",)
    program = (
        "from ganbench.runner import Options, execute; from ganbench.grid import Grid; from pathlib import Path\n"
        f"o = execute(Grid.load({small!r}), Path({str(tmp_path)!r}), Options(device='cpu'))\n"
        "raise SystemExit(o.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small" / "watched").read_text() == "done\n"
