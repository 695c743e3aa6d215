"""From the command to the text: whole processes, beside other engines.

    python benchmarks/start.py [--rounds 7] [--checkpoint DIR] [--only TEXT]

What a user waits for: a process starts, loads a model in the shape of 124M (random
weights), and writes one token, or 100, after a short prompt. The contestants take turns;
the figures are medians of seconds, and of minigpt2's time divided by theirs, round by
round. All is done twice: on the machine as it is, and beside a process that keeps one
core busy. llama.cpp and transformers take part when installed (pip install -e '.[bench]').

"The limit" is a process that imports NumPy, opens the weights, and for each token reads
them once in a product of one row, on BLAS's threads, which a busy core holds up.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import contestants
from speed import write_checkpoint

PROMPT = "Alan Turing theorized that"
BUSY = "while True: pass"

LIMIT = """
import sys
import numpy as np
path, count = sys.argv[1] + "/model.safetensors", int(sys.argv[2])
numbers = np.memmap(path, np.float32)
weights = numbers[: len(numbers) // 768 * 768].reshape(-1, 768)
for _ in range(count):
    weights @ weights[0]
"""
LLAMA_CPP = """
import sys
import llama_cpp
llama = llama_cpp.Llama(
    sys.argv[1] + "/model.gguf", n_ctx=1024, type_k=0, type_v=0, verbose=False
)
options = {"max_tokens": int(sys.argv[2]), "seed": 0, "top_k": 40, "stream": True}
for piece in llama(sys.argv[3], **options):
    print(piece["choices"][0]["text"], end="", flush=True)
"""
TRANSFORMERS = """
import sys
import torch
from transformers import GPT2LMHeadModel, GPT2TokenizerFast, TextStreamer
tokenizer = GPT2TokenizerFast.from_pretrained(sys.argv[1])
gpt2 = GPT2LMHeadModel.from_pretrained(sys.argv[1], dtype=torch.float32)
ids = tokenizer(sys.argv[3], return_tensors="pt")
count = int(sys.argv[2])
gpt2.generate(
    **ids, do_sample=True, top_k=40, min_new_tokens=count, max_new_tokens=count,
    pad_token_id=50256, streamer=TextStreamer(tokenizer, skip_prompt=True),
)
"""


def commands(directory: Path, count: int) -> dict[str, list[str]]:
    """Each contestant's command for `count` tokens; for 0, what `--help` takes."""
    python, ours = sys.executable, [sys.executable, "-m", "minigpt2"]
    if not count:
        return {"minigpt2": [*ours, "--help"], "the limit": [python, "-c", "pass"]}
    given = [str(directory), str(count), PROMPT]
    options = ["--model", given[0], "--max-tokens", given[1], "--seed", "0"]
    found = {
        "minigpt2": [*ours, PROMPT, *options],
        "the limit": [python, "-c", LIMIT, *given],
    }
    if importlib.util.find_spec("llama_cpp"):
        found["llama.cpp F32"] = [python, "-c", LLAMA_CPP, *given]
    if importlib.util.find_spec("transformers"):
        found["transformers"] = [python, "-c", TRANSFORMERS, *given]
    return found


@contextmanager
def one_busy_core(wanted: bool) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--only", default="", help="tasks whose name has TEXT")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR")
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as temporary:
        directory = args.checkpoint or Path(temporary)
        if not (directory / "model.safetensors").exists():
            write_checkpoint(directory)
        llama = importlib.util.find_spec("llama_cpp")
        if llama and not (directory / "model.gguf").exists():
            contestants.write_gguf(directory, directory / "model.gguf")
        print("| seconds | contestant | median | minigpt2's time, of theirs |")
        print("|---|---|---:|---:|")
        for busy in False, True:
            for count in 0, 1, 100:
                task = {0: "--help", 1: "1 token"}.get(count, f"{count} tokens")
                task += ", one core busy" if busy else ""
                if args.only not in task:
                    continue
                found = commands(directory, count)
                times: dict[str, list[float]] = {name: [] for name in found}
                with one_busy_core(busy):
                    for turn in range(args.rounds + 1):
                        for name, command in found.items():
                            took = seconds(command)
                            if turn:  # the first round warms up
                                times[name].append(took)
                for name, took in times.items():
                    pairs = zip(times["minigpt2"], took, strict=True)
                    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                    median = statistics.median(took)
                    print(
                        f"| {task} | {name} | {median:.3f} | {ratio:.2f} |", flush=True
                    )


if __name__ == "__main__":
    main()
