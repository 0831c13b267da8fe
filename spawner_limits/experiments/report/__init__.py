"""An experiment in three forms: for the terminal, for programs, for a browser. Pure: no clock, no output."""

from __future__ import annotations

from .table import table
from .to_html import to_html
from .to_json import to_json

__all__ = ["table", "to_html", "to_json"]
