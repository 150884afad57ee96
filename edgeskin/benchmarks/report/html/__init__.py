"""`report.html`: the report as one page that needs no network, no script and no file beside it."""

from edgeskin.benchmarks.report.html.page import render

__all__ = ["render"]
