"""Reports: one HTML page, and figures, made from the files of runs."""

from calibrant.report.files import write_figures, write_reliability
from calibrant.report.page import write_report

__all__ = ["write_figures", "write_reliability", "write_report"]
