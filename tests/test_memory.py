"""What says that memory ran out, in whatever words a library has for it, and in a counter of the system."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganbench.memory import give_back, kills, lacked

HUGE = 2**50
"""Numbers that no machine has memory for."""


@torch.jit.script
def huge(x: Tensor) -> Tensor:
    return torch.zeros([1125899906842624]) + x


def test_torchs_own_allocator_and_its_interpreter_lack_memory_in_words_of_their_own() -> None:
    with pytest.raises(RuntimeError) as plain:
        torch.empty(HUGE)
    assert not isinstance(plain.value, torch.OutOfMemoryError)
    assert "can't allocate memory" in lacked(plain.value)
    with pytest.raises(RuntimeError) as scripted:
        huge(torch.zeros(1))
    assert "can't allocate memory" in lacked(scripted.value)
    assert "\n" not in lacked(scripted.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 EiB.\nOf it"), "CUDA out of memory. Tried"),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might"), "CUDA error: out of memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "CUDA error: CUBLAS",
        ),
        (RuntimeError("Triton Error [CUDA]: out of memory"), "Triton Error"),
        (RuntimeError("shape '[3]' is invalid"), ""),
        (ValueError("out of memory"), ""),
    ],
)
def test_an_error_that_says_so_lacked_memory(error: Exception, told: str) -> None:
    assert lacked(error).startswith(told)
    assert bool(lacked(error)) == bool(told)


def test_an_error_that_came_of_another_lacked_memory_too() -> None:
    lack, hidden = MemoryError("no page"), RuntimeError("the compiler failed")
    hidden.inner_exception = lack  # type: ignore[attr-defined] # as the compiler's errors have it
    assert lacked(hidden) == "no page"
    after = RuntimeError("operation failed due to a previous error during capture")
    after.__context__ = lack
    assert lacked(after) == "no page"
    lack.__context__ = after
    assert lacked(RuntimeError("a plugin's own")) == ""


def test_what_only_a_cycle_holds_is_given_back() -> None:
    class Held:
        pass

    held = Held()
    held.itself = held  # type: ignore[attr-defined] # a cycle
    gone = weakref.ref(held)
    gc.disable()
    try:
        del held
        assert gone() is not None
        give_back(torch.device("cpu"))
    finally:
        gc.enable()
    assert gone() is None


def test_the_system_counts_what_it_kills(tmp_path: Path) -> None:
    stat = tmp_path / "vmstat"
    stat.write_text("nr_free_pages 5\noom_kill 3\n")
    assert kills(stat) == 3
    stat.write_text("nr_free_pages 5\n")
    assert kills(stat) is None
    assert kills(tmp_path / "absent") is None
