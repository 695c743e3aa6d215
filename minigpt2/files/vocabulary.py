"""A model's directory → its tokenizer: whose ids are these?

They are those of the model's own files, `tokenizer.json` or else `vocab.json` with
`merges.txt`; or OpenAI's; or the tokenizer is refused, and none is guessed.
"""

import reprlib
import warnings
from contextlib import suppress
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from ..model import Config
from ..tokenizer import (
    CHARACTERS,
    END_OF_TEXT,
    MAX_PADDING,
    RELEASED_MERGES,
    RELEASED_VOCABULARY,
    Tokenizer,
    read_merges,
)
from .byte_level import Added, ByteLevelTokenizer, Rules
from .checkpoint import CheckpointError
from .formats import GIT_LFS, MAX_BRACKETS, FormatError, parse_json_object
from .layout import OPENAI_FILES
from .tokenizer_json import (
    Json,
    Parts,
    check_ids,
    named,
    parts_of_tokenizer_json,
    parts_of_vocab_json,
    with_settings,
)

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
NAMED, ADDED = "special_tokens_map.json", "added_tokens.json"
PAIRS = tuple(product(("vocab.json", "encoder.json"), ("merges.txt", "vocab.bpe")))
OTHER_KINDS = {
    "vocab.txt": "the vocabulary of a WordPiece tokenizer",
    "*.model": "a sentencepiece model",
    "*.vocab": "a sentencepiece vocabulary",
    "*.tiktoken": "a tiktoken vocabulary",
    "*tokenizer.json": "a tokenizer under another name than tokenizer.json",
    "vocab.json": "a vocabulary without merges.txt",
    "encoder.json": "a vocabulary without merges",
    "merges.txt": "a merge list without vocab.json, which has the ids",
    "vocab.bpe": "a merge list without encoder.json, which has the ids",
    "*token*.json": "about a vocabulary that is not there",
}
RELEASED_SIZES = range(257 + RELEASED_MERGES, 257 + RELEASED_MERGES + MAX_PADDING)
MOST_BYTES, BYTES_PER_TOKEN = 1 << 20, 512  # 300 where letters are \\u00d0\\u00b0
MOST_TOKENS = 1 << 18  # for which a file is read


def open_tokenizer(directory: str | Path, config: Config) -> Tokenizer:
    """The tokenizer of the model in a directory. A warning names tokens that were added.

    Raises CheckpointError, in words, if the ids are not known or not made here.
    """
    try:
        tokenizer = _open(Path(directory), config.n_vocab)
    except (OSError, ValueError, FormatError) as error:
        problem = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{directory}: no tokenizer for this model: {problem}; logits need none"
        ) from None
    if isinstance(tokenizer, ByteLevelTokenizer):
        names = [n for n in tokenizer.special | tokenizer.words if n != END_OF_TEXT]
        how = "in a prompt, special ones are plain text unless they are allowed"
        if names:
            notice = f"the vocabulary has the added tokens {_shown(names)}: {how}"
            warnings.warn(notice, stacklevel=4)
    return tokenizer


def _open(directory: Path, n_vocab: int) -> Tokenizer:
    files = {path.name: path for path in directory.iterdir() if path.is_file()}
    n_read = min(n_vocab, MOST_TOKENS)

    def read(name: str) -> Json:
        return _read_json(files[name], n_read) if name in files else {}

    def parts() -> Parts:
        if TOKENIZER in files:
            return parts_of_tokenizer_json(main, settings)
        merges = _read_merges(files[own[1]], n_read)
        return parts_of_vocab_json(main, merges, read(ADDED), settings)

    settings = read(NAMED) | read(SETTINGS)
    pairs = [pair for pair in PAIRS if files.keys() >= set(pair)]
    own = [TOKENIZER] if TOKENIZER in files else [*pairs[0]] if pairs else []
    main = read(own[0]) if own else {}
    path = None if own else _openai_list(files, n_vocab)
    try:
        if path:
            tokenizer = Tokenizer(_read_merges(path, n_read), n_vocab)
        else:
            used = (TOKENIZER, SETTINGS, NAMED, ADDED, *own)
            sources = [files[file] for file in dict.fromkeys(used) if file in files]
            tokenizer = _tokenizer(n_vocab, with_settings(parts(), settings), sources)
    except ValueError as error:
        raise ValueError(
            f"{path.name if path else ' and '.join(own)}: {error}"
        ) from None
    stated = read("generation_config.json"), read("config.json")
    _begin_and_end(tokenizer, stated, named(settings))
    return tokenizer


def _openai_list(files: dict[str, Path], n_vocab: int) -> Path:
    """The merge list of a model that has OpenAI's ids, or the first of them."""
    if any(name in files for name in OPENAI_FILES):
        own = [files[name] for name in ("vocab.bpe", "merges.txt") if name in files]
        return own[0] if own else RELEASED_VOCABULARY
    for pattern, kind in OTHER_KINDS.items():
        for name in sorted(files):
            if fnmatch(name, pattern):
                raise ValueError(f"{name} is {kind}, expected byte-level BPE")
    if n_vocab not in RELEASED_SIZES:
        needed = f"{TOKENIZER}, or {' and '.join(PAIRS[0])}"
        size = f"n_vocab is {n_vocab}, not OpenAI's {RELEASED_SIZES[0]}"
        raise ValueError(f"{size}, and there is no {needed}")
    return RELEASED_VOCABULARY


def _tokenizer(n_vocab: int, parts: Parts, files: list[Path]) -> Tokenizer:
    # people add a special token, and leave the model as large as it was
    without = [t.content for t in parts.added if t.special and t.id >= n_vocab]
    if without:
        size = f"n_vocab is {n_vocab}"
        problem = f"the model lacks the added tokens {_shown(without)} ({size})"
        warnings.warn(problem, stacklevel=6)
    added = [token for token in parts.added if token.content not in without]
    parts = parts._replace(added=added)
    check_ids(parts, n_vocab)
    if _is_openais(parts):
        with suppress(ValueError):  # its list is not for this n_vocab
            return Tokenizer([f"{a} {b}" for a, b in parts.merges], n_vocab)
    return ByteLevelTokenizer(n_vocab, *parts, files)


def _is_openais(parts: Parts) -> bool:
    """Whether these are the ids of OpenAI's list or of its beginning: the plain Tokenizer
    gives them in less time."""
    names = [*CHARACTERS, *(a + b for a, b in parts.merges), END_OF_TEXT]
    eot = Added(len(names) - 1, END_OF_TEXT)
    lines = "".join(f"{a} {b}\n" for a, b in parts.merges)
    _, released = RELEASED_VOCABULARY.read_text(encoding="utf-8").split("\n", 1)
    return (
        parts.rules == Rules()
        and [token._replace(normalized=False) for token in parts.added] == [eot]
        and parts.ids | {END_OF_TEXT: eot.id} == {n: i for i, n in enumerate(names)}
        and released.startswith(lines)
    )


def _begin_and_end(
    tokenizer: Tokenizer, stated: tuple[Json, ...], names: dict[str, str]
) -> None:
    """What a text begins after and ends at: what generation_config.json says or else
    config.json, the tokenizer's own files, or nobody: then `<|endoftext|>`, if it is
    there."""
    special, n_vocab = tokenizer.special, tokenizer.n_vocab

    def candidates(which: str) -> list[list[int]]:
        found = [config.get(f"{which}_token_id") for config in stated]
        ids = [value if isinstance(value, list) else [value] for value in found]
        texts = names.get(f"{which}_token"), END_OF_TEXT
        ids += [[special[text]] for text in texts if text in special]
        return [
            [i for i in some if type(i) is int and 0 <= i < n_vocab] for some in ids
        ]

    begins = [i for ids in candidates("bos") for i in ids if i in special.values()]
    tokenizer.eot = begins[0] if begins else None
    tokenizer.ends = frozenset(next(filter(None, candidates("eos")), []))


def _shown(names: list[str]) -> str:
    return ", ".join(map(reprlib.repr, names[:8])) + ", …" * (len(names) > 8)


def _read_merges(path: Path, n_vocab: int) -> list[str]:
    _check_file(path, n_vocab)
    return read_merges(path)


def _read_json(path: Path, n_vocab: int) -> Json:
    _check_file(path, n_vocab)
    text = path.read_bytes()
    # in a sound file a token has one comma, and a merge two
    if text.count(b",") > MAX_BRACKETS + 3 * n_vocab:
        raise ValueError(f"{path.name} is too large for {n_vocab} tokens")
    try:
        return parse_json_object(text, MAX_BRACKETS + 2 * n_vocab)
    except FormatError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _check_file(path: Path, n_vocab: int) -> None:
    size, most = path.stat().st_size, MOST_BYTES + BYTES_PER_TOKEN * n_vocab
    if size > most:
        raise ValueError(f"{path.name} has {size} bytes, expected at most {most}")
    with open(path, "rb") as file:
        if file.read(len(GIT_LFS)) == GIT_LFS:
            raise ValueError(f"{path.name} is a Git LFS pointer: run git lfs pull")
