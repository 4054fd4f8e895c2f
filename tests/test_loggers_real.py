"""A real grid of two cells with each logger on, and what its own reader finds then; `make test-loggers` runs it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ganbench.results import Results

pytestmark = pytest.mark.loggers
SW2 = ("sw2", "sw2_ema", "d_loss", "g_loss", "train_s")


@pytest.fixture
def ran(small, tmp_path, request) -> Results:
    """The small grid with one seed, run by the command line with the logger on that the test asks for."""
    small["run"] |= {"seeds": 1, "plugins": [request.param]}
    (tmp_path / "g.json").write_text(json.dumps(small))
    program = (
        "import json, sys; from ganbench.runner import Options, execute; from ganbench.grid import Grid;"
        "from ganbench.progress import Lines; from pathlib import Path;"
        "o = execute(Grid.load(json.load(open('g.json'))), Path('results'), Options(device='cpu'), Lines(sys.stderr));"
        "sys.exit(o.exit_code)"
    )
    variables = os.environ | {"WANDB_MODE": "offline", "HOME": str(tmp_path)}
    variables = {k: v for k, v in variables.items() if k not in {"MLFLOW_TRACKING_URI", "WANDB_PROJECT"}}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "failed in ganbench_" not in done.stderr, done.stderr
    assert done.stdout == "", "the terminal is ours"
    said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(said) == 3, done.stderr
    return Results(tmp_path / "results" / "small")


@pytest.mark.parametrize("ran", ["tensorboard"], indirect=True)
def test_tensorboard_reads_the_curves_of_every_trial(ran):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted((ran.path / "tensorboard").glob("*/seed-*"))
    assert [f.parent.name for f in folders] == sorted(r.cell for r in ran.trials)
    for folder in folders:
        events = EventAccumulator(str(folder))
        events.Reload()
        curves = ran.curves[ran.curves["cell"] == folder.parent.name]
        for name in SW2:
            read = events.Scalars(name)
            assert [e.step for e in read] == list(curves["step"]) == [10, 20]
            assert [e.value for e in read] == pytest.approx(list(curves[name]))
        (record,) = [r for r in ran.trials if r.cell == folder.parent.name]
        assert events.Scalars("final/sw2")[0].value == pytest.approx(record.measures["sw2"].last)
        assert events.Images("samples")
        assert "_hparams_/session_start_info" in events.summary_metadata
        assert events.Tensors("status/text_summary")[0].tensor_proto.string_val[0] == b"done"


def wandb_entries(content: bytes) -> Iterator[bytes]:
    """The entries of a .wandb file: a header of 7 bytes, then LevelDB's log of blocks of 32 KiB.

    https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    block, header, place, entry = 2**15, 7, 7, b""
    assert content.startswith(b":W&B")
    while place < len(content):
        if block - place % block < header:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        entry += content[place + header : place + header + length]
        place += header + length
        if kind in {1, 4}:  # whole, or the last part
            yield entry
            entry = b""


@pytest.mark.parametrize("ran", ["wandb"], indirect=True)
def test_wandb_keeps_the_curves_of_every_trial_offline(ran):
    from wandb.proto import wandb_internal_pb2

    files = sorted((ran.path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for file in files:
        rows, config, summary, ended = [], {}, {}, None
        for data in wandb_entries(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                assert (record.run.project, record.run.run_group) == ("ganbench", "small")
            elif kind == "history":
                items = record.history.item
                rows.append({".".join([i.key, *i.nested_key]).strip("."): json.loads(i.value_json) for i in items})
            elif kind == "summary":
                summary |= {u.key or ".".join(u.nested_key): json.loads(u.value_json) for u in record.summary.update}
            elif kind == "exit":
                ended = record.exit.exit_code
        (name,) = {r.cell for r in ran.trials if r.labels["regularizer"] == config["regularizer"]}
        curves = ran.curves[ran.curves["cell"] == name]
        measured = [row for row in rows if "sw2" in row]
        assert [row["_step"] for row in measured] == [10, 20]
        for column in SW2:
            assert [row[column] for row in measured] == pytest.approx(list(curves[column]))
        assert summary["status"] == "done"
        assert ended == 0
        assert list(file.parent.glob("files/media/images/samples*.png"))


@pytest.mark.parametrize("ran", ["mlflow"], indirect=True)
def test_mlflow_reads_the_curves_of_every_trial_from_files(ran, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(ran.path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.params["regularizer"] for run in runs) == ["none", "r1"]
    for run in runs:
        (record,) = [r for r in ran.trials if r.labels["regularizer"] == run.data.params["regularizer"]]
        curves = ran.curves[ran.curves["cell"] == record.cell]
        for name in SW2:
            read = sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: m.step)
            assert [m.step for m in read] == [10, 20]
            assert [m.value for m in read] == pytest.approx(list(curves[name]))
        assert run.data.metrics["final/sw2"] == pytest.approx(record.measures["sw2"].last)
        assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "done")
        assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["samples.png"]
