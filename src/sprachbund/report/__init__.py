"""The page that shows a study: its charts, tables and the sentences behind them."""

from sprachbund.report.data import ReportData
from sprachbund.report.drawing import save_chart
from sprachbund.report.page import write_report
from sprachbund.report.results import Results, read_results

__all__ = ["ReportData", "Results", "read_results", "save_chart", "write_report"]
