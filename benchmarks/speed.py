"""How fast minigpt2 reads and writes, beside other engines and the machine's limit.

    python benchmarks/speed.py [--rounds 5] [--threads 2] [--json FILE] [--only TEXT]
        [--checkpoint DIR]

Each contestant (contestants.py) works in a process of its own, on the same random
weights in the shape of 124M and with the same number of threads. They take turns at
each task, so that whatever else the machine does slows all of them; the figures are
medians. transformers and llama.cpp take part when installed (pip install -e '.[bench]').
The last column is the speed of minigpt2 as a part of the limit: that of the bare matrix
products of the same pass over the same weights. The checkpoint, 0.5 GB, and llama.cpp's
copy of it are written to a temporary directory, or to --checkpoint to be used again.
"""

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import contestants

NEEDS = {"transformers": "transformers", "llama.cpp F32": "llama_cpp"}
STEPS = 8  # single tokens that one turn of decoding reads

PEAK = """
import re, sys
import minigpt2
gpt2 = minigpt2.load(sys.argv[1])
list(gpt2.generate(" the" * 1023, max_tokens=1, temperature=0))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(int(peak[1]) * 1024 / 1e6)
"""


def prepare(contestant: type, directory: Path, threads: int) -> None:
    """In a contestant's process, just started: import, load, first token."""
    global engine, first
    clock = time.perf_counter
    times = [clock()]
    engine = contestant(directory, threads)
    times.append(clock())
    engine.load()
    times.append(clock())
    engine.read([[5, 6, 7, 8, 9]])
    times.append(clock())
    first = [b - a for a, b in itertools.pairwise(times)]


def beginning(number: int) -> float:
    """The seconds that import, load or the first token took."""
    return first[number]


def prefill(length: int) -> float:
    """The seconds from a prompt's tokens to the token after it."""
    batch = [random.Random(length).choices(range(50257), k=length)]
    start = time.perf_counter()
    engine.read(batch)
    return time.perf_counter() - start


def decode(length: int, rows: int = 1) -> float:
    """The seconds that a token in each row takes after `length` others."""
    engine.read([random.Random(length).choices(range(50257), k=length)] * rows)
    times = []
    for _ in range(1 if isinstance(engine, contestants.Textbook) else STEPS):
        start = time.perf_counter()
        engine.step()
        times.append(time.perf_counter() - start)
        engine.rewind(length)
    return statistics.median(times)


def write(text: str, guess: bool) -> float:
    """Seconds a token of minigpt2's greedy text, with guesses (lookup.py) or without."""
    import numpy as np

    import minigpt2
    from minigpt2.generate import generate_tokens, generate_with_guesses
    from minigpt2.sampling import Sampling

    gpt2 = minigpt2.load("tiny") if text == "tiny" else engine.gpt2
    story = "The dragon slept, and nobody had seen it for a hundred years. "
    prompt = gpt2.tokenizer.encode(
        {"tiny": "Once upon a time", "repeat": story * 4}[text]
    )
    model = gpt2.params, gpt2.config, prompt, Sampling(0)
    rng = np.random.default_rng(0)
    if guess:
        tokens = generate_with_guesses(*model, rng)
    else:
        tokens = generate_tokens(*model, [rng])
    next(tokens)
    count = 200 if text == "tiny" else 64
    start = time.perf_counter()
    for _ in range(count):
        next(tokens)
    return (time.perf_counter() - start) / count


def tasks() -> dict[str, tuple]:
    table: dict[str, tuple] = {
        "import": (beginning, 0),
        "load": (beginning, 1),
        "first token, prompt of 5": (beginning, 2),
    }
    for length in 16, 128, 512, 1023:
        table[f"prefill {length}"] = prefill, length
    for length in 64, 512, 1000:
        table[f"decode at {length}"] = decode, length
    for rows in 4, 16:
        table[f"decode at 64, batch of {rows}"] = decode, 64, rows
    return table


def compare_guesses(directory: Path, threads: int, rounds: int) -> dict[str, float]:
    """Text → how many times as fast guesses make it."""
    context = multiprocessing.get_context("spawn")
    start = contestants.Minigpt2, directory, threads
    process = ProcessPoolExecutor(1, context, prepare, start)
    ratios = {}
    for text, meaning in ("tiny", "text of tiny"), ("repeat", "repetition, 124M"):
        seconds = [
            [process.submit(write, text, guess).result() for guess in (False, True)]
            for _ in range(rounds)
        ]
        plain, guessed = map(statistics.median, zip(*seconds))
        ratios[meaning] = plain / guessed
        times = f"{plain * 1000:.1f} ms a token, {guessed * 1000:.1f} with guesses"
        print(f"{meaning}: {times}, {plain / guessed:.2f} times as fast")
    return ratios


def write_checkpoint(
    directory: Path, n_layer: int = 12, n_head: int = 12, n_embd: int = 768
) -> None:
    """Random weights in the shape of a released model, by default 124M, in Hugging Face's
    layout."""
    import numpy as np

    from minigpt2 import model
    from minigpt2.files import save
    from minigpt2.learning import optimizer
    from minigpt2.tokenizer import RELEASED_VOCABULARY, Tokenizer

    config = model.Config(50257, 1024, n_embd, n_head, n_layer)
    params = optimizer.flat(config)[1]
    optimizer.initialise(params, np.random.default_rng(0))
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(RELEASED_VOCABULARY, config.n_vocab)
    save.write_description(directory, config, tokenizer)
    save.write_model(directory, params)


def measure(
    directory: Path, threads: int, rounds: int, only: str
) -> dict[str, dict[str, float]]:
    """Task → contestant → the median of its seconds."""
    context = multiprocessing.get_context("spawn")
    processes = {}
    for contestant in contestants.ALL:
        needed = NEEDS.get(contestant.name)
        if needed and not importlib.util.find_spec(needed):
            print(f"without {contestant.name}: pip install -e '.[bench]'")
            continue
        start = contestant, directory, threads
        processes[contestant.name] = ProcessPoolExecutor(1, context, prepare, start)
    results: dict[str, dict[str, float]] = {}
    for task, (function, *args) in tasks().items():
        if only not in task:
            continue
        seconds: dict[str, list[float]] = {}
        for round in range(rounds + 1):
            for name, process in processes.items():
                if name == "textbook" and round > 1:
                    continue
                try:
                    duration = process.submit(function, *args).result()
                except NotImplementedError:
                    continue
                if round or function is beginning:  # the first one warms up
                    seconds.setdefault(name, []).append(duration)
        results[task] = {k: statistics.median(times) for k, times in seconds.items()}
        print(row(task, results[task], list(processes)), flush=True)
    return results


def row(task: str, medians: dict[str, float], names: list[str]) -> str:
    cells = [f"{medians[n] * 1000:,.1f}" if n in medians else "" for n in names]
    bare, ours = medians.get("bare products", 0), medians["minigpt2"]
    cells.append(f"{bare / ours:.2f}" if function_of(task) is not beginning else "")
    return f"| {task:28} |" + "".join(f" {cell:>13} |" for cell in cells)


def function_of(task: str) -> Callable[..., float]:
    return tasks()[task][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--only", default="", help="tasks whose name has TEXT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="seconds, as JSON")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR")
    args = parser.parse_args()
    for variable in "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS":
        os.environ[variable] = str(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        directory = args.checkpoint or Path(temporary)
        if not (directory / "model.safetensors").exists():
            write_checkpoint(directory)
        names = [contestant.name for contestant in contestants.ALL]
        print("milliseconds, medians")
        print(f"| {'':28} |" + "".join(f" {n:>13} |" for n in [*names, "of limit"]))
        print("|---|" + "---:|" * (len(names) + 1))
        results = measure(directory, args.threads, args.rounds, args.only)
        if not args.only or args.only in "guesses":
            results["guesses"] = compare_guesses(directory, args.threads, args.rounds)
        if sys.platform == "linux":
            command = [sys.executable, "-c", PEAK, str(directory)]
            peak = subprocess.run(command, capture_output=True, text=True, check=True)
            weights = (directory / "model.safetensors").stat().st_size / 1e6
            more = float(peak.stdout) - weights
            print(f"peak memory of a prompt of 1023: weights + {more:.0f} MB")
            results["memory above the weights, MB"] = {"minigpt2": more}
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
