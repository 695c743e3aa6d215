"""A model's directory → its tokenizer: whose ids are these?

They are those of the model's own files, `tokenizer.json` or else `vocab.json` with
`merges.txt`; or OpenAI's; or the tokenizer is refused, and none is guessed.
"""

import hashlib
import reprlib
import warnings
from collections.abc import Container
from contextlib import suppress
from itertools import product
from pathlib import Path

from ..model import Config
from ..tokenizer import (
    END_OF_TEXT,
    MAX_PADDING,
    RELEASED_MERGES,
    RELEASED_VOCABULARY,
    Tokenizer,
    read_merges,
)
from .byte_level import Added, ByteLevelTokenizer, Parts, Rules
from .checkpoint import CheckpointError
from .layout import OPENAI_FILES, first_of
from .small import MAX_BRACKETS, FormatError, TooLarge, parse_json_object, read_small
from .tokenizer_json import Json, as_tokenizer_json, check_ids, named, read_parts

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
NAMED, ADDED = "special_tokens_map.json", "added_tokens.json"
PAIRS = (*product(("vocab.json", "encoder.json"), ("merges.txt", "vocab.bpe")),)
OWN = (TOKENIZER,), *PAIRS  # in this order
OTHER_KINDS = {
    "vocab.txt": "the vocabulary of a WordPiece tokenizer",
    "*.model *.vocab": "the vocabulary of sentencepiece",
    "*.tiktoken": "a tiktoken vocabulary",
    "*tokenizer.json": f"a tokenizer under another name than {TOKENIZER}",
    "vocab.json encoder.json": "a vocabulary without merges.txt",
    "merges.txt vocab.bpe": "a merge list without vocab.json, which has the ids",
    "*token*.json": "about a vocabulary that is not there",
}
RELEASED_SIZES = range(257 + RELEASED_MERGES, 257 + RELEASED_MERGES + MAX_PADDING)
RELEASED_END = 256 + RELEASED_MERGES  # the id of `<|endoftext|>`
# SHA-256 of OpenAI's encoder.json, which is the hub's vocab.json
RELEASED_IDS = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
MOST_BYTES, BYTES_PER_TOKEN = 1 << 20, 512  # 300 where letters are \\u00d0\\u00b0
MOST_TOKENS = 1 << 18  # for which a file is read


def open_tokenizer(directory: str | Path, config: Config) -> Tokenizer:
    """The tokenizer of the model in a directory. A warning names tokens that were added.

    Raises CheckpointError, in words, if the ids are not known or not made here.
    """
    try:
        tokenizer = _open(Path(directory), config.n_vocab)
    except (OSError, ValueError) as error:
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

    settings = read(NAMED) | read(SETTINGS)
    own = next((names for names in OWN if files.keys() >= {*names}), ())
    path = files[own[-1]] if own else _openai_list(files, n_vocab)
    if (
        len(own) == 2
        and ADDED not in files
        and n_vocab in RELEASED_SIZES
        and _are_released(files[own[0]], path, settings)
    ):
        own = ()  # they say what OpenAI's list says
    file = read(own[0]) if own else {}
    try:
        merges = [] if path.name == TOKENIZER else _read_merges(path, n_read)
        if len(own) == 2:
            file = as_tokenizer_json(file, merges, read(ADDED), settings)
        if own:
            used = sorted({*own, SETTINGS, NAMED, ADDED} & files.keys())
            parts, sources = read_parts(file, settings), [files[name] for name in used]
            tokenizer = _tokenizer(n_vocab, parts, sources)
        else:
            tokenizer = Tokenizer(merges, n_vocab)
    except ValueError as error:
        raise ValueError(f"{' and '.join(own) or path.name}: {error}") from None
    stated = read("generation_config.json"), read("config.json")
    _begin_and_end(tokenizer, stated, named(settings))
    return tokenizer


def _openai_list(files: dict[str, Path], n_vocab: int) -> Path:
    """The merge list of a model that has OpenAI's ids, or the first of them."""
    if any(name in files for name in OPENAI_FILES):
        own = [files[name] for name in ("vocab.bpe", "merges.txt") if name in files]
        return own[0] if own else RELEASED_VOCABULARY
    if other := first_of(OTHER_KINDS, [*files]):
        raise ValueError(f"{other[0]} is {other[1]}, expected byte-level BPE")
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
    lines = read_merges(RELEASED_VOCABULARY)[: len(parts.merges)]
    end = Added(256 + len(lines), END_OF_TEXT)
    same = parts.merges == lines or parts.merges == [line.split(" ") for line in lines]
    if same and _adds_only(end, parts):
        with suppress(ValueError):  # the list is not for this n_vocab
            plain = Tokenizer(lines, n_vocab)
            if parts.ids | plain.special == plain.names | plain.special:
                return plain  # the same ids in less time
    check_ids(parts, n_vocab)
    return ByteLevelTokenizer(n_vocab, parts, files)


def _adds_only(end: Added, parts: Parts) -> bool:
    """Whether `<|endoftext|>` is all that is added to what the merges make."""
    added = [token._replace(normalized=False) for token in parts.added]
    return parts.rules == Rules() and added == [end]


def _are_released(ids: Path, merges: Path, settings: Json) -> bool:
    """Whether these files are OpenAI's own, byte for byte, and the settings beside them
    change nothing. Then nothing need be parsed: the tokenizer is ready after 0.07 s, else
    after 0.13."""
    limit = MOST_BYTES + BYTES_PER_TOKEN * RELEASED_SIZES[0]
    with suppress(ValueError):  # what is wrong is said when they are parsed
        digest = hashlib.sha256(read_small(ids, limit)).hexdigest()
        same = read_small(merges, limit) == RELEASED_VOCABULARY.read_bytes()
        names = {token["content"] for token in named(settings).values()}
        if digest == RELEASED_IDS and same and names <= {END_OF_TEXT}:
            file = as_tokenizer_json({END_OF_TEXT: RELEASED_END}, [], {}, settings)
            parts = read_parts(file, settings)
            return _adds_only(Added(RELEASED_END, END_OF_TEXT), parts)
    return False


def _begin_and_end(
    tokenizer: Tokenizer, stated: tuple[Json, ...], names: dict[str, Json]
) -> None:
    """What a text begins after and ends at: what generation_config.json says or else
    config.json, the tokenizer's own files, or nobody: then `<|endoftext|>`, if it is
    there."""
    special = tokenizer.special

    def first(which: str, known: Container[int]) -> list[int]:
        found = [config.get(f"{which}_token_id") for config in stated]
        name = names.get(f"{which}_token", {}).get("content", END_OF_TEXT)
        for some in [*found, special.get(name), special.get(END_OF_TEXT)]:
            ids = some if isinstance(some, list) else [some]
            if ids := [i for i in ids if type(i) is int and i in known]:
                return ids
        return []

    tokenizer.eot = next(iter(first("bos", special.values())), None)
    tokenizer.ends = frozenset(first("eos", range(tokenizer.n_vocab)))


def _shown(names: list[str]) -> str:
    return ", ".join(map(reprlib.repr, names[:8])) + ", …" * (len(names) > 8)


def _read_merges(path: Path, n_vocab: int) -> list[str]:
    read_small(path, MOST_BYTES + BYTES_PER_TOKEN * n_vocab)
    return read_merges(path)


def _read_json(path: Path, n_vocab: int) -> Json:
    try:
        text = read_small(path, MOST_BYTES + BYTES_PER_TOKEN * n_vocab)
        # in a sound file a token has one comma, and a merge two
        if text.count(b",") > MAX_BRACKETS + 3 * n_vocab:
            raise TooLarge(f"too large for {n_vocab} tokens")
        return parse_json_object(text, MAX_BRACKETS + 2 * n_vocab)
    except FormatError as error:
        raise ValueError(f"{path.name}: {error}; {error.remedy}") from None
