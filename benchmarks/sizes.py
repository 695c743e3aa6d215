"""What each of the four released sizes needs, and what it gives.

    python benchmarks/sizes.py [--rounds 3] [--tokens 40]

Random weights in the released shapes are as fast and as large as OpenAI's. For each, whole
processes `python -m minigpt2 PROMPT` are timed, after one that warms up: how long until
the first word is there, and how many tokens a second come after it; and the most memory
that the process held, the weights, which it maps, among it. Medians.

The largest takes 6.2 GB of the disk, for as long as it is measured, and 7 GB of memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed import write_checkpoint

PROMPT = "Alan Turing theorized that computers would one day become"
SIZES = {  # n_layer, n_head, n_embd
    "124M": (12, 12, 768),
    "355M": (24, 16, 1024),
    "774M": (36, 20, 1280),
    "1558M": (48, 25, 1600),
}


def run(directory: Path, tokens: int) -> tuple[float, float, float]:
    """Seconds to the first word, tokens a second after it, and megabytes of memory."""
    command = [sys.executable, "-m", "minigpt2", PROMPT, "--model", str(directory)]
    command += ["--seed", "0", "--max-tokens", str(tokens)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    os.read(process.stdout.fileno(), 1)
    first = time.perf_counter() - start
    process.stdout.read()
    last = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    if process.returncode or status:
        sys.exit(f"{directory} ended with status {status}")
    return first, (tokens - 1) / (last - first), usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--tokens", type=int, default=40, metavar="N")
    args = parser.parse_args()
    print("| model | on disk | memory | first word | tokens a second |")
    print("|---|---:|---:|---:|---:|")
    for name, shape in SIZES.items():
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            write_checkpoint(directory, *shape)
            os.sync()  # the system has no more to write
            size = (directory / "model.safetensors").stat().st_size
            runs = [run(directory, args.tokens) for _ in range(args.rounds + 1)][1:]
            first, rate, memory = map(statistics.median, zip(*runs, strict=True))
        cells = f"{size / 1e9:.1f} GB | {memory / 1e3:.1f} GB | {first:.1f} s"
        print(f"| `{name}` | {cells} | {rate:.1f} |", flush=True)


if __name__ == "__main__":
    main()
