"""Products in bfloat16: torch's autocast, with statistics of batches in the type of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _WholeStatistics(TorchFunctionMode):
    """Batch normalization of a bfloat16 input is that of the input in the type of its running statistics.

    Autocast leaves the input as it is, and the rule that maps the operation over seeds takes no two types.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # torch's name
        del types
        if func in {functional.batch_norm, torch.batch_norm} and args[0].dtype == torch.bfloat16:
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def lowering(device: torch.device) -> Iterator[None]:
    """Products and convolutions are in bfloat16 within."""
    # weights are cast anew in each call: a cache would outlive the transform that they are derived in
    with _WholeStatistics(), torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        yield
