"""Imported by the fork server of a run that compiles, after :mod:`ganbench.preload`: the compiler, which is Python.

As there, nothing may start a thread; the compiler's pool of processes starts with the first graph, and not here.
"""

from ganbench.preload import for_good

with for_good():
    import torch._inductor.compile_fx
    import torch.fx.experimental.proxy_tensor

__all__ = ["torch"]
