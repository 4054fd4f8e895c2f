"""What a step costs beside a careful hand-written loop that does the same work, in the same process and turn by turn.

Nothing timed is asserted. The loops must end at the same parameters, or they would not have done the same work. The
ratio in ``extra_info`` is the median over rounds of ours / theirs: what slows the machine down slows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from loops import ByHand, Noise, assert_close, cell, trainer

from ganbench.timing import now
from ganbench.training import Trainer
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.networks_dcgan import DCGANDiscriminator, DCGANGenerator

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

Networks = tuple[Trainer, str, int, int]
"""Ours, its regularizer, steps in a round and rounds: short rounds, so that noise meets both loops alike."""


def mlp(device: str) -> Networks:
    return trainer(cell(Noise(side=2), MLPGenerator(), MLPDiscriminator(), "r1", 256), device), "r1", 5, 200


def dcgan(device: str) -> Networks:
    width = 64 if device == "cuda" else 16
    networks = DCGANGenerator(width=width), DCGANDiscriminator(width=width)
    steps, rounds = (5, 100) if device == "cuda" else (1, 60)
    return trainer(cell(Noise(channels=3, side=32), *networks, "none", 64), device), "none", steps, rounds


@pytest.mark.parametrize("adam", [{}, {"fused": True}], ids=["adam", "fused-adam"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("networks", [mlp, dcgan])
def test_a_step_does_the_work_of_a_hand_written_loop(
    benchmark: BenchmarkFixture,
    networks: Callable[[str], Networks],
    device: str,
    adam: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    ours, stack, steps, rounds = networks(device)
    theirs = ByHand(ours, stack, adam)
    ours.advance(3)
    theirs.advance(3)
    assert_close(ours.state.g.params, theirs.g)
    assert_close(ours.state.d.params, theirs.d)

    seconds: list[float] = []

    def synchronize() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def hand_written() -> None:
        begun = now()
        theirs.advance(steps)
        synchronize()
        seconds.append(now() - begun)

    def whole_steps() -> None:
        ours.advance(steps)
        synchronize()

    benchmark.pedantic(whole_steps, setup=hand_written, rounds=rounds, warmup_rounds=5)
    if benchmark.stats is None:  # benchmarks are off
        return
    measured = benchmark.stats.stats.data
    theirs_s = seconds[-len(measured) :]
    ratios = [a / b for a, b in zip(measured, theirs_s, strict=True)]
    benchmark.extra_info |= {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu, 1 thread",
        "steps_a_round": steps,
        "ours_ms": round(1e3 * statistics.median(measured) / steps, 4),
        "by_hand_ms": round(1e3 * statistics.median(theirs_s) / steps, 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(q, 4) for q in statistics.quantiles(ratios, n=4)[::2]],
    }
    times = "{ours_ms:.2f} ms a step, {by_hand_ms:.2f} by hand, ratio {ratio:.3f} (quartiles {ratio_quartiles})".format(
        **benchmark.extra_info
    )
    tell(f"{networks.__name__}, {', '.join(adam) or 'default'} Adam, {device}: {times}")
