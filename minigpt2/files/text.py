"""A file → its text."""

from pathlib import Path


def read_file(path: Path) -> str:
    """The text in a file. Raises ValueError, with its name, if it is missing or not
    valid UTF-8."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8 (byte {error.start})") from None
