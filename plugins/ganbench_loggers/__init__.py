"""Loggers that are on only when a run names them: `--plugin tensorboard`, or `plugins = ["tensorboard"]` in a grid.

They watch a run through its hooks, in the driver's process and never inside a step. Each needs a package that an extra
of its name installs, and imports it when the first run begins.
"""
