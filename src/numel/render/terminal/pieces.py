"""Lines of a terminal: styled pieces of text that fit a width."""

from __future__ import annotations

from collections.abc import Iterator

from rich.segment import Segment
from rich.style import Style

from numel.render.text import cells, printable

Line = list[Segment]

GAP = 2
_EIGHTHS = " ▏▎▍▌▋▊▉█"

PLAIN = Style.null()
BOLD = Style(bold=True)
DIM = Style(dim=True)
TITLE = Style(bold=True, color="cyan")
TYPE = Style(color="cyan")
BAR = Style(color="blue")
DOUBT = Style(color="yellow")
CALLOUTS = {
    "note": Style(bold=True, color="cyan"),
    "advice": Style(bold=True, color="green"),
    "warning": Style(bold=True, color="yellow"),
    "error": Style(bold=True, color="red"),
}


def lines_of(text: str, width: int, style: Style = PLAIN) -> Iterator[Line]:
    """Text of somebody else as lines of one style."""
    yield from ([Segment(line, style)] for line in wrapped(printable(text), width))


def joined(pieces: list[tuple[str, Style]], *, gap: bool = True) -> Line:
    """One line of pieces, with a gap between them."""
    line: Line = []
    for text, style in pieces:
        if gap and line:
            line.append(Segment(" " * GAP))
        line.append(Segment(text, style))
    return trimmed(line)


def trimmed(line: Line) -> Line:
    """Without blanks at its end."""
    while line and not line[-1].text.strip(" "):
        line.pop()
    if line:
        line[-1] = Segment(line[-1].text.rstrip(" "), line[-1].style)
    return line


def share_bar(share: object, size: int) -> str:
    """`share` of one as a bar of at most `size` columns, in eighths; what is not zero shows at least the thinnest."""
    if not isinstance(share, int | float) or not share > 0:
        return " " * size
    eighths = max(1, min(size * 8, round(share * size * 8)) if share < 1 else size * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[part] if part else "")).ljust(size)


def wrapped(text: str, width: int) -> list[str]:
    """Printable `text` in lines of at most `width` columns, broken at spaces; a longer word is broken anywhere."""
    done: list[str] = []
    line, size = "", 0
    for word in text.split(" "):
        length = cells(word)
        if line and size + 1 + length <= width:
            line, size = f"{line} {word}", size + 1 + length
            continue
        if line:
            done.append(line)
        while length > width:
            cut = width if word.isascii() else _columns(word, width)
            done.append(word[:cut])
            word = word[cut:]
            length = cells(word)
        line, size = word, length
    if line or not done:
        done.append(line)
    return [each.rstrip(" ") for each in done]


def _columns(word: str, width: int) -> int:
    """How many characters of `word` fit `width` columns; at least one."""
    cut = min(len(word), width)
    while cut > 1 and cells(word[:cut]) > width:
        cut -= 1
    return cut
