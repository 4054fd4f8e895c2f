"""What else a machine is doing, from the system's own counters: times taken beside other work are flagged."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganbench.timing import now

BUSY = 0.2
"""Cores that others may use before a timing counts as taken beside other work."""
GPU_FACTS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "driver_version", "name")
THROTTLED = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The reasons for a slower clock, as new drivers call them and as old ones do."""


def own_seconds() -> float:
    """CPU seconds of this process, all its threads."""
    spent = os.times()
    return spent.user + spent.system


def busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU seconds of all processes since the machine started, over all cores; None where there is no such counter."""
    try:
        line = stat.read_text(encoding="ascii").partition("\n")[0]
        user, nice, system, _idle, _iowait, irq, softirq = (int(x) for x in line.split()[1:8])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


@dataclass
class Watch:
    """Other processes' use of this machine, from its making to :meth:`others`."""

    begun: float = field(default_factory=now)
    busy: float | None = field(default_factory=busy_seconds)
    own: float = field(default_factory=own_seconds)

    def others(self) -> float | None:
        """Cores that other processes kept busy on average since then; None where the system does not say."""
        busy = busy_seconds()
        if busy is None or self.busy is None:
            return None
        return max(0.0, (busy - self.busy - (own_seconds() - self.own)) / max(now() - self.begun, 1e-9))


def gpu_state(gpu: int | str) -> dict[str, Any] | None:
    """Clocks, temperature, power, throttle reasons and other processes of a GPU, None without ``nvidia-smi``.

    ``gpu`` is its number or its UUID; numbers are those of the driver, whatever ``CUDA_VISIBLE_DEVICES`` says.
    ``others`` counts compute processes, as far as the driver shows them, that are neither this one nor what started it.
    """
    facts = _ask(gpu, f"--query-gpu={','.join(GPU_FACTS)}")
    if not facts:
        return None
    found: dict[str, Any] = dict(zip(GPU_FACTS, (v.strip() for v in facts[0].split(",")), strict=False))
    reasons = next((told for name in THROTTLED if (told := _ask(gpu, f"--query-gpu={name}"))), [])
    pids = {pid.strip() for pid in _ask(gpu, "--query-compute-apps=pid")} - {""}
    others = pids - {str(os.getpid()), str(os.getppid())}
    # in a container the driver may call processes by numbers of the host: then one of them is this one
    hidden = others == pids and any(not Path(f"/proc/{pid}").exists() for pid in pids)
    return found | {"throttled": reasons[0].strip() if reasons else None, "others": len(others) - hidden}


def _ask(gpu: int | str, query: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--id={gpu}", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 # constant words
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()
