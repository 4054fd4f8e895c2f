"""What is written is whole or absent, and reads back as it was."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganbench.errors import ResultsError, StorageError
from ganbench.records import Record, Value, append_line, read_json, read_lines, replacing, storage_fault, write_json

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text("abcdefgh_0123456789", min_size=1, max_size=8)


@given(
    seed=st.integers(0, 2**31),
    measures=st.dictionaries(names, st.builds(Value, last=finite | st.none(), ema=finite | st.none())),
    timing=st.dictionaries(names, finite),
    reason=st.text(),
)
def test_a_record_reads_back_as_it_was_written(tmp_path_factory, seed, measures, timing, reason):
    folder = tmp_path_factory.mktemp("trial")
    record = Record(
        cell="ring-x", id="abc", seed=seed, status="done", labels={"loss": "hinge"}, measures=measures, timing=timing,
        reason=reason,
    )  # fmt: skip
    record.write(folder)
    assert Record.read(folder) == record


def test_a_row_is_flat_and_has_each_measure_three_times():
    record = Record(
        cell="c", id="i", seed=1, status="done", labels={"loss": "hinge"},
        measures={"fd": Value(last=2.0, ema=1.0, floor=0.5)}, timing={"step_ms": 3.0}, facts={"steps": 7},
        fingerprints={"code": "f"},
    )  # fmt: skip
    row = record.row()
    assert (row["fd"], row["fd_ema"], row["fd_floor"]) == (2.0, 1.0, 0.5)
    assert row["step_ms"] == 3.0
    assert row["steps"] == 7
    assert row["code_fingerprint"] == "f"
    assert row["loss"] == "hinge"
    assert all(not isinstance(v, dict | list) for v in row.values())


def test_no_record_is_none_and_a_foreign_file_is_an_error_that_names_it(tmp_path):
    assert Record.read(tmp_path) is None
    (tmp_path / "result.json").write_text('{"a": ')
    with pytest.raises(ResultsError, match=r"result\.json"):
        Record.read(tmp_path)
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(ResultsError, match="not a JSON object"):
        Record.read(tmp_path)
    (tmp_path / "result.json").write_text('{"seed": 1}')
    with pytest.raises(ResultsError, match="not a result"):
        Record.read(tmp_path)


def test_a_full_disk_leaves_the_old_file_and_no_torn_one(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"old": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left"):
        write_json(tmp_path / "a.json", {"new": 2})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_exception_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(ValueError, match="half-way"), replacing(target) as partial:
        partial.write_text("half")
        raise ValueError("half-way")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_kill_9_while_writing_never_shows_a_torn_file(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from ganbench.records import write_json
        n = 0
        while True:
            n += 1
            write_json(Path(sys.argv[1]), {"n": n, "bulk": ["x" * 100] * 2000})
        """
    )
    target = tmp_path / "result.json"
    for pause in (0.02, 0.05, 0.011, 0.033, 0.027):
        process = subprocess.Popen([sys.executable, "-c", script, str(target)])
        deadline = time.monotonic() + 20
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        value = json.loads(target.read_text())
        assert len(value["bulk"]) == 2000


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "curves.jsonl"
    assert read_lines(path) == []
    append_line(path, {"step": 1})
    append_line(path, {"step": 2})
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]


def test_written_files_can_be_read_by_others(tmp_path):
    write_json(tmp_path / "a.json", {})
    assert Path(tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


def test_a_fault_of_the_disk_is_known_behind_other_errors():
    full = OSError(errno.ENOSPC, "No space left on device", "/a/file")
    try:
        try:
            raise full
        except OSError as error:
            raise ValueError("something else") from error
    except ValueError as error:
        fault = storage_fault(error)
    assert fault is not None
    assert str(fault).startswith("/a/file: cannot be written: No space left on device; ")
    assert storage_fault(fault) is fault
    assert storage_fault(OSError(errno.EACCES, "Permission denied")) is None
    assert storage_fault(ValueError("no")) is None
    words = RuntimeError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }')
    assert isinstance(storage_fault(words), StorageError)


def test_writing_to_a_full_disk_says_so_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(StorageError, match="make room"), replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_protocol_tells_long_settings_by_their_hash() -> None:
    def told(**settings: object) -> str:
        fields = {"metric": "modes", "version": 1, "fields": settings, "n_fake": 2, "n_real": 3, "split": "test"}
        return Value(last=1.0, protocol=fields).told

    assert told(std=0.1, at=[1, 2]) == "modes v1 (std=0.1 at=[1,2]), 2 fakes against 3 real (test)"
    long = told(centres=[[2.0, 0.0], [1.4142135623730951, 1.414213562373095]])
    assert long.startswith("modes v1 (centres=#")
    assert len(long.partition(")")[0]) < 40
    assert long != told(centres=[[2.0, 0.0], [1.4142135623730951, 1.5]])
