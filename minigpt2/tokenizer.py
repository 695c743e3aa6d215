"""Text ⇄ token ids: byte-level byte-pair encoding.

A text is cut into pieces that look like words. Each piece becomes its UTF-8 bytes, and
neighbours are merged for as long as the merge list knows them, the earliest merge of the
list first (Sennrich et al. 2015; over bytes: Radford et al. 2019, section 2.2). With the
list "a a", "a b", "aa ab":

    a a a b d a a a b a c       11 bytes
    aa  a b d aa  a b a c       a a, from the left
    aa  ab  d aa  ab  a c       a b
    aaab    d aaab    a c       aa ab: 5 tokens

The list, OpenAI's `vocab.bpe`, is all there is to know: ids 0 to 255 are the bytes, the
printable ones first ("!" is 0, "A" is 32); then each merge has an id, in order, and
`<|endoftext|>` is the last. The first lines of the list are a smaller vocabulary of the
same kind.
"""

import codecs
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path

import regex

END_OF_TEXT = "<|endoftext|>"
RELEASED_VOCABULARY = Path(__file__).with_name("vocab.bpe")
# contractions; words, numbers and the rest with the one space before them; white space
PIECE = regex.compile(
    r"""'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
)
WORD_END = regex.compile(r"\S(?=\s)")
LAST_WORD_END = regex.compile(r"(?r)\S(?=\s)")  # (?r): searched from the end
BLOCK = 1 << 14  # characters
CHUNK = 32  # bytes: longer pieces are rare, and merged a chunk at a time
CACHED_PIECES = 1 << 16  # of at most CHUNK bytes: some 30 MB
RELEASED_MERGES = 50_000
MAX_PADDING = 128  # some models round 50257 up to 50304; the last ids mean nothing

# A merge list is text, so each byte is written as a printable character. A byte that is
# one already is itself: "t" is t. The other 68 take the characters from 256 on, in order:
# a line break (10) is "Ċ", a space (32) is "Ġ". "Ġ t" is thus the merge of a space and a
# t. BYTE_ORDER[id] is the byte of an id below 256, CHARACTERS[id] how the list writes it,
# and BYTE_IDS[byte] is its id.
PRINTABLE = [
    *range(ord("!"), ord("~") + 1),
    *range(ord("¡"), ord("¬") + 1),
    *range(ord("®"), ord("ÿ") + 1),
]
BYTE_ORDER = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]
CHARACTERS = [chr(byte) for byte in PRINTABLE]
CHARACTERS += [chr(256 + i) for i in range(256 - len(PRINTABLE))]
BYTE_IDS = bytes.maketrans(bytes(BYTE_ORDER), bytes(range(256)))


class Tokenizer:
    """A byte-level vocabulary, from the lines of a merge list: "Ġ t", "Ġ a", "h e", …

    n_vocab  how many ids there are: the list is cut to fit; by default, it is used whole
    vocab    the bytes of each token, by id
    names    the ids of tokens, by what the list makes of their bytes: "Ġthe"
    eot      the id of `<|endoftext|>`, after which a text begins; None if there is none
    ends     the ids at which a text ends
    special  the ids of tokens that are not made of text, by their names

    Raises ValueError if a line does not merge known tokens, or if lines are missing.
    """

    def __init__(self, merges: list[str], n_vocab: int | None = None) -> None:
        if n_vocab is None:
            n_vocab = 257 + len(merges)
        if n_vocab < 257:
            raise ValueError(f"n_vocab is {n_vocab}, byte-level is at least 257")
        merges = merges[: n_vocab - 257]
        missing = n_vocab - 257 - len(merges)
        if missing and not (len(merges) == RELEASED_MERGES and missing < MAX_PADDING):
            raise ValueError(f"{len(merges)} merges, {n_vocab - 257} expected")
        self.n_vocab = n_vocab
        self.byte_ids = [*BYTE_IDS]
        self.special = {END_OF_TEXT: 256 + len(merges)}
        self.eot: int | None = self.special[END_OF_TEXT]
        self.ends = frozenset(self.special.values())
        self.merges: dict[tuple[int, int], int] = {}  # two ids → the id of both
        self.vocab = [bytes([byte]) for byte in BYTE_ORDER]
        self.names = ids = {character: i for i, character in enumerate(CHARACTERS)}
        for i, line in enumerate(merges, start=256):
            left, _, right = line.partition(" ")
            a, b = ids.get(left), ids.get(right)
            if a is None or b is None or ids.setdefault(left + right, i) != i:
                expected = "expected two earlier tokens that make a new one"
                raise ValueError(f"merge {i - 255} is {line[:80]!r}, {expected}")
            self.merges[a, b] = i
            self.vocab.append(self.vocab[a] + self.vocab[b])
        self._ids = {token: i for i, token in enumerate(self.vocab)}
        self.vocab.append(END_OF_TEXT.encode())
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def from_file(
        cls, path: str | Path = RELEASED_VOCABULARY, n_vocab: int | None = None
    ) -> "Tokenizer":
        """A tokenizer from a `vocab.bpe` or `merges.txt`, by default the released one; a
        byte order mark, and line breaks of any kind, are no part of it.

        Raises OSError, or ValueError if the file is not a merge list.
        """
        return cls(read_merges(Path(path)), n_vocab)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Text → token ids, those of OpenAI's encoder.

        `<|endoftext|>` in the text is spelled out like any other text, unless
        `allow_special` makes it the one token. A lone surrogate, which is no character,
        becomes U+FFFD.
        """
        cache = self._cache
        ids: list[int] = []
        for part in self.prepare(whole_characters(text), allow_special):
            if isinstance(part, int):
                ids.append(part)
                continue
            for piece in chain.from_iterable(_pieces(part)):
                piece_ids = cache.get(piece)
                if piece_ids is None:
                    piece_ids = self._encode_piece(piece)
                ids += piece_ids
        return ids

    def prepare(self, text: str, allow_special: bool = False) -> Iterable[str | int]:
        """The ids of special tokens in a text, and the text between them."""
        if not allow_special:
            return [text]
        eot, texts = self.special[END_OF_TEXT], text.split(END_OF_TEXT)
        return [part for text in texts for part in (eot, text)][1:]

    def beginning(self) -> list[int]:
        """The token that a text begins after. Raises ValueError if there is none."""
        if self.eot is None:
            problem = "this vocabulary has no token that a text begins after"
            how = "a text cannot be empty, follow another, or be learned from"
            raise ValueError(f"{problem}: {how}")
        return [self.eot]

    def encode_parts(self, parts: Iterable[str]) -> Iterator[list[int]]:
        """Encode a long text part by part, in little memory: the lists, joined, are the
        ids of the whole. What follows the last word's end waits for the next part.
        """
        held = ""
        for part in parts:
            held += part
            if border := LAST_WORD_END.search(held):
                yield self.encode(held[: border.end()])
                held = held[border.end() :]
        yield self.encode(held)

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids → text; what is not UTF-8 becomes U+FFFD.

        Raises ValueError for an id outside the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Token ids → bytes. Raises ValueError for an id outside the vocabulary."""
        ids = list(ids)
        if ids and not 0 <= min(ids) <= max(ids) < self.n_vocab:
            i = next(i for i in ids if not 0 <= i < self.n_vocab)
            raise ValueError(f"token id {i} is not in 0 … {self.n_vocab - 1}")
        return b"".join([self.vocab[i] for i in ids if i < len(self.vocab)])

    def stream_decoder(self) -> codecs.IncrementalDecoder:
        """A decoder of bytes as they come: it holds back an incomplete character."""
        return codecs.getincrementaldecoder("utf-8")("replace")

    def _encode_piece(self, piece: str) -> list[int]:
        """The ids of a piece that is not in the cache.

        A piece that is itself a token needs no merging: in a list that training made, as
        OpenAI's is, its merges lead to it.
        """
        raw = piece.encode()
        if len(raw) > CHUNK:
            return self._merge_long(raw)
        ids = [self._ids[raw]] if raw in self._ids else self._merge(raw)
        if len(self._cache) >= CACHED_PIECES:
            self._cache.clear()
        self._cache[piece] = ids
        return ids

    def _merge(self, piece: bytes) -> list[int]:
        """Bytes → ids: merge the pair earliest in the list, the leftmost first, until
        no pair is in the list.

            ids = [BYTE_IDS[byte] for byte in piece]
            while pairs := [pair for pair in pairwise(ids) if pair in merges]:
                earliest = min(pairs, key=merges.__getitem__)
                i = list(pairwise(ids)).index(earliest)
                ids[i : i + 2] = [merges[earliest]]

        This is the same, but remembers for each pair what it merges into. The `end` merges
        with nothing; at index -1 it is also what comes before the first id.
        """
        merge, end = self.merges.get, self.n_vocab
        ids = [*piece.translate(BYTE_IDS), end]
        merged = [merge(pair, end) for pair in pairwise(ids)] + [end]
        while (earliest := min(merged)) != end:
            i = merged.index(earliest)
            ids[i] = earliest
            del ids[i + 1], merged[i]
            merged[i - 1] = merge((ids[i - 1], earliest), end)
            merged[i] = merge((earliest, ids[i + 1]), end)
        return ids[:-1]

    def _merge_long(self, piece: bytes, size: int = CHUNK) -> list[int]:
        """`_merge` for a piece of any length, whose own work grows with the square.

        The piece is merged a chunk at a time. A chunk may go on with a token that the
        chunk before began, so the last `again` tokens are merged once more, together with
        it. Was that enough? If the last token before them and the first of the new ones,
        merged alone, stay two, then no merge crosses the border between them. If not,
        twice as many are taken back. (Why this is exact: tests/test_tokenizer.py.)
        """
        merge = lru_cache(1 << 12)(self._merge)  # a piece this long may repeat itself
        ids: list[int] = []
        for start in range(0, len(piece), size):
            chunk, again = piece[start : start + size], 1
            while True:
                kept = max(len(ids) - again, 0)
                tail = merge(self.decode_bytes(ids[kept:]) + chunk)
                pair = [*ids[kept - 1 : kept], tail[0]]  # or tail[0] alone, if none is
                if merge(self.decode_bytes(pair)) == pair:
                    break
                again *= 2
            ids[kept:] = tail
        return ids


def read_merges(path: Path) -> list[str]:
    """The lines of a merge list. Raises OSError, or ValueError if it is not UTF-8."""
    lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    return lines[1:] if lines[0].startswith("#version") else lines


def whole_characters(text: str) -> str:
    """The text with no surrogates: a pair is the two halves of a character, a lone one
    becomes U+FFFD. Raises TypeError for what is no str."""
    if not isinstance(text, str):
        raise TypeError(f"text is {text!r}, expected a str")
    try:
        text.encode()
    except UnicodeEncodeError:
        utf16 = text.encode("utf-16-le", "surrogatepass")
        text = utf16.decode("utf-16-le", "replace")
    return text


def _pieces(text: str, block: int = BLOCK) -> Iterator[list[str]]:
    """PIECE.findall(text), a block at a time: all pieces take many times the memory of
    the text. Each block ends where white space begins, which no piece goes across."""
    start = 0
    while start < len(text):
        border = WORD_END.search(text, start + block)
        end = border.end() if border else len(text)
        yield PIECE.findall(text, start, end)
        start = end


if __name__ == "__main__":  # the command python -m minigpt2.tokenizer
    from .commands.console import run_command

    run_command("tokenizer")
