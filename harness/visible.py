"""Text that users' files hold, made safe to look at: nothing in it can hide, reverse, overwrite or run anything.

These stand at the edges, where text leaves: errors, the terminal, pages, exports. Standard library only.
"""

from __future__ import annotations

import re

_JOINERS = "\u200c\u200d"
_OTHERS = (
    "\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Controls, direction marks, what has no width or no ink, and halves of surrogate pairs."""
_HIDDEN = re.compile(f"[\x00-\x0a{_OTHERS}]")
_HIDDEN_IN_LINES = re.compile(f"[\x00-\x08{_OTHERS}]")
_SEEN_ASCII = b"\t\n" + bytes(range(0x20, 0x7F))
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
_NUMBER = re.compile(r"[-+]?[\d.,]+[\d.,\s±%+−()-]*")


def visible(text: str) -> str:
    """`text` with control characters, direction marks, what has no width and lone surrogates written out, as in ``\\u202e``.

    HTML escaping is the template's; this is for what escaping leaves alone. Joiners stay where scripts and emoji need them,
    between characters beyond Latin.
    """
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_written_out, text)


def block(text: str) -> str:
    """`visible`, for a text of several lines, or a whole page: line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    beyond_ascii = text.encode(errors="surrogatepass").translate(None, delete=_SEEN_ASCII)
    if not _HIDDEN_IN_LINES.search(
        beyond_ascii.decode(errors="surrogatepass")
    ):  # a page is ASCII, but for a few letters
        return text
    return _HIDDEN_IN_LINES.sub(_written_out, text)


def joined(text: str) -> str:
    """`block` of texts put together of which each is `visible`: all that it can change are joiners, which stand elsewhere now."""
    return block(text) if _JOINERS[0] in text or _JOINERS[1] in text else text


def csv_cell(text: str) -> str:
    """A text for a CSV file: `block`, and behind an apostrophe where a spreadsheet would take it for a formula."""
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{block(text)}" if is_formula else block(text)


def _written_out(found: re.Match[str]) -> str:
    text, start, end = found.string, found.start(), found.end()
    if found[0] in _JOINERS and all(beside > "\u024f" for beside in (text[start - 1 : start], text[end : end + 1])):
        return found[0]
    return found[0].encode("unicode_escape").decode()
