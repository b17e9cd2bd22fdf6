"""The page that shows a study: its charts, tables and the sentences behind them."""

from sprachbund.report.data import ReportData
from sprachbund.report.drawing import save_chart
from sprachbund.report.page import write_report

__all__ = ["ReportData", "save_chart", "write_report"]
