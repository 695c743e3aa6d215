"""The command line: python -m minigpt2 "prompt"."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import __version__
from .console import DEFAULT, Parser, fail, fetch, notice, read_text, run, utf8
from .locate import EMBEDDED, RELEASED

if TYPE_CHECKING:
    from .generate import Options
    from .gpt2 import GPT2

# The other rooms are imported where they are used: --help does not wait for NumPy.


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser("minigpt2", description="Continue a text with GPT-2.")

    def add(name: str, help: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=help, **kwargs)

    text = "the text to continue; -: standard input; none: ask for it"
    add("prompt", text, nargs="?", type=utf8)
    models = f"{', '.join(RELEASED)}, {EMBEDDED} or a directory"
    add("--model", f"{models} (default {DEFAULT})")
    add("--weights", "where models live (default: see the README)", metavar="DIR")
    add("--max-tokens", "tokens to write (default 100)", type=int, default=100)
    add("--temperature", "0: greedy; 1: as trained (default)", type=float, default=1.0)
    add("--top-k", "choose among the K likeliest (default 40)", type=int, default=40)
    add("--top-p", "choose among the likeliest of total probability P", type=float)
    add("--greedy", "take the likeliest, as --temperature 0", action="store_true")
    add("--seed", "the same seed gives the same text", type=int)
    samples = "how many texts; a line <|endoftext|> between them"
    add("--num-samples", samples, type=int, default=1)
    stop = "end before this text; may be repeated"
    add("--stop", stop, action="append", default=[], type=utf8)
    add("--stats", "report times and tokens/s on standard error", action="store_true")
    version = f"minigpt2 {__version__}"
    add("--version", "show the version and exit", action="version", version=version)
    return parser.parse_args(argv)


def prompts(argument: str | None) -> Iterable[str]:
    """The prompt that was given, or those typed at a terminal until its end of file."""
    if argument not in (None, "-"):
        return [read_text(argument)]
    if argument == "-" or not sys.stdin.isatty():
        return [read_text(None).removesuffix("\n").removesuffix("\r")]
    return ask()


def ask() -> Iterator[str]:
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line.removesuffix("\n")


def write(gpt2: "GPT2", prompt: str, options: "Options") -> str:
    """Write all samples, the first one as it comes, and return how fast it went."""
    from .generate import generate_text

    model = gpt2.params, gpt2.config, gpt2.tokenizer
    texts = [""] * options.samples
    times = [time.perf_counter()]
    for i, text in generate_text(*model, prompt, options):
        times.append(time.perf_counter())
        texts[i] += text
        if i == 0:
            print(text, end="", flush=True)
    print()
    for text in texts[1:]:
        print("<|endoftext|>", text, sep="\n")
    later = len(times) - 1 - options.samples  # tokens after the first of each sample
    if later < 1:
        return f"{len(times) - 1} tokens in {times[-1] - times[0]:.3f} s"
    speed = later / (times[-1] - times[options.samples])
    first = times[1] - times[0]
    return f"first token after {first:.3f} s, then {later} at {speed:.1f} tokens/s"


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    from . import load
    from .checkpoint import CheckpointError
    from .generate import Options

    try:
        options = Options(
            max_tokens=args.max_tokens,
            temperature=0 if args.greedy else args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            seed=args.seed,
            stop=args.stop,
            samples=args.num_samples,
        )
        texts = prompts(args.prompt)
        model = fetch(args.model, args.weights)
        start = time.perf_counter()
        gpt2 = load(model, args.weights)
        load_time = time.perf_counter() - start
        for prompt in texts:
            speed = write(gpt2, prompt, options)
            if args.stats:
                notice(f"loaded in {load_time:.3f} s, {speed}")
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)


def command() -> None:
    """The installed command `minigpt2`."""
    run(main)


if __name__ == "__main__":
    command()
