"""Regularizers that misbehave, each in its own way."""

import os
import signal
import sys
import time

import torch
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from ganbench import Regularizer, hookimpl


class Crash(Regularizer, name="crash"):
    """The process dies natively."""

    def d_penalty(self, at):
        os.kill(os.getpid(), signal.SIGSEGV)
        return at.real_scores.mean()


class Raises(Regularizer, name="raises"):
    """An exception in a hook point."""

    def d_penalty(self, at):
        raise ValueError("the plugin's own mistake")


class NotANumber(Regularizer, name="not-a-number"):
    """A loss that is NaN from the third step on."""

    def d_penalty(self, at):
        return torch.where(at.step >= 2, torch.nan, 0.0) * at.real_scores.mean()


class Sometimes(Regularizer, name="diverges-with-some-latents"):
    """NaN for those seeds whose first latent of a batch is below 0 once in the first steps."""

    def init(self, params):
        return {"bad": next(iter(params.values())).new_zeros(())}

    def observe(self, at, state):
        first = (at.step == 2) & (at.latents[0, 0] < 0)
        return {"bad": torch.where(first, torch.ones_like(state["bad"]), state["bad"])}

    def d_penalty(self, at):
        return torch.where(at.state["bad"] > 0, torch.nan, 0.0) * at.real_scores.mean()


class Hangs(Regularizer, name="hangs"):
    """A native call that takes too long."""

    def d_penalty(self, at):
        time.sleep(60)
        return at.real_scores.mean()


class Leaves(Regularizer, name="leaves"):
    """The process ends itself."""

    def d_penalty(self, at):
        os._exit(7)


class OutOfMemory(Regularizer, name="out-of-memory"):
    """An allocation fails."""

    def d_penalty(self, at):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 EiB.")


class Crowded(Regularizer, name="crowded"):
    """A step of more than ``room`` trials needs more memory than there is, which shows after ``calls`` of noise."""

    room: int = 2
    calls: int = 0
    widest = drawn = 0

    def noise(self, batch, rng):
        own = type(self)
        own.drawn += 1
        if 0 < self.calls < own.drawn and own.widest > self.room:
            self.fail()
        return {"jitter": batch.normal(rng, batch.size)}

    def fail(self):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 EiB.\nOf the memory in use")

    def d_penalty(self, at):
        whole = at.real
        while is_functorch_wrapped_tensor(whole):
            whole = get_unwrapped(whole)
        own = type(self)
        own.widest = whole.shape[0] if whole.dim() > at.real.dim() else 1
        if own.widest > self.room and not self.calls:
            self.fail()
        return 0.1 * (at.real_scores + at.noise["jitter"]).square().mean()


class Killed(Crowded, name="killed"):
    """The same, and the system kills the process."""

    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Prints(Regularizer, name="prints"):
    """Writes to both streams."""

    def d_penalty(self, at):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        return at.real_scores.mean() * 0


class Drift(Regularizer, name="drift"):
    """weight E (D(x) - m)^2 with m a running mean of D(x): a regularizer with state and noise."""

    weight: float = 0.1

    def init(self, params):
        some = next(iter(params.values()))
        return {"mean": torch.zeros((), dtype=some.dtype, device=some.device)}

    def noise(self, batch, rng):
        return {"jitter": batch.normal(rng, batch.size)}

    def observe(self, at, state):
        return {"mean": 0.9 * state["mean"] + 0.1 * at.real_scores.mean()}

    def d_penalty(self, at):
        return self.weight * (at.real_scores + 0.01 * at.noise["jitter"] - at.state["mean"]).square().mean()


class AsksForANumber(Regularizer, name="asks-for-a-number"):
    """A branch on a tensor, which works for one seed and not for several at once."""

    def d_penalty(self, at):
        return at.real_scores.mean() * (0.1 if at.real_scores.mean().item() > 0 else 0.2)


@hookimpl
def ganbench_components():
    return [
        Crash,
        Raises,
        NotANumber,
        Sometimes,
        Hangs,
        Leaves,
        OutOfMemory,
        Crowded,
        Killed,
        Prints,
        Drift,
        AsksForANumber,
    ]
