r"""LaTeX with booktabs, to be `\input` into a paper: a float for each table that fits a page, a longtable for one that
does not, both no wider than a line. Everything is ASCII: what no Latin font has is written as its code, so that every
engine takes it."""

from __future__ import annotations

import re
import unicodedata
from itertools import count

from numel.document import Callout, Cell, Chart, Column, Document, Heading, Table, Text
from numel.render import assert_never
from numel.render.chart_tables import shown
from numel.render.text import cell_text, fact_text, is_number, labels, middle, printable, title_text

NAME = "latex"
SUFFIXES: tuple[str, ...] = (".tex",)
WHOLE = False

_PAGE = 40  # rows that a float may have
_MOST_LEVELS = 24
_LONGEST = 60  # characters of a name, which is cut in the middle
# characters of a table that fit a line: of any document, in \normalsize and \scriptsize of article's 10pt
_NARROW, _LINE, _SMALL_LINE = 50, 70, 95
_GAP = 2.5  # characters that the space around a column takes
_COMMAND = re.compile(r"\\[a-zA-Z]+ ?|[\\{}$]")
# scales a table only where it is wider than its line, which depends on the document
_SCALED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_PACKAGES = r"""% numel: \input this file. The preamble needs \usepackage{booktabs}, for wide tables
% \usepackage{graphicx}, and for tables of more than 40 rows \usepackage{longtable}.
"""
_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "'": r"{'}", "`": r"{`}", "-": r"{-}",  # no ligatures, as in a--b
    '"': r"{\char34}",  # \textquotedbl needs another font encoding
    "×": r"$\times$", "≥": r"$\geq$", "≈": r"$\approx$", "–": "--", "−": "$-$", "…": r"\dots{}",
    "≳": r"$\geq\!\approx$",  # \gtrsim needs amssymb
    "✓": r"$\surd$", "·": r"$\cdot$", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}",
    "µ": r"$\mu$", "Δ": r"$\Delta$", "°": r"\textdegree{}", "\u00a0": "~",
    "[": "{[}", "]": "{]}", "*": "{*}",  # a row that begins with one would be read as an argument of the \\ before it
}  # fmt: skip
_SECTIONS = {1: "section", 2: "subsection", 3: "subsubsection"}


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    r"""The whole document; `width` and `color` mean nothing here.

    >>> table = Table("By dtype", (Column("dtype", "dtype"), Column("n", "N", "count")), (("a_b", 1024),))
    >>> print(render(Document((table,))).split("toprule")[1].split("bottomrule")[0])
    <BLANKLINE>
    dtype & N \\
    \midrule
    a\_b & 1{,}024 \\
    \
    """
    parts: list[str] = []
    taken: set[str] = set()
    for block in document.blocks:
        match block:
            case Heading(text, level):
                parts.append(rf"\{_SECTIONS[level]}*{{{_line(text)}}}")
            case Text(text):
                parts.append("\\par\n".join(_line(line) for line in text.splitlines()))
            case Callout():
                parts.append(_callout(block))
            case Table():
                label = _label(block.title, taken)
                parts.append(_facts(block, label) if block.kind == "facts" else _table(block, label))
            case Chart():
                parts.append(_table(shown(block), _label(block.title, taken)))
            case _:
                assert_never(block)
    return _PACKAGES + "\n" + "\n\n".join(part for part in parts if part) + "\n" if any(parts) else ""


def _callout(callout: Callout) -> str:
    where = f" (at {callout.path})" if callout.path else ""
    code = f" [{callout.code}]" if callout.code else ""
    return rf"\noindent\textbf{{{callout.kind.capitalize()}:}} {_line(callout.text + where + code)}\par"


def _facts(table: Table, label: str) -> str:
    rows = []
    for row in (*table.rows, *((table.total,) if table.total is not None else ())):
        values = []
        for cell, column in zip(row[1:], table.columns[1:], strict=True):
            exact, short = fact_text(cell, column.unit)
            values.append(f"{_number(exact)} ({_number(short)})" if short else _number(exact))
        rows.append(f"{_line(cell_text(row[0], table.columns[0].unit))} & {' '.join(values)} \\\\")
    return _float(table, label, "lr", "", rows or [r"\multicolumn{2}{l}{(none)} \\"], [])


def _table(table: Table, label: str) -> str:
    if not table.columns:
        return _line(" ".join(text for text in (table.title, table.caption) if text))
    kinds = "".join("r" if is_number(column) else "l" for column in table.columns)
    head = " & ".join(_line(title_text(column)) for column in table.columns) + r" \\"
    names, base = labels(table), min(table.depths or (0,))
    rows = []
    for index, row in enumerate(table.rows):
        fields = _fields(row, table.columns)
        level = min(table.depths[index] - base, _MOST_LEVELS) if table.depths else 0
        fields[0] = r"\quad " * level + _line(middle(names[index], _LONGEST))
        rows.append(" & ".join(fields) + r" \\")
    if not rows:
        rows.append(rf"\multicolumn{{{len(table.columns)}}}{{l}}{{(no rows)}} \\")
    total = [] if table.total is None else [" & ".join(_fields(table.total, table.columns)) + r" \\"]
    return _float(table, label, kinds, head, rows, total)


def _float(table: Table, label: str, kinds: str, head: str, rows: list[str], total: list[str]) -> str:
    caption = _line(" ".join(text for text in (table.title and f"{table.title}.", table.caption) if text))
    body = [*rows, *([r"\midrule", *total] if total else [])]
    header = [head, r"\midrule"] if head else []
    wide = _characters([head, *body])
    if len(rows) > _PAGE:
        size = "" if wide <= _LINE else r"\scriptsize" if wide <= _SMALL_LINE else r"\tiny"
        lines = [rf"{{{size}\setlength{{\tabcolsep}}{{3pt}}"] if size else []
        lines.append(rf"\begin{{longtable}}{{{kinds}}}")
        if caption:
            lines.append(rf"\caption{{{caption}}}{label} \\")
        lines += [r"\toprule", *header, r"\endhead", *body, r"\bottomrule", r"\end{longtable}", *("}" if size else "")]
        return "\n".join(lines)
    lines = [r"\begin{table}[htbp]", r"\centering"]
    if caption:
        lines.append(rf"\caption{{{caption}}}{label}")
    scaled, end = ([_SCALED], "}") if wide > _NARROW else ([], "")
    lines += [*scaled, rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", *header, *body, r"\bottomrule"]
    return "\n".join([*lines, rf"\end{{tabular}}{end}", r"\end{table}"])


def _characters(lines: list[str]) -> float:
    """About how many characters a table is wide, the space around its columns included."""
    widths: dict[int, int] = {}
    for line in lines:
        for at, field in enumerate(line.split(" & ")):
            widths[at] = max(widths.get(at, 0), len(_COMMAND.sub("", field).strip()))
    return sum(widths.values()) + _GAP * len(widths)


def _fields(row: tuple[Cell, ...], columns: tuple[Column, ...]) -> list[str]:
    return [
        _number(cell_text(cell, column.unit)) if is_number(column) else _line(cell_text(cell, column.unit))
        for cell, column in zip(row, columns, strict=True)
    ]


def _number(text: str) -> str:
    """A printed number: no break before its unit, and commas that TeX does not space as a list."""
    if re.fullmatch(r"[≥≈≳]? ?-?[0-9][0-9,.]*( ?[A-Za-z%]+)?", text):
        text = _line(text).replace(",", "{,}").replace("{-}", "$-$")
        return text.replace(" ", "~")
    return _line(text)


def _line(text: str) -> str:
    """As plain text within one line. What no Latin font has is written as its code, so that nothing is lost."""
    done = []
    for character in printable(" ".join(text.split())):
        if character in _ESCAPED:
            done.append(_ESCAPED[character])
        elif character.isascii():
            done.append(character)
        else:
            plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
            done.append(plain if plain.isalnum() else rf"\textbackslash{{}}u{ord(character):04x}")
    return "".join(done)


def _label(title: str, taken: set[str]) -> str:
    """A label that no table before it has; none without a title."""
    if not title:
        return ""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or "numel"
    label = next(each for n in count(1) if (each := slug if n == 1 else f"{slug}-{n}") not in taken)
    taken.add(label)
    return rf"\label{{tab:{label}}}"
