"""A page in four forms: for the terminal, for programs, for a browser, for CI systems. Pure: no clock, no output."""

from __future__ import annotations

from .table import full_table, table
from .to_html import to_html
from .to_json import to_json
from .to_junit import to_junit

__all__ = ["full_table", "table", "to_html", "to_json", "to_junit"]
