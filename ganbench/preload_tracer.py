"""Imported by the fork server of a run that traces steps, after :mod:`ganbench.preload`: what traces, which is Python.

As there, nothing may start a thread.
"""

from ganbench.preload import for_good

with for_good():
    import torch._dynamo
    import torch.fx.experimental.proxy_tensor

__all__ = ["torch"]
