"""python -m minigpt2.explain: writes the page of one forward pass."""

from pathlib import Path

from .. import load
from ..files.checkpoint import CheckpointError
from ..page.document import check_place, page_of
from ..page.explain import Model
from .console import Parser, choose_model, fail, path, read_text, utf8

DEFAULT_PAGE = "explain.html"


def main(argv: list[str] | None = None) -> None:
    parser = Parser(
        "python -m minigpt2.explain",
        description="Show one forward pass as a web page, in one file. A small "
        "model, such as tiny, is in its page and runs there; of one whose page would have "
        "more than 10 MB, the page has this one pass.",
    )
    add = parser.add_argument
    add("prompt", nargs="?", type=utf8, help="the text; -, or none: standard input")
    add(
        "-o",
        "--out",
        metavar="FILE",
        default=DEFAULT_PAGE,
        type=path,
        help=f"default {DEFAULT_PAGE}",
    )
    add("--model", help="as for minigpt2 (default 124M)")
    add("--weights", metavar="DIR", help="where models live (default: see the README)")
    special = "read special tokens in the prompt, as <|endoftext|>, as such"
    add("--special", action="store_true", help=special)
    args = parser.parse_args(argv)
    out = args.out
    try:
        check_place(out)
    except OSError as error:
        fail(error)
    prompt = read_text(args.prompt)
    if args.prompt in (None, "-"):
        prompt = prompt.removesuffix("\n")
    try:
        name = choose_model(args.model, args.weights)
        gpt2 = load(name, args.weights)
        model = Model(gpt2.params, gpt2.config, gpt2.tokenizer)
        page = page_of(model, prompt, args.special, Path(name).name)
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)
    page.save(out)
    print(out)
