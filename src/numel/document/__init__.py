"""The document between analyses and renderers: blocks with numbers and units. Standard library only."""

from numel.document.blocks import Block, Callout, Cell, Column, Document, Heading, Quantity, Table, Text, marked

__all__ = ["Block", "Callout", "Cell", "Column", "Document", "Heading", "Quantity", "Table", "Text", "marked"]
