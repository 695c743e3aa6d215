"""A byte-level vocabulary in any order, and what is done to a text before it is merged.

In OpenAI's list (tokenizer.py) the place of a merge is the id of what it makes. Other
people number their tokens as they like, two merges may make the same token, and some
tokens are made by no merge. The ids here are those of Hugging Face's `tokenizers`
(added_vocabulary.rs, pre_tokenizers/byte_level.rs and models/bpe/word.rs there).
"""

import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import regex

from ..tokenizer import BYTE_ORDER, CHARACTERS, Tokenizer

# a character of a name → the byte as a character, or one that is no byte
SPELLED = dict.fromkeys(range(256), 256)
SPELLED |= {ord(c): byte for c, byte in zip(CHARACTERS, BYTE_ORDER, strict=True)}
NORMALIZERS: dict[str, Callable[[str], str]] = {
    # `tokenizers` does not know the combining marks that are newer than 2016
    **{f: partial(unicodedata.normalize, f) for f in ("NFC", "NFD", "NFKC", "NFKD")},
    "Lowercase": lambda text: "".join(map(str.lower, text)),  # Σ is σ, also at an end
}

NONE = -1  # no id


class Added(NamedTuple):
    """A token that no merge makes: where a text holds its content, that is the token."""

    id: int
    content: str
    special: bool = True  # a sign, read only where signs are allowed; else a word
    normalized: bool = False  # looked for after the normalizers
    single_word: bool = False  # with no letter or digit beside it
    lstrip: bool = False  # it takes the white space before it, too
    rstrip: bool = False


class Rules(NamedTuple):
    """What is done to a text before it is cut into pieces, in this order."""

    normalizers: tuple[str, ...] = ()
    cut: str | None = None  # into parts: a regular expression that matches each
    prefix_space: bool = False  # before a part that does not begin with one


class Parts(NamedTuple):
    """What a vocabulary is made of."""

    ids: dict[str, int]  # of tokens by their names, in which a character is a byte
    merges: list[Any]  # pairs of names, "a b" or ["a", "b"], the earliest first
    added: list[Added]
    rules: Rules


class ByteLevelTokenizer(Tokenizer):
    """A Tokenizer with the ids that a model's files give. `files` are where its parts
    were read: training writes them again. Raises ValueError for a merge of no tokens."""

    def __init__(self, n_vocab: int, parts: Parts, files: list[Path]) -> None:
        ids, merges, added, self.rules = parts
        self.n_vocab, self.names, self.files = n_vocab, ids, files
        self.special = {token.content: token.id for token in added if token.special}
        self.words = {token.content: token.id for token in added if not token.special}
        self.vocab = [b""] * n_vocab
        for name, i in ids.items():
            self.vocab[i] = _bytes(name)
        for token in added:
            self.vocab[token.id] = token.content.encode()
        self.byte_ids = [
            ids.get(c, NONE) for _, c in sorted(zip(BYTE_ORDER, CHARACTERS))
        ]
        self.merges = {}
        self._ranks: dict[tuple[int, int], int] = {}
        for rank, (left, right) in enumerate(_pairs(merges)):
            try:
                pair, both = (ids[left], ids[right]), ids[left + right]
            except KeyError as error:
                name = str(error)[:80]
                raise ValueError(f"merge {rank + 1} needs {name}, no token") from None
            self.merges.pop(pair, None)  # of a pair that is there twice the last counts
            self.merges[pair], self._ranks[pair] = both, rank
        self._ids, self._cache = {}, {}
        self._raw = {t.content: t for t in added if not t.normalized}
        self._normal = {self._normalize(t.content): t for t in added if t.normalized}

    def prepare(self, text: str, allow_special: bool = False) -> Iterator[str | int]:
        """Ids of added tokens, and the text between them, ready to be cut into pieces.
        Words that were added are always read, special tokens if `allow_special`."""
        raw = _split([text], self._raw, allow_special)
        parts = (self._normalize(p) if isinstance(p, str) else p for p in raw)
        for part in _split(parts, self._normal, allow_special):
            if isinstance(part, int):
                yield part
                continue
            for cut in regex.findall(self.rules.cut or "(?s).+", part):
                space = self.rules.prefix_space and cut[0] != " "
                yield " " + cut if space else cut

    def encode_parts(self, parts: Iterable[str]) -> Iterator[list[int]]:
        """As Tokenizer.encode_parts. Where what comes before the end of a word could
        change what comes after it, all parts are taken at once."""
        if self.words or self.rules.normalizers or self.rules.prefix_space:
            return iter([self.encode("".join(parts))])
        return super().encode_parts(parts)

    def _normalize(self, text: str) -> str:
        for name in self.rules.normalizers:
            text = NORMALIZERS[name](text)
        return text

    def _merge(self, piece: bytes) -> list[int]:
        """Bytes → ids: merge the pair earliest in the list, the leftmost first, until no
        pair is in the list.

        All pairs wait in a queue, so that the work grows with n log n; a pair is passed
        over if meanwhile one of its tokens has been merged.
        """
        ids = [self.byte_ids[byte] for byte in piece]
        if NONE in ids:
            byte = piece[ids.index(NONE)]
            text = piece.decode(errors="backslashreplace")
            raise ValueError(f"no token for byte 0x{byte:02x}, in {text[:80]!r}")
        before, after = [*range(-1, len(ids))], [*range(1, len(ids)), -1]
        ranks = self._ranks
        queue = [
            (ranks[pair], i, pair)
            for i, pair in enumerate(pairwise(ids))
            if pair in ranks
        ]
        heapify(queue)
        while queue:
            _, i, pair = heappop(queue)
            j = after[i]
            if j < 0 or (ids[i], ids[j]) != pair:
                continue
            ids[i], ids[j] = self.merges[pair], NONE
            after[i] = k = after[j]
            before[k] = i
            for a, b in (before[i], i), (i, k):
                pair = ids[a], ids[b]
                if a >= 0 <= b and pair in ranks:
                    heappush(queue, (ranks[pair], a, pair))
        return [i for i in ids if i != NONE]

    def _merge_long(self, piece: bytes, size: int = 0) -> list[int]:
        return self._merge(piece)


def _pairs(merges: list[Any]) -> Iterator[tuple[str, str]]:
    for number, merge in enumerate(merges, start=1):
        pair = merge.split(" ") if type(merge) is str else merge
        if type(pair) is not list or [type(part) for part in pair] != [str, str]:
            raise ValueError(f"merge {number} is {reprlib.repr(merge)}")
        yield pair[0], pair[1]


def _bytes(name: str) -> bytes:
    """The bytes that a name spells, or those of its text if it holds other characters."""
    try:
        return name.translate(SPELLED).encode("latin-1")
    except UnicodeEncodeError:
        return name.encode()


def _split(
    parts: Iterable[str | int], tokens: dict[str, Added], allow_special: bool
) -> Iterator[str | int]:
    """Parts of a text, in which added tokens have become their ids. The leftmost is found
    first and, of those that begin together, the longest."""
    firsts = "".join(regex.escape(content[0]) for content in tokens)
    lengths = sorted({len(content) for content in tokens}, reverse=True)
    for text in parts:
        if isinstance(text, int) or not tokens:
            yield text
            continue
        done = at = 0  # what is before `done` has been given out
        while first := regex.search(f"[{firsts}]", text, pos=at):
            start = first.start()
            contents = (text[start : start + length] for length in lengths)
            content = next((c for c in contents if c in tokens), "")
            at = end = start + max(1, len(content))
            token = tokens.get(content)
            if not token or (token.special and not allow_special):
                continue
            beside = text[start - 1 : start] + text[end : end + 1]
            if token.single_word and regex.search(r"\w", beside):
                continue
            while (
                token.lstrip
                and start > done
                and regex.match(r"\s", text, pos=start - 1)
            ):
                start -= 1
            while token.rstrip and regex.match(r"\s", text, pos=end):
                end += 1
            yield from (text[done:start], token.id)
            done = end
        yield text[done:]
