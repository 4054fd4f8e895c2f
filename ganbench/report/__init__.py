"""One self-contained HTML page about a run: everything in one file, nothing fetched, every name escaped."""

from ganbench.report.page import page, write

__all__ = ["page", "write"]
