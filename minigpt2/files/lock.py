"""A directory → one process: how do two downloads keep out of each other's way?"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def take(directory: Path) -> TextIO | None:
    """Make a directory, and have it alone until the file that is returned is closed, or
    the process ends, however it ends. None if another process has it.

    The lock is on a file in the directory, which its owner may remove with it.
    """
    path = directory / "lock"
    while True:
        with suppress(FileExistsError):
            directory.mkdir()
        try:
            file = open(path, "w")  # noqa: SIM115
        except FileNotFoundError:  # removed since
            continue
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # what was locked has been removed: another one may lie there now
