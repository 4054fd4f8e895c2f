"""The Python interface: create components, run grids, measure samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.errors import ConfigError
from ganbench.registry import installed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from ganbench.component import Component
    from ganbench.metric import Metric
    from ganbench.results import Results


def available(role: str) -> list[str]:
    """The names of the components that fill ``role``, sorted: ``available("loss")``.

    Raises:
        ConfigError: there is no such role.
    """
    return installed().names(role)


def create(role: str, name: str, **fields: Any) -> Component:
    """``create("regularizer", "r1", gamma=1.0)``: an installed component with these fields.

    Arrays and numbers of numpy or torch count as the lists and numbers that they hold.

    Raises:
        ConfigError: an unknown role, name or field, a wrong type or a value out of range.
    """
    plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in fields.items()}
    return installed().create(role, name, **plain)


def run(grid: str | Path | Mapping[str, Any], *, results: str | Path = "results", **options: Any) -> Results:
    """Run a grid (a file, or its content as a dictionary) to its end, or resume it; see ``ganbench run --help``.

    Args:
        grid: path of a grid file, or the same as a dictionary.
        results: the folder that holds runs.
        options: as in :class:`ganbench.runner.Options`: ``device``, ``workers``, ``timeout``, ``retry``, ``plugins``...
    """
    from ganbench.grid import Grid
    from ganbench.runner import Options, execute

    return execute(Grid.load(grid), Path(results), Options(**options)).results


def measure(
    metric: str | Metric,
    *,
    fake: ArrayLike | Tensor,
    real: ArrayLike | Tensor,
    train: ArrayLike | Tensor | None = None,
    labels: tuple[ArrayLike, ArrayLike] | None = None,
    extractor: str | Component = "identity",
    seed: int = 0,
    **fields: Any,
) -> dict[str, float]:
    """The measures of ``metric`` between arrays ``fake [n, ...]`` and ``real [m, ...]``, as a trial would report them.

    Args:
        metric: its name, or a metric; ``fields`` are its fields.
        fake: generated samples, or features of them.
        real: the reference.
        train: the training set, for a metric that looks for copies of its samples.
        labels: of fake and real, for a metric that needs them.
        extractor: what both go through first.
        seed: of the metric's own stream.
        fields: of the metric, if it is named.

    Raises:
        ConfigError: unknown metric or field, arrays of different sample shapes.
    """
    import torch

    from ganbench.bank import Bank
    from ganbench.metric import Extractor, Metric
    from ganbench.samples import Samples
    from ganbench.seeding import stream

    chosen = metric if isinstance(metric, Metric) else create("metric", metric, **fields)
    assert isinstance(chosen, Metric)
    through = installed().parse("extractor", extractor, "extractor")
    assert isinstance(through, Extractor)
    chosen = dataclasses.replace(chosen, extractor=through)
    x, y = _tensor(fake, "fake"), _tensor(real, "real")
    if x.shape[1:] != y.shape[1:]:
        raise ConfigError(f"fake {list(x.shape)} and real {list(y.shape)} are different kinds of samples")
    features = through.load(None, x.device)
    known = None if train is None else Bank(_tensor(train, "train"), features, side="training")
    classes = [None, None] if labels is None else [_tensor(c, "labels").to(torch.int64) for c in labels]
    banks = [
        Bank(Samples(z, c), features, side=side, train=lambda: known)
        for z, c, side in zip((x, y), classes, ("fake", "real"), strict=True)
    ]
    return chosen.measured(banks[0], banks[1], stream(seed, f"eval-{chosen.name}"))


def _tensor(array: ArrayLike | Tensor, name: str) -> Tensor:
    """``array`` as a tensor of real numbers [n, ...]; memory is shared where torch can."""
    import numpy as np
    import torch

    if isinstance(array, torch.Tensor):
        tensor = array.detach()
    else:
        try:
            values = np.asarray(array)
            # torch wants memory that goes forwards and may be written to, in this machine's order of bytes
            tensor = torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W"]))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name} is no array of numbers: {error}") from error
    if tensor.dim() == 0 or tensor.is_complex():
        kind = "complex numbers" if tensor.is_complex() else "a single number"
        raise ConfigError(f"{name} is {kind}, and samples are [n, ...] real ones")
    return tensor
