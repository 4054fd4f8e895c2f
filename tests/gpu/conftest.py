"""The device of these tests, and their order: long ones first, each with a short one, as workers take them."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ganbench import engines

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    rest = [item for item in items if HERE not in item.path.parents]
    if not config.getoption("--gpu-device").startswith("cuda"):
        away = [item for item in ours if needs_gpu(item)]
        config.hook.pytest_deselected(items=away)
        ours = [item for item in ours if item not in away]
    long = [item for item in ours if item.get_closest_marker("slow")]
    short = [item for item in ours if not item.get_closest_marker("slow")]
    paired = itertools.chain.from_iterable(itertools.zip_longest(long, short))
    items[:] = [item for item in paired if item is not None] + rest


def needs_gpu(item: pytest.Item) -> bool:
    """Whether a test is about what a CPU has not: it asks for ``cuda``, or tries a precision that only GPUs have."""
    precision = item.callspec.params.get("precision") if hasattr(item, "callspec") else None
    return "cuda" in getattr(item, "fixturenames", ()) or precision == "tf32"


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """What ``--gpu-device`` names; it must be there."""
    asked: str = pytestconfig.getoption("--gpu-device")
    if asked.startswith("cuda") and not torch.cuda.is_available():
        pytest.fail(f"--gpu-device {asked}: torch {torch.__version__} finds no CUDA device", pytrace=False)
    return asked


@pytest.fixture(scope="session")
def cuda(device: str) -> torch.device:
    """The device, for what only a GPU can do: tests that ask for it are left out of a rehearsal."""
    return torch.device(device)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No graph of another test, which would be taken for this one's, and no device that another one broke."""
    engines.forget()
    yield
    engines.forget()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:  # every later call fails alike, so that the tests to come need another process
            sys.__stderr__.write(f"the device is lost to this process: {error}\n")
            if "PYTEST_XDIST_WORKER" not in os.environ:
                raise
            time.sleep(0.5)  # the report of the test is on its way
            os._exit(70)
