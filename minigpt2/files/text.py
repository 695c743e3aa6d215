"""Bytes → texts: the same for files and for standard input."""

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from ..tokenizer import END_OF_TEXT

BLOCK = 1 << 16  # bytes
# How the texts of a file are told apart: by what is between them. Of `<|endoftext|>` it is
# the white space of its line, too; (?<!…): a long run of spaces is tried once.
SPLITS = {
    "end": r"(?<![ \t])(?:[ \t]*<\|endoftext\|>)+[ \t]*\n?",
    "blank": r"(?:\A|\n)(?:[ \t]*\n)+|\n\Z",
    "line": r"\n",
    "file": r"(?!)",  # nothing
}
SPLIT_HELP = (
    "what is between two texts of a file: end (<|endoftext|>), blank (blank lines), line "
    "(a line break) or file (nothing: it is one text)"
)


def read_file(path: Path) -> str:
    """The text in a file, as `as_text` reads it. Raises ValueError, with the file's name,
    if it is missing or not valid UTF-8."""
    return "".join(file_parts(path))


def as_text(data: bytes, name: object) -> str:
    """UTF-8 → text: one byte order mark at the start is dropped, and the line breaks
    \\r\\n and \\r become \\n.

    Raises ValueError, with the name of what was read, if it is not valid UTF-8.
    """
    return "".join(read_parts(io.BytesIO(data), name))


def file_parts(path: Path) -> Iterator[str]:
    """`read_file` in parts, in little memory."""
    try:
        with open(path, "rb") as file:
            yield from read_parts(file, path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def read_parts(file: BinaryIO, name: object) -> Iterator[str]:
    """`as_text` of what is in a file, in parts."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    breaks = io.IncrementalNewlineDecoder(None, translate=True)
    done = 0  # bytes
    while True:
        data = file.read(BLOCK)
        if done == 0:
            marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            if marked or data.count(0) > max(2, len(data) // 3):
                raise ValueError(f"{name}: this is UTF-16: save it as UTF-8")
        held = len(decoder.getstate()[0])  # the bytes of a character that goes on
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            byte = done - held + error.start
            raise ValueError(f"{name}: not valid UTF-8 (byte {byte})") from None
        if done == 0:
            text = text.removeprefix("\ufeff")
        done += len(data)
        yield breaks.decode(text, final=not data)
        if not data:
            return


def split_texts(text: str, split: str = "end") -> Iterator[tuple[str, str]]:
    """The texts of a file, and what is before each: what is between texts (SPLITS), and
    texts that are blank."""
    for before, parts in stream_texts([text], split):
        yield before, "".join(parts)


def stream_texts(
    parts: Iterable[str], split: str = "end"
) -> Iterator[tuple[str, Iterator[str]]]:
    """`split_texts` of a file that comes in parts, in little memory: each text comes in
    parts too, which are to be taken before the next text is."""
    numbered = groupby(_numbered(parts, split), key=itemgetter(0))
    for group in map(itemgetter(1), numbered):
        _, before, first = next(group)
        yield before, chain([first], (part for _, _, part in group))


def _numbered(parts: Iterable[str], split: str) -> Iterator[tuple[int, str, str]]:
    """The parts of all texts, each with the number of its text and, the first part of a
    text, with what is before the text."""
    number, before, blank, begun = -1, "", "", False
    for is_text, part in _cut(parts, re.compile(SPLITS[split])):
        if not is_text:
            before, blank, begun = before + blank + part, "", False
        elif begun:
            yield number, "", part
        elif part.isspace():
            blank += part
        else:
            number += 1
            yield number, before, blank + part
            before, blank, begun = "", "", True


def _cut(
    parts: Iterable[str], separator: re.Pattern[str]
) -> Iterator[tuple[bool, str]]:
    """What is between separators, with True, and the separators, with False. What may be
    the beginning of one waits for the next part: white space, and a part of a mark."""
    held, at = "", 0  # what is before `at` has been given out: at most one character
    for part in chain(parts, [None]):  # None: that was all
        held += part or ""
        border = len(held) if part is None else _certain(held)
        for found in separator.finditer(held, at):
            if part is not None and found.end() >= border:
                border = min(border, found.start())
                break
            if at < found.start():
                yield True, held[at : found.start()]
            yield False, found.group()
            at = found.end()
        if at < border:
            yield True, held[at:border]
            at = border
        held, at = held[max(0, at - 1) :], min(1, at)


def _certain(text: str) -> int:
    """Where the end of a text begins that more text could make a separator."""
    sizes = range(len(END_OF_TEXT) - 1, 0, -1)
    begun = next((n for n in sizes if text.endswith(END_OF_TEXT[:n])), 0)
    return len(text[: len(text) - begun].rstrip())
