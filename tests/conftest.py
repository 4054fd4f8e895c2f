"""What every test starts from: one torch thread, no cache of the user's, small grids."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import making
import pytest
from hypothesis import settings

# the first call of many a torch function imports for a second, and other tests share the machine
settings.register_profile("ganbench", deadline=None, max_examples=50)
settings.load_profile("ganbench")

PLUGINS = Path(__file__).parent / "plugins"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu-device",
        default="cuda:0",
        metavar="DEVICE",
        help="where the tests in tests/gpu run; cpu: a rehearsal, less those that only a GPU can do",
    )


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the session, so that tests neither use nor leave anything of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture
def small() -> dict[str, Any]:
    """A grid of two cells and two seeds that trains in a moment; tests change their own copy."""
    return copy.deepcopy(making.SMALL)


@pytest.fixture
def plugins() -> Path:
    """The folder of plugin files for tests."""
    return PLUGINS
