"""Text ⇄ token ids: byte-level byte-pair encoding.

A text is cut into pieces that look like words; each piece becomes its UTF-8 bytes, and
neighbours are merged for as long as the merge list knows them, the earliest merge of the
list first (Sennrich et al. 2015; over bytes: Radford et al. 2019, section 2.2). The list,
OpenAI's `vocab.bpe`, is all there is to know: ids 0 to 255 are the bytes, then comes one
id for each merge, in order, and `<|endoftext|>` is the last. The first lines of the list
are a smaller vocabulary of the same kind.
"""

import codecs
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

import regex

from .console import Parser, fail, read_text, run, utf8

END_OF_TEXT = "<|endoftext|>"
RELEASED_VOCABULARY = Path(__file__).with_name("vocab.bpe")
# contractions; words, numbers and the rest with the one space before them; white space
PIECE = regex.compile(
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
)
CACHED_PIECES = 1 << 16  # that bound the memory of a long text
LONGEST_CACHED = 64
RELEASED_MERGES = 50_000
MAX_PADDING = 128  # some models round 50257 up to 50304; the last ids mean nothing

# In the merge list a printable byte stands for itself; for the others stand, in order,
# the characters from 256 on. The vocabulary begins with the printable bytes.
PRINTABLE = [
    *range(ord("!"), ord("~") + 1),
    *range(ord("¡"), ord("¬") + 1),
    *range(ord("®"), ord("ÿ") + 1),
]
BYTE_ORDER = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]
CHARACTERS = [chr(byte) for byte in PRINTABLE]
CHARACTERS += [chr(256 + i) for i in range(256 - len(PRINTABLE))]


class Tokenizer:
    """A byte-level vocabulary, from the lines of a merge list: "Ġ t", "Ġ a", "h e", …

    n_vocab  how many ids there are: the list is cut to fit; by default, it is used whole
    vocab    the bytes of each token, by id
    eot      the id of `<|endoftext|>`

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
        self.eot = 256 + len(merges)
        self.merges: dict[tuple[int, int], int] = {}  # two ids → the id of both
        self.vocab = [bytes([byte]) for byte in BYTE_ORDER]
        ids = {character: i for i, character in enumerate(CHARACTERS)}
        for i, line in enumerate(merges, start=256):
            left, _, right = line.partition(" ")
            if left not in ids or right not in ids or left + right in ids:
                expected = "expected two earlier tokens that make a new one"
                raise ValueError(f"merge {i - 255} is {line[:80]!r}, {expected}")
            ids[left + right] = i
            left_id, right_id = ids[left], ids[right]
            self.merges[left_id, right_id] = i
            self.vocab.append(self.vocab[left_id] + self.vocab[right_id])
        self._ids = {token: i for i, token in enumerate(self.vocab)}
        self._byte_ids = [self._ids[bytes([byte])] for byte in range(256)]
        self._cache: dict[str, list[int]] = {}
        self.vocab.append(END_OF_TEXT.encode())

    @classmethod
    def from_file(
        cls, path: str | Path = RELEASED_VOCABULARY, n_vocab: int | None = None
    ) -> "Tokenizer":
        """A tokenizer from a `vocab.bpe` or `merges.txt`, by default the released one.

        Raises OSError, or ValueError if the file is not a merge list.
        """
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return cls(lines[1:] if lines[0].startswith("#version") else lines, n_vocab)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Text → token ids, those of OpenAI's encoder.

        `<|endoftext|>` in the text is spelled out like any other text, unless
        `allow_special` makes it the one token. A lone surrogate, which is no character,
        becomes U+FFFD.
        """
        try:
            text.encode()
        except UnicodeEncodeError:  # surrogates in pairs are the halves of a character
            utf16 = text.encode("utf-16-le", "surrogatepass")
            text = utf16.decode("utf-16-le", "replace")
        if allow_special and END_OF_TEXT in text:
            head, *tails = (self.encode(part) for part in text.split(END_OF_TEXT))
            return head + [i for tail in tails for i in (self.eot, *tail)]
        cache = self._cache
        ids: list[int] = []
        for piece in PIECE.findall(text):
            piece_ids = cache.get(piece)
            if piece_ids is None:
                piece_ids = self._encode_piece(piece.encode())
                if len(cache) >= CACHED_PIECES:
                    cache.clear()
                if len(piece_ids) <= LONGEST_CACHED:
                    cache[piece] = piece_ids
            ids += piece_ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Token ids → text; what is not UTF-8 becomes U+FFFD.

        Raises ValueError for an id outside the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Token ids → bytes. Raises ValueError for an id outside the vocabulary."""
        tokens = []
        for i in ids:
            if not 0 <= i < self.n_vocab:
                raise ValueError(f"token id {i} is not in 0 … {self.n_vocab - 1}")
            tokens.append(self.vocab[i] if i <= self.eot else b"")
        return b"".join(tokens)

    def stream_decoder(self) -> codecs.IncrementalDecoder:
        """A decoder of bytes as they come: it holds back an incomplete character."""
        return codecs.getincrementaldecoder("utf-8")("replace")

    def _encode_piece(self, piece: bytes) -> list[int]:
        """Merge the pair earliest in the merge list, the leftmost first, until none is.

        The pairs wait in a heap, so that n bytes take n log n steps. A merged pair leaves
        -1 in place of its right half, and a pair on the heap that has changed since is
        passed over.
        """
        if piece in self._ids:  # the merges of a token always lead to it
            return [self._ids[piece]]
        merges = self.merges
        ids = [self._byte_ids[byte] for byte in piece]
        n = len(ids)
        right = list(range(1, n + 1))  # positions of the neighbours, n and -1 if none
        left = list(range(-1, n - 1))
        heap = [(merges[p], i) for i, p in enumerate(pairwise(ids)) if p in merges]
        heapify(heap)
        while heap:
            merged, i = heappop(heap)
            j = right[i]
            if j == n or merges.get((ids[i], ids[j])) != merged:
                continue
            ids[i], ids[j] = merged, -1
            k = right[i] = right[j]
            if k < n:
                left[k] = i
                if (after := merges.get((merged, ids[k]))) is not None:
                    heappush(heap, (after, i))
            h = left[i]
            if h >= 0 and (before := merges.get((ids[h], merged))) is not None:
                heappush(heap, (before, h))
        return [i for i in ids if i >= 0]


def main(argv: list[str] | None = None) -> None:
    parser = Parser(
        "python -m minigpt2.tokenizer", description="Show the tokens of a text."
    )
    add = parser.add_argument
    add("text", nargs="?", type=utf8, help="the text; -, or none: standard input")
    add(
        "--vocab",
        default=RELEASED_VOCABULARY,
        help="a vocab.bpe or merges.txt (default: GPT-2's)",
    )
    add("--n-vocab", type=int, help="use only the first N_VOCAB ids of it")
    args = parser.parse_args(argv)
    try:
        tokenizer = Tokenizer.from_file(args.vocab, args.n_vocab)
    except (OSError, ValueError) as error:
        fail(f"{args.vocab}: {error}")
    text = read_text(args.text)
    print(f"{'piece':<16}  {'id':>5}  {'bytes':<24}  text")
    for piece in PIECE.findall(text):
        shown = repr(piece)
        for token in tokenizer.encode(piece):
            raw = tokenizer.decode_bytes([token])
            part = raw.decode(errors="replace")
            print(f"{shown:<16}  {token:>5}  {raw.hex(' '):<24}  {part!r}")
            shown = ""


if __name__ == "__main__":
    run(main)
