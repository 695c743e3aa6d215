"""The command line: python -m minigpt2 "prompt"."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..files.locate import EMBEDDED, RELEASED
from ..files.progress import notice, say
from ..files.text import as_text
from .console import (
    DEFAULT_MODEL,
    Parser,
    choose_model,
    fail,
    importing,
    read_text,
    utf8,
)

if TYPE_CHECKING:
    from ..generate import Options
    from ..gpt2 import GPT2

# The other rooms are imported where they are used: --help does not wait for NumPy.

NO_BREAK = "is no line break: that is --stop $'\\n' in bash and zsh"
SPACE = "the prompt ends in a space, which makes the text worse: see the README"
EQUAL = "without chance all texts are equal: one is written"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser("minigpt2", description="Continue a text with GPT-2.")

    def add(name: str, help: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=help, **kwargs)

    text = "the text to continue; -: standard input; none: ask for it"
    add("prompt", text, nargs="?", type=utf8)
    models = f"{', '.join(RELEASED)}, {EMBEDDED}, a directory or OWNER/NAME"
    add("--model", f"{models} (default {DEFAULT_MODEL})")
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
    special = "read special tokens in the prompt, as <|endoftext|>, as such"
    add("--special", special, action="store_true")
    add("--stats", "report times and tokens/s on standard error", action="store_true")
    version = f"minigpt2 {__version__}"
    add("--version", "show the version and exit", action="version", version=version)
    return parser.parse_args(argv)


def prompts(argument: str | None) -> Iterable[str]:
    """The prompt that was given, or those typed at a terminal until its end of file."""
    if argument not in (None, "-"):
        return [read_text(argument)]
    if argument == "-" or not sys.stdin.isatty():
        return [read_text(None).removesuffix("\n")]
    return ask()


def ask() -> Iterator[str]:
    """What is typed, line by line; one that is not UTF-8 has to be typed again."""
    while True:
        say("> ", end="")
        line = sys.stdin.buffer.readline()
        if not line:
            say("")
            return
        try:
            prompt = as_text(line, "the prompt").removesuffix("\n")
        except ValueError as error:
            notice(error)
        else:
            yield prompt


def write(gpt2: "GPT2", prompt: str, options: "Options") -> str:
    """Write all samples, the first one as it comes, and return how fast it went."""
    from ..generate import SAMPLES_AT_ONCE, generate_text

    texts: dict[int, str] = {}  # of the samples that come together with another

    def end(samples: range) -> None:
        for i in samples:
            print("<|endoftext|>\n" + texts.pop(i, "") if i else "")

    written = count = 0
    together = min(SAMPLES_AT_ONCE, options.num_samples)
    start = first = step = last = time.perf_counter()
    model = gpt2.params, gpt2.config, gpt2.tokenizer
    for i, text in generate_text(*model, prompt, options):
        count, last = count + 1, time.perf_counter()
        if count == 1:
            first = last
        if count == together:
            step = last
        if i - written >= SAMPLES_AT_ONCE:  # those before are whole
            end(range(written, i))
            written = i
        if i == 0:
            print(text, end="", flush=True)
        else:
            texts[i] = texts.get(i, "") + text
    end(range(written, options.num_samples))
    if count <= together:
        return f"{count} tokens in {last - start:.3f} s"
    speed = (count - together) / (last - step)
    later = f"then {count - together} at {speed:.1f} tokens/s"
    return f"first token after {first - start:.3f} s, {later}"


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    with importing():
        from .. import load
        from ..files.checkpoint import CheckpointError
        from ..generate import Options
        from ..sampling import Sampling

    try:
        temperature = 0 if args.greedy else args.temperature
        equal = temperature == 0 and args.num_samples > 1
        options = Options(
            max_tokens=args.max_tokens,
            sampling=Sampling(temperature, args.top_k, args.top_p),
            seed=args.seed,
            stops=args.stop,
            num_samples=1 if equal else args.num_samples,
            allow_special=args.special,
        )
    except ValueError as error:  # it begins with the name of an option
        fail(f"--{error}".replace("_", "-"))
    for stop in args.stop:
        if "\\n" in stop:
            notice(f"--stop '{stop}' {NO_BREAK}")
    if equal:
        notice(EQUAL)
    try:
        texts = prompts(args.prompt)
        asked, hint = isinstance(texts, Iterator), SPACE
        model = choose_model(args.model, args.weights)
        start = time.perf_counter()
        gpt2 = load(model, args.weights)
        load_time = time.perf_counter() - start
        for prompt in texts:
            if hint and prompt.endswith(" "):
                notice(hint)
                hint = ""  # once is enough
            try:
                speed = write(gpt2, prompt, options)
            except KeyboardInterrupt:
                if not asked:
                    raise
                print()  # it ends this text, and the next prompt is asked for
                continue
            except ValueError as error:  # the vocabulary has no token to begin with
                if not asked:
                    raise
                notice(error)
                continue
            if args.stats:
                notice(f"loaded in {load_time:.3f} s, {speed}")
    except (CheckpointError, FloatingPointError, ValueError) as error:
        fail(error)
