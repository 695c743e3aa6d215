"""Text files → windows of tokens to learn from."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..files.progress import notice
from ..files.text import read_file, split_texts
from ..model import Array
from ..tokenizer import Tokenizer


def read_data(
    data: list[Path], valid: list[Path] | None, out: Path, tokenizer: Tokenizer
) -> tuple[Array, Array, float]:
    """The tokens to learn from, those to validate on, and how many bytes the latter's
    files have for each byte of tokens. They are of other files, or else the last 5 %.
    Raises ValueError, as find_files and read_tokens do."""
    apart = find_files(valid, out) if valid else []
    files = find_files(data, out, apart)
    tokens = read_tokens(files, tokenizer)
    if apart:
        rest = read_tokens(apart, tokenizer)
        return tokens, rest, bytes_per_byte(apart, rest, tokenizer)
    ratio = bytes_per_byte(files, tokens, tokenizer)
    train, rest = np.split(tokens, [len(tokens) - len(tokens) // 20])
    return train, rest, ratio


def bytes_per_byte(files: list[Path], tokens: Array, tokenizer: Tokenizer) -> float:
    """How many bytes the texts have for each byte of their tokens: it is 1 unless the
    vocabulary changes a text (lower-cases it, say) before it cuts it into tokens."""
    texts = (text for file in files for _, text in split_texts(read_file(file)))
    lengths = np.array([len(raw) for raw in tokenizer.vocab])  # (V,)
    lengths[tokenizer.beginning()] = 0
    return sum(len(text.encode()) for text in texts) / int(lengths[tokens].sum())


def find_files(
    paths: list[Path], out: Path, without: Iterable[Path] = ()
) -> list[Path]:
    """The files given, and the .txt files in the directories given.

    Left out, and named in a notice, are what is hidden in those directories, or of the
    directory `out`, merges.txt of a model, and a file that is one of `without` or was met
    before, be it through a link. Raises ValueError, with its name, for a file that is
    missing, and for a directory with no .txt file.
    """
    seen, found, left_out = {identity(file) for file in without}, [], []
    out = out.resolve()
    for path in paths:
        inside, whole = path.is_dir(), path.resolve()
        files = sorted(path.rglob("*.txt")) if inside else [path]
        if not files:
            raise ValueError(f"{path}: no .txt file in this directory")
        for file in files:
            names = file.relative_to(path).parts if inside else ()
            is_merges = file.name == "merges.txt"
            if (
                any(name.startswith(".") for name in names)
                or (out in file.resolve().parents and whole in out.parents)
                or (is_merges and file.with_name("config.json").exists())
                or identity(file) in seen
            ):
                left_out.append(str(file))
            else:
                seen.add(identity(file))
                found.append(file)
    if left_out:
        notice(f"left out of the data: {', '.join(left_out)}")
    return found


def identity(file: Path) -> tuple[int, int]:
    """What a file's names have in common, links too."""
    try:
        status = file.stat()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    return status.st_dev, status.st_ino


def read_tokens(files: list[Path], tokenizer: Tokenizer) -> Array:  # int32 (tokens,)
    """The tokens of all texts, each after an `<|endoftext|>`, which in a file is the end
    of a text (files.text.split_texts).

    Raises ValueError, with its name, for a file that is missing or no UTF-8 text, and
    if there is no text at all.
    """
    tokens: list[Array] = []
    for file in files:
        for _, text in split_texts(read_file(file)):
            ids = [*tokenizer.beginning(), *tokenizer.encode(text)]
            tokens.append(np.array(ids, np.int32))
    if not tokens:
        raise ValueError(f"{', '.join(map(str, files)) or 'the data'}: no text")
    return np.concatenate(tokens)


def draw_windows(
    tokens: Array, n_ctx: int, first: int, count: int, seed: int, drills: float = 0.0
) -> Array:
    """Numbers `first` to `first + count` of an endless sequence of windows, which
    `seed` determines: int (count, n_ctx + 1).

    The text is cut into n windows of n_ctx tokens, and one more to predict; they come
    in random order, each once; then the text is cut at other places, and so on. Nothing
    has to be remembered to go on.

    A share `drills` of them is drills instead: a few random tokens of the text, again and
    again. Only copying foretells them, and books seldom reward it. (In the shape of tiny,
    after 16 M tokens: the strongest head that copies has an induction score of 0.03
    without drills, and of 0.35 with a tenth of them.)
    """
    n = max(1, (len(tokens) - 1) // n_ctx - 1)  # one fewer, to leave room for the cut

    @functools.cache
    def starts(epoch: int) -> Array:  # int (n,)
        rng = np.random.default_rng((seed, epoch))
        cut = rng.integers(len(tokens) - n * n_ctx)
        return np.asarray(cut + n_ctx * rng.permutation(n))

    numbers = range(first, first + count)
    places = np.array([starts(k // n)[k % n] for k in numbers])  # (count,)
    batch: Array = tokens[places[:, None] + np.arange(n_ctx + 1)]
    if drills:
        for k, window in zip(numbers, batch, strict=True):
            rng = np.random.default_rng((seed, k, 1))  # 1: no epoch's generator
            if rng.random() < drills:
                few = rng.choice(tokens, rng.integers(4, 4 + n_ctx // 5))
                window[:] = np.resize(few, len(window))
    return batch
