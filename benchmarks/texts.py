"""The file of a corpus → texts and questions, a line or a block at a time.

What is not of the corpus's form is a ValueError that names the file and the line.
"""

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from corpora import BLOCK, Corpus
from detokenize import detokenize

LAST_BYTES = 5_000_000  # of enwik8 and text8: by custom, the test text
LONGEST_LINE = 1 << 20  # bytes; those of these texts have some thousands
SENTENCES, CANDIDATES, BLANK = 20, 10, "XXXXX"  # of the Children's Book Test


@dataclass
class Read:
    """How much of a file was read: what figures per word, line and byte divide by."""

    bytes: int = 0
    words: int = 0
    lines: int = 0  # that are not blank
    line: int = 0  # the last one's number


def lines(path: Path, read: Read, limit: int | None = None) -> Iterator[str]:
    """The lines that are not blank, without their ends, until `limit` bytes are read."""
    with open(path, "rb") as file:
        while limit is None or read.bytes < limit:
            raw = file.readline(LONGEST_LINE)
            if not raw:
                return
            read.bytes += len(raw)
            read.line += 1
            if len(raw) == LONGEST_LINE:
                raise wrong(path, read, f"longer than {LONGEST_LINE:,} bytes")
            try:
                line = raw.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise wrong(path, read, f"not UTF-8 (byte {error.start})") from None
            if line.strip():
                read.words += len(line.split())
                read.lines += 1
                yield line


def wrong(path: Path, read: Read, problem: str) -> ValueError:
    return ValueError(f"{path}, line {read.line}: {problem}")


def blocks(path: Path, read: Read, limit: int | None = None) -> Iterator[str]:
    """The last LAST_BYTES of a file, of these at most `limit`, in blocks. A character cut
    in two at an end becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - LAST_BYTES))
        left = LAST_BYTES if limit is None else limit
        while raw := file.read(min(BLOCK, left)):
            left -= len(raw)
            read.bytes += len(raw)
            yield decoder.decode(raw)
        yield decoder.decode(b"", final=True)


def is_heading(line: str) -> bool:
    return line.startswith(" = ") and line.rstrip().endswith(" =")


def documents(
    corpus: Corpus, path: Path, read: Read, limit: int | None = None
) -> Iterator[Iterable[str]]:
    """The paper's reading: texts of which each begins after `<|endoftext|>`, de-tokenized,
    each in parts. WikiText's are its articles; the others are one text each."""
    if corpus.form == "articles":

        def numbered() -> Iterator[tuple[int, str]]:
            article = 0
            for line in lines(path, read, limit):
                article += is_heading(line) and not line.startswith(" = =")
                text = detokenize(corpus.rules, line)
                yield article, f"\n{text}\n\n" if is_heading(line) else f"{text}\n"

        for _, parts in groupby(numbered(), key=lambda part: part[0]):
            yield (text for _, text in parts)
    elif corpus.form == "lines":
        found = lines(path, read, limit)
        yield (f"{detokenize(corpus.rules, line)}\n" for line in found)
    else:
        yield blocks(path, read, limit)


def plain(
    corpus: Corpus, path: Path, read: Read, limit: int | None = None
) -> Iterator[str]:
    """The text as it stands, in parts; WikiText as everybody has it from the `datasets`
    package, the rows of its table joined by blank lines."""
    if corpus.form == "articles":
        between = ""
        for line in lines(path, read, limit):
            rows = ["", f"{line}\n", ""] if is_heading(line) else [f"{line}\n"]
            yield between + "\n\n".join(rows)
            between = "\n\n"
    elif corpus.form == "lines":
        for line in lines(path, read, limit):
            yield line + "\n"
    else:
        yield from blocks(path, read, limit)


def passages(path: Path, read: Read, limit: int | None = None) -> Iterator[str]:
    """LAMBADA's: each line is JSON, {"text": "a passage"}."""
    for line in lines(path, read, limit):
        try:
            passage = json.loads(line)["text"].rstrip()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise wrong(path, read, 'not JSON of the form {"text": "…"}') from None
        if len(passage.split()) < 2:
            raise wrong(path, read, "the passage has no word before its last")
        yield passage


def questions(
    path: Path, read: Read, limit: int | None = None
) -> Iterator[tuple[str, list[str], int]]:
    """The Children's Book Test's, as released: the text with its blank, the candidates, and
    which of them is right.

    A question is 20 lines, each a number and a sentence, and a 21st with the blank, then,
    after tabs, the answer, nothing, and ten candidates between bars; then a blank line.
    """
    sentences: list[str] = []
    for line in lines(path, read, limit):
        number, _, sentence = line.partition(" ")
        if number != str(len(sentences) + 1):
            expected = f"expected sentence {len(sentences) + 1} of a question"
            raise wrong(path, read, f"begins with {number[:20]!r}, {expected}")
        query, *fields = sentence.split("\t")
        sentences.append(query.strip())
        if len(sentences) <= SENTENCES:
            if fields:
                raise wrong(path, read, "a tab in a sentence before the 21st")
            continue
        if len(fields) != 3 or BLANK not in query:
            form = f"{BLANK} in the sentence; tab, answer, two tabs, candidates"
            raise wrong(path, read, f"expected {form}")
        answer, candidates = fields[0].strip(), fields[2].strip().split("|")
        if len(candidates) != CANDIDATES or candidates.count(answer) != 1:
            found = f"{candidates.count(answer)} of {len(candidates)} candidates are"
            expected = f"{answer[:40]!r}, expected 1 of {CANDIDATES}"
            raise wrong(path, read, f"{found} the answer {expected}")
        yield " ".join(sentences), candidates, candidates.index(answer)
        sentences = []
    if sentences and (limit is None or read.bytes < limit):
        raise wrong(path, read, f"the file ends after {len(sentences)} of 21 sentences")
