"""A regularizer that wants memory."""

import torch

from ganbench import Regularizer, hookimpl


class Hungry(Regularizer, name="hungry"):
    """1e-12 E[D(x)]^2, by way of two tensors of ``mib`` MiB at least."""

    mib: int = 1

    def d_penalty(self, at):
        many = torch.ones(self.mib * 2**18, dtype=torch.float32, device=at.real.device)
        return 1e-12 * (at.real_scores.mean() * many).square().mean()


@hookimpl
def ganbench_components():
    return [Hungry]
