"""Every mistake a user can make ends in one short message that names the place and the nearest right name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ganbench.cli import build_parser, main

GRID = """\
[run]
seeds = 1
steps = 2
{run}
[grid]
dataset = "ring"
generator = "mlp"
discriminator = "mlp"
loss = {loss}
regularizer = {regularizer}
{axes}
{tail}
"""
PLUGIN = '''\
from ganbench import Loss, hookimpl

class Mine(Loss, name="mine"):
    """x."""

@hookimpl
def ganbench_components():
    return [Mine]
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def write_grid(loss='"hinge"', regularizer='"none"', run="", axes="", tail="") -> str:
    Path("g.toml").write_text(GRID.format(loss=loss, regularizer=regularizer, run=run, axes=axes, tail=tail))
    return "g.toml"


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The one line that a failing command writes, less its label."""
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err
    assert "\033" not in err
    assert len(lines[0]) < 240
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("parts", "place", "words"),
    [
        ({"loss": '"hing"'}, "[grid] loss", ["'hing'", "did you mean 'hinge'?"]),
        ({"loss": '["minimax", "hing"]'}, "[grid] loss[1]", ["'hing'", "'hinge'"]),
        ({"loss": '{ use = "hing" }'}, "[grid] loss.use", ["'hing'", "'hinge'"]),
        ({"loss": '"r1"'}, "[grid] loss", ["'r1' is a regularizer"]),
        ({"loss": '"z*"'}, "[grid] loss", ["'z*' matches no loss", "hinge"]),
        ({"loss": "3"}, "[grid] loss", ["3 is not a loss", 'use = "name"']),
        ({"loss": "{ a = 1 }"}, "[grid] loss", ['add use = "name"']),
        ({"regularizer": '{ use = "r1", gama = 3 }'}, "[grid] regularizer", ["'gama'", "did you mean 'gamma'?"]),
        ({"regularizer": '[["none", { use = "r1", gama = 3 }]]'}, "[grid] regularizer[0][1]", ["'gama'"]),
        ({"loss": '{ use = "hinge", a = 3 }'}, "[grid] loss", ["no field 'a'", "it has no fields"]),
        ({"regularizer": '{ use = "r1", gamma = "3" }'}, "regularizer.gamma", ["the string '3'", "float", "quotes"]),
        ({"regularizer": '{ use = "r1", gamma = true }'}, "regularizer.gamma", ["the boolean True", "float"]),
        ({"regularizer": '{ use = "r1", gamma = [1, 2] }'}, "regularizer.gamma", ["[1, 2]", "a float", "sweep"]),
        ({"regularizer": '{ use = "r1", gamma = { a = 1 } }'}, "regularizer.gamma", ["{'a': 1}", "a float"]),
        ({"regularizer": '{ use = "r1", every = 1.5 }'}, "regularizer.every", ["1.5", "an int"]),
        ({"regularizer": '{ use = "r1", on = "g+d" }'}, "regularizer.on", ["'g+d'", "'both'"]),
        ({"regularizer": '{ use = "r1", gamma = -1 }'}, "regularizer.gamma", ["-1", "at least 0"]),
        ({"regularizer": '{ use = "r1", gamma = nan }'}, "regularizer.gamma", ["nan is not a float"]),
        ({"regularizer": '{ use = "r1", gamma = { sweep = [1, -1] } }'}, "regularizer.gamma", ["-1", "at least 0"]),
        ({"regularizer": '{ use = "r1", gamma = { sweep = [] } }'}, "regularizer.gamma.sweep", ["[]"]),
        ({"loss": "[]"}, "[grid] loss", ["the axis 'loss' is empty"]),
        ({"axes": 'los = "hinge"'}, "[grid]", ["unknown key 'los'", "did you mean 'loss'?"]),
        ({"axes": 'metrics = ["frechet-distanse"]'}, "[grid] metrics[0]", ["did you mean 'frechet-distance'?"]),
        ({"axes": 'zip = [["generator", "los"]]'}, "[grid] zip[0]", ["'los' is no axis", "'loss'"]),
        (
            {"loss": '["hinge", "minimax"]', "axes": 'zip = ["generator", "loss"]'},
            "zip[0]",
            ["generator has 1, loss has 2"],
        ),
        ({"axes": "steps = 0"}, "[grid].steps", ["0", "at least 1"]),
        ({"run": "step = 3"}, "[run]", ["'step'", "did you mean 'steps'?"]),
        ({"run": "batch = 2.5"}, "[run].batch", ["2.5 is not an int"]),
        ({"run": "ema = 1"}, "[run].ema", ["1.0", "less than 1"]),
        ({"run": 'timeout = "3x"'}, "[run].timeout", ["'3x' is not a duration", "30m"]),
        ({"run": 'name = "a/b"'}, "[run].name", ["'a/b'", "folder"]),
        ({"run": 'plugins = ["nope.py"]'}, "nope.py", ["no such plugin file"]),
        ({"tail": '[[excludes]]\nloss = "hinge"'}, "g.toml", ["unknown table [excludes]", "did you mean 'exclude'?"]),
        ({"tail": '[[exclude]]\nloss = "hing"'}, "[[exclude]] 1 loss", ["'hing'", "'hinge'"]),
        ({"tail": '[[exclude]]\nlos = "hinge"'}, "[[exclude]] 1", ["'los'", "'loss'"]),
        ({"tail": '[[exclude]]\nbecause = "x"'}, "[[exclude]] 1", ["names no role"]),
        ({"tail": "[[exclude]]\nloss = []"}, "[[exclude]] 1 loss", ["matches no cell"]),
        ({"tail": '[[exclude]]\nloss = [["hinge"]]'}, "[[exclude]] 1 loss", ["['hinge'] is not a loss"]),
    ],
)
def test_a_wrong_grid_is_told_with_its_place_and_the_nearest_right_name(parts, place, words, capsys) -> None:
    message = fails(["plan", "--grid", write_grid(**parts)], capsys)
    assert message.startswith("g.toml") or "nope.py" in message
    assert place in message.split(": ", 2)[0] + ": " + message.split(": ", 2)[1]
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[grid\n", ["not valid TOML", "line 1"]),
        ("[run]\n", ["no [grid] table"]),
        ("grid = 3\n", ["[grid]", "not a table"]),
        ("run = 3\n", ["[run] is not a table"]),
        ("exclude = 3\n[grid]\n", ["[[exclude]] 1", "not a table"]),
        ('[grid]\ndataset = "ring"\n', ["the axis 'generator' is missing", 'generator = ["name", ...]']),
        ("[run]\nseeds = [1, 1]\n[grid]\n", ["[run].seeds", "twice"]),
        ("[run]\nseeds = 0\n[grid]\n", ["[run].seeds", "no seed"]),
        ("\x00", ["not valid TOML"]),
    ],
)
def test_a_file_that_is_no_grid_is_told_in_one_line(text, words, capsys) -> None:
    Path("g.toml").write_text(text)
    message = fails(["plan", "--grid", "g.toml"], capsys)
    for word in ["g.toml", *words]:
        assert word in message


def test_a_grid_file_that_cannot_be_read_is_named(folder: Path, capsys) -> None:
    write_grid()
    assert "did you mean 'g.toml'?" in fails(["plan", "--grid", "h.toml"], capsys)
    assert "ganbench new grid" in fails(["plan", "--grid", "nowhere/g.toml"], capsys)
    assert "Is a directory" in fails(["plan", "--grid", str(folder)], capsys)
    Path("g.toml").write_bytes(b'name = "\xff"')
    assert "cannot be read" in fails(["plan", "--grid", "g.toml"], capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plam"], ["no command 'plam'", "did you mean 'plan'?"]),
        (["plan", "--grid", "g.toml", "--jsn"], ["ganbench plan", "no option '--jsn'", "did you mean '--json'?"]),
        (["plan", "--grid", "g.toml", "--step=3", "x"], ["ganbench plan", "'x'"]),
        (["plan"], ["ganbench plan", "--grid"]),
        (["plan", "--grid"], ["--grid", "expected one argument"]),
        (["plan", "--grid", "g.toml", "--steps", "0"], ["--steps", "'0'"]),
        (["plan", "--grid", "g.toml", "--seeds", "0"], ["--seeds", "'0'"]),
        (["plan", "--grid", "g.toml", "--seeds", "a"], ["--seeds", "'a'", "0,1,2"]),
        (["plan", "--grid", "g.toml", "--without", "zoo-los"], ["--without", "'zoo-los'", "'zoo-losses'"]),
        (["list", "los"], ["no role 'los'", "did you mean 'loss'?"]),
        (["show", "los", "hinge"], ["no role 'los'", "did you mean 'loss'?"]),
        (["show", "loss", "hing"], ["'hing'", "did you mean 'hinge'?"]),
        (["check", "hing"], ["'hing'", "did you mean 'hinge'?"]),
        (["check", "nothing.py"], ["nothing.py", "no such plugin file"]),
        (["new", "los", "x"], ["'los'", "did you mean 'loss'?"]),
        (["status", "nope"], ["no run 'nope'", "ganbench run"]),
        (["verify", "nope"], ["no run 'nope'"]),
        (["table", "nope"], ["no run 'nope'"]),
        (["run", "--grid", "g.toml", "--device", "gpu"], ["--device", "'gpu'", "cuda"]),
        (["run", "--grid", "g.toml", "--retry", "faild"], ["--retry", "'faild'", "did you mean 'failed'?"]),
        (["run", "--grid", "g.toml", "--timeout", "3x"], ["--timeout", "'3x'", "30m"]),
    ],
)
def test_a_mistyped_word_of_a_command_is_told_with_the_nearest_right_one(arguments, words, capsys) -> None:
    write_grid()
    message = fails(arguments, capsys)
    for word in words:
        assert word in message


def test_a_device_that_is_not_there_is_told_before_anything_is_written(capsys) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    message = fails(["run", "--grid", write_grid(), "--device", "cuda"], capsys)
    assert "--device cuda" in message
    assert "--device cpu" in message
    assert not Path("results").exists()


def test_a_results_folder_that_is_no_folder_is_told(capsys) -> None:
    Path("results").write_text("a file in its place")
    message = fails(["run", "--grid", write_grid(), "--device", "cpu"], capsys)
    assert "results/g" in message
    assert "not writable" in message
    assert "--results" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLUGIN.replace("ganbench_components", "ganbench_component"), ["unknown hook", "'ganbench_components'"]),
        (PLUGIN.replace("components():", "run_started(rum):"), ["no argument 'rum'", "did you mean 'run'?"]),
        (PLUGIN.replace('"mine"', '"hinge"'), ["'hinge'", "zoo-losses", "mine.py", "--without"]),
        (PLUGIN.replace('"mine"', '"Mine"'), ["mine.py, line 3", "'Mine'", "hyphens"]),
        (PLUGIN.replace(', name="mine"', ""), ["without a name", 'name="..."']),
        (PLUGIN.replace("[Mine]", "Mine"), ["returned", "list of classes"]),
        (PLUGIN.replace("[Mine]", "[Mine()]"), ["no component class", "not an instance"]),
        (PLUGIN.replace('"""x."""', 'use: str = "x"'), ["mine.py, line 3", "'use'"]),
        ("from __future__ import annotations\n" + PLUGIN.replace('"""x."""', "a: Foo = 1"), ["'Foo'", "mine.py"]),
        ("import ganbench\nganbench.create('loss', 'hing')", ["mine.py, line 2", "'hinge'"]),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_named_with_its_mistake(text, words, capsys) -> None:
    Path("mine.py").write_text(text)
    message = fails(["list", "loss", "--plugin", "mine.py"], capsys)
    for word in ["mine", *words]:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f():\n    return 1 / 0\n\nf()\n", ["mine.py, line 2", "ZeroDivisionError"]),
        ("import tourch\n", ["mine.py, line 1", "tourch", "install tourch"]),
        ("from ganbench import Regulariser\n", ["mine.py, line 1", "did you mean 'Regularizer'?"]),
        ("def f(:\n", ["mine.py, line 1", "SyntaxError"]),
        ("import sys\nsys.exit('bye')\n", ["mine.py, line 2", "SystemExit: bye"]),
    ],
)
def test_a_plugin_that_does_not_import_shows_only_its_own_frames(text, words, capsys) -> None:
    Path("mine.py").write_text(text)
    assert main(["list", "loss", "--plugin", "mine.py"]) == 2
    out, err = capsys.readouterr()
    *frames, message = err.splitlines()
    assert out == ""
    for word in words:
        assert word in message
    files = re.findall(r'File "(.*?)"', "\n".join(frames))
    assert files
    assert {Path(f).name for f in files} == {"mine.py"}


def test_a_plugin_can_be_blocked(capsys) -> None:
    Path("mine.py").write_text("1 / 0\n")
    assert main(["list", "loss", "--plugin", "mine.py", "--without", "mine"]) == 0
    assert "hinge" in capsys.readouterr().out


def test_a_plugin_adds_a_command_which_list_names(capsys) -> None:
    Path("hello.py").write_text(
        "from ganbench import hookimpl\n"
        "@hookimpl\n"
        "def ganbench_commands(cli):\n"
        "    parser = cli.add_parser('hello')\n"
        "    parser.add_argument('--plugin')\n"
        "    parser.set_defaults(call=lambda args: print('hello') or 0)\n"
    )
    assert main(["hello", "--plugin", "hello.py"]) == 0
    assert capsys.readouterr().out == "hello\n"
    assert main(["list", "commands", "--plugin", "hello.py"]) == 0
    assert capsys.readouterr().out.split() == sorted([*build_parser()[1].choices, "hello"])
    assert "did you mean 'hello'?" in fails(["helo", "--plugin", "hello.py"], capsys)


def test_plan_writes_nothing(folder: Path, capsys) -> None:
    write_grid(regularizer='["none", "r1"]')
    assert main(["plan", "--grid", "g.toml", "--seeds", "1,4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["seeds"] == [1, 4]
    assert facts["counts"] == {"trials": 4, "missing": 4, "skipped": 0}
    assert [path.name for path in folder.iterdir()] == ["g.toml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--json"],
        ["list", "regularizer", "--json"],
        ["list", "plugins", "--json"],
        ["list", "commands", "--json"],
        ["show", "metric", "frechet-distance", "--json"],
        ["check", "hinge", "--json"],
        ["schema"],
        ["doctor", "--json"],
    ],
)
def test_a_reading_command_gives_json(arguments, capsys) -> None:
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_check_that_fails_exits_1(capsys) -> None:
    Path("mine.py").write_text(PLUGIN)  # a loss without d_loss
    assert main(["check", "mine.py"]) == 1
    out, err = capsys.readouterr()
    assert "FAIL" in out
    assert re.fullmatch(r"error: \d+ of \d+ checks failed\n", err)
    assert main(["check", "mine.py", "--json"]) == 1


def test_without_a_command_the_help_is_printed(capsys) -> None:
    assert main([]) == 2
    assert "exit codes" in capsys.readouterr().out


def test_the_installed_command_tells_an_error_in_one_line_and_keeps_quiet_in_a_closed_pipe() -> None:
    """In a process of its own: no warning at exit, no traceback, exit code 2; ``| head`` is no error."""
    command = [sys.executable, "-W", "error", "-m", "ganbench.cli"]
    write_grid(loss='"hing"')
    done = subprocess.run([*command, "plan", "--grid", "g.toml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: g.toml: [grid] loss: loss has no component 'hing'; did you mean 'hinge'?\n"
    piped = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m ganbench.cli schema | head -n 1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.stdout == "{\n"
    assert piped.stderr == ""
