"""A small file → its bytes, or JSON: is it one, and what to do if not?

Every function raises FormatError.
"""

import json
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 1 << 19  # of an index or a JSON file; a released one has 0.1 MB
GIT_LFS = b"version https://git-lfs.github.com/spec/"
MAX_BRACKETS = 1 << 16  # of a JSON text: each may become 60 times as long in memory


class FormatError(ValueError):
    """Bytes that are not of their format: what was found, and what was expected."""

    remedy = "the file is damaged, or is not what its name says"


class Damaged(FormatError):
    """Bytes that show that the file is not whole: a checksum, or an end that is missing."""

    remedy = "the file is damaged or cut off: fetch it again"


class NotRead(FormatError):
    """Bytes of a sound file, of a kind that is not read here."""

    remedy = "open it with the tool that wrote it, and save it as model.safetensors"


class NotHere(FormatError):
    """A pointer of Git LFS in the place of the file."""

    remedy = "run: git lfs pull"


class TooLarge(FormatError):
    """More than a sound file of this model has."""

    remedy = "is it of another model?"


def read_small(path: Path, limit: int = MAX_HEADER_BYTES) -> bytes:
    """The bytes of a file, of which there are at most `limit`."""
    if (size := path.stat().st_size) > limit:
        raise TooLarge(f"has {size} bytes, expected at most {limit}")
    data = path.read_bytes()
    check_here(data)
    return data


def read_json(path: Path) -> dict[str, Any]:
    return parse_json_object(read_small(path))


def parse_json_object(text: bytes, most_brackets: int = MAX_BRACKETS) -> dict[str, Any]:
    """A JSON object in which no key is there twice."""
    if text.count(b"[") + text.count(b"{") > most_brackets:
        raise FormatError("not JSON that anyone wrote: too many brackets")
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise FormatError("not JSON that anyone wrote: too deeply nested") from None
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise FormatError("not a JSON object")
    return value


def check_here(data: bytes) -> None:
    """See that a file is not the pointer to one."""
    if data.startswith(GIT_LFS):
        raise NotHere("a pointer of Git LFS, not the file")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise FormatError("a key is twice in one object")
    return keys
