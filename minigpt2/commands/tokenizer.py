"""python -m minigpt2.tokenizer: the tokens of a text."""

from pathlib import Path

from ..tokenizer import PIECE, RELEASED_VOCABULARY, Tokenizer
from .console import Parser, fail, read_text, utf8


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
        fail(f"{args.vocab}: {getattr(error, 'strerror', error)}")
    text = read_text(args.text)
    directory = Path(args.vocab).parent
    names = ("tokenizer.json", "vocab.json", "encoder.json")
    beside = [name for name in names if (directory / name).is_file()]
    if beside and args.n_vocab is None:
        from ..files.checkpoint import (
            CheckpointError,
        )  # here: a list alone needs no NumPy
        from ..files.vocabulary import open_tokenizer
        from ..model import Config

        try:
            own = open_tokenizer(directory, Config(tokenizer.n_vocab, 1, 1, 1, 1))
        except CheckpointError as error:
            fail(error)
        if own.encode(text) != tokenizer.encode(text):
            problem = f"with {beside[0]} beside it, the ids are others"
            fail(f"{args.vocab}: {problem}: use load()")
    print(f"{'piece':<16}  {'id':>5}  {'bytes':<24}  text")
    for piece in PIECE.findall(text):
        shown = repr(piece)
        for token in tokenizer.encode(piece):
            raw = tokenizer.decode_bytes([token])
            part = raw.decode(errors="replace")
            print(f"{shown:<16}  {token:>5}  {raw.hex(' '):<24}  {part!r}")
            shown = ""
