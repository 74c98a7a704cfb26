"""Pictures, plots and tables of a comparison, as one HTML file; made from the run directory's files alone.

    report.write(run_dir) -> Path          the page
    report.summary(table, config) -> list  the same in plain sentences
    report.paired.differences(table, ...)  paired differences between losses, with intervals over seeds

Nothing here imports torch.
"""

from lossproof.report import paired
from lossproof.report.page import write
from lossproof.report.words import summary

__all__ = ["paired", "summary", "write"]
