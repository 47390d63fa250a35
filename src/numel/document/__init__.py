"""The document between analyses and renderers: blocks with numbers and units. Standard library only."""

from numel.document.blocks import Block, Callout, Document, Heading, Text
from numel.document.chart import Chart, ChartKind, Mark
from numel.document.table import Cell, Column, Quantity, Table, marked

__all__ = ["Block", "Callout", "Cell", "Chart", "ChartKind", "Column", "Document", "Heading", "Mark", "Quantity",
           "Table", "Text", "marked"]  # fmt: skip
