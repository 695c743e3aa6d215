"""Bytes → texts: the same for files and for standard input."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

# with the white space of its own line; (?<!…): a long run of spaces is tried once
END = r"((?<![ \t])[ \t]*<\|endoftext\|>[ \t]*\n?)"


def read_file(path: Path) -> str:
    """The text in a file, as `as_text` reads it. Raises ValueError, with the file's name,
    if it is missing or not valid UTF-8."""
    try:
        return as_text(path.read_bytes(), path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def as_text(data: bytes, name: object) -> str:
    """UTF-8 → text: one byte order mark at the start is dropped, and the line breaks
    \\r\\n and \\r become \\n.

    Raises ValueError, with the name of what was read, if it is not valid UTF-8.
    """
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if marked or data.count(0) > max(2, len(data) // 3):
        raise ValueError(f"{name}: this is UTF-16: save it as UTF-8")
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not valid UTF-8 (byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_texts(text: str) -> Iterator[tuple[str, str]]:
    """The texts of a file, in which `<|endoftext|>` is the end of a text, and what is
    before each: marks with the white space of their lines, and texts that are blank."""
    before = ""
    for i, part in enumerate(re.split(END, text)):  # texts and ends in turn
        if i % 2 or not part or part.isspace():
            before += part
        else:
            yield before, part
            before = ""
