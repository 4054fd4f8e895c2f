"""Which device a cell is trained on: every device takes cells, and several may share one."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ganbench import runner, widths
from ganbench.driver import Driver
from ganbench.grid import Grid
from ganbench.plan import Stack
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench.widths import Width


class Started:
    """What a driver would start, and the least busy and most busy that each device ever was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, devices: list[str], seconds: dict[int, int]) -> None:
        self.cells: list[tuple[str, str]] = []
        self.most: Counter[str] = Counter()
        self.seconds = deque(seconds.get(i, 1) for i in range(100))
        started = self

        def start(driver: Driver, number: int, device: str, stack: Stack) -> Any:
            started.cells.append((device, stack.trials[0].trial.cell.labels["regularizer"]))
            slot = SimpleNamespace(
                number=number, device=device, stack=stack, left=[], rest=started.seconds.popleft(), process=None
            )
            busy = Counter(s.device for s in (*driver.slots, slot))
            started.most |= busy
            return slot

        def listen(driver: Driver) -> list[Any]:
            for slot in driver.slots:
                slot.rest -= 1
            return [slot for slot in driver.slots if slot.rest <= 0]

        monkeypatch.setattr(Driver, "_start", start)
        monkeypatch.setattr(Driver, "_listen", listen)
        monkeypatch.setattr(runner, "find_devices", lambda asked: devices)


@pytest.fixture
def wide(small: dict[str, Any]) -> dict[str, Any]:
    """Six cells."""
    small["run"] |= {"timing": False}
    small["grid"]["regularizer"] = [{"use": "r1", "gamma": {"sweep": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}}]
    return small


def test_every_gpu_takes_the_next_cell_when_it_is_free(wide, tmp_path: Path, monkeypatch):
    started = Started(monkeypatch, ["cuda:0", "cuda:1"], {0: 4})  # the first cell takes as long as four others
    outcome = execute(Grid.load(wide), tmp_path, Options())
    assert outcome.run.workers == 2
    assert len(started.cells) == len(set(started.cells)) == 6
    assert Counter(device for device, _ in started.cells) == {"cuda:0": 2, "cuda:1": 4}
    assert started.most == {"cuda:0": 1, "cuda:1": 1}


def test_workers_share_a_gpu_if_there_are_more_of_them(wide, tmp_path: Path, monkeypatch):
    started = Started(monkeypatch, ["cuda:0"], {})
    assert execute(Grid.load(wide), tmp_path, Options(workers=3)).run.workers == 3
    assert started.most == {"cuda:0": 3}
    started = Started(monkeypatch, ["cuda:0", "cuda:1"], {})
    execute(Grid.load(wide), tmp_path / "again", Options(workers=4))
    assert started.most == {"cuda:0": 2, "cuda:1": 2}


def test_there_are_no_more_workers_than_cells(wide, tmp_path: Path, monkeypatch):
    started = Started(monkeypatch, [f"cuda:{n}" for n in range(8)], {})
    assert execute(Grid.load(wide), tmp_path, Options()).run.workers == 6
    assert len(started.most) == 6


def test_what_there_is_no_memory_for_at_once_trains_one_after_the_other(wide, tmp_path: Path, monkeypatch):
    wide["run"] |= {"engine": "fused", "seeds": 3}
    wide["grid"]["regularizer"] = ["r1", "none"]
    cells = [c.cell for c in Grid.load(wide).combinations(Registry.load())]
    (tmp_path / "small").mkdir()
    widths.record(tmp_path / "small", widths.kind(cells[0]), Width(1, "r1", {"3": "out of memory"}))
    started = Started(monkeypatch, ["cpu"], {})
    execute(Grid.load(wide), tmp_path, Options(workers=3))
    assert Counter(cell for _, cell in started.cells) == {"r1": 3, "none": 1}
    assert started.most == {"cpu": 2}, "none beside one of r1"
