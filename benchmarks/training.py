"""Tokens per second of training, beside PyTorch's float32 eager mode.

    python benchmarks/training.py [--rounds 5] [--threads 2] [--batch-size 16]
        [--profile]

All train the same model on the same batch with as many threads, each in a process of
its own. A step is forward, backward, clipping and AdamW. They take turns, so that
whatever else the machine does slows all; the figures are medians. PyTorch runs
transformers' GPT-2 with its fused attention, "sdpa", and with the plain one, "eager".
Without it (pip install -e '.[bench]') only minigpt2 is measured. --profile tells where
one thread's time goes.
"""

import argparse
import cProfile
import importlib.util
import multiprocessing
import pstats
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from minigpt2 import model
from minigpt2.files.tensor_names import huggingface_name
from minigpt2.learning import backward, optimizer
from minigpt2.speed.memory import keep_memory
from minigpt2.speed.product import use_one_blas_thread

TINY = model.Config(n_vocab=4096, n_ctx=256, n_embd=192, n_head=6, n_layer=6)
Step = Callable[[np.ndarray], float]  # tokens (B, T + 1) → loss


def initial() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    buffer, params = optimizer.flat(TINY)
    optimizer.initialise(params, np.random.default_rng(0))
    return buffer, params


def numpy_step(threads: int) -> Step:
    keep_memory()
    if not use_one_blas_thread():
        print("NumPy's products have threads of their own: minigpt2.train would use 1")
    buffer, params = initial()
    adam = optimizer.AdamW(buffer, optimizer.n_matrix(TINY))
    stepper = optimizer.Stepper(TINY, model.nest(params), adam, threads)
    return lambda tokens: stepper.step([tokens], 1e-3)[0]


def torch_step(threads: int, attention: str) -> Step:
    import torch
    import transformers

    torch.set_num_threads(threads)
    config = transformers.GPT2Config(
        vocab_size=TINY.n_vocab,
        n_positions=TINY.n_ctx,
        n_embd=TINY.n_embd,
        n_layer=TINY.n_layer,
        n_head=TINY.n_head,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        attn_implementation=attention,
    )
    gpt2 = transformers.GPT2LMHeadModel(config)
    tensors = {huggingface_name(k): torch.tensor(a) for k, a in initial()[1].items()}
    gpt2.load_state_dict(tensors, strict=False)
    adam = torch.optim.AdamW(
        gpt2.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1
    )

    def step(tokens: np.ndarray) -> float:
        ids = torch.tensor(tokens)
        logits = gpt2(ids[:, :-1], use_cache=False).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(gpt2.parameters(), 1.0)
        adam.step()
        return loss.item()

    return step


def prepare(make: Callable[..., Step], *args) -> None:
    """In a process that was just started."""
    global step
    step = make(*args)


def timed(tokens: np.ndarray) -> tuple[float, float]:
    """There again: the loss, and the seconds that a step took."""
    start = time.perf_counter()
    return step(tokens), time.perf_counter() - start


def profile(tokens: np.ndarray) -> None:
    use_one_blas_thread()
    nested = model.nest(initial()[1])
    grads = model.nest(optimizer.flat(TINY)[1])
    run = cProfile.Profile()
    for i in range(0, len(tokens), 4):
        part = tokens[i : i + 4]
        rest = grads, TINY.n_head, 1 / part.size
        run.runcall(backward.loss_and_gradient, nested, part, *rest)
    pstats.Stats(run).sort_stats("tottime").print_stats(12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in ("rounds", 5), ("threads", 2), ("batch-size", 16):
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, TINY.n_vocab, (args.batch_size, TINY.n_ctx + 1))
    steps = {"minigpt2": (numpy_step, args.threads)}
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        steps["PyTorch sdpa"] = torch_step, args.threads, "sdpa"
        steps["PyTorch eager"] = torch_step, args.threads, "eager"
    else:
        print("without PyTorch: pip install -e '.[bench]'")
    context = multiprocessing.get_context("spawn")
    processes = {
        name: ProcessPoolExecutor(1, context, prepare, step)
        for name, step in steps.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round in range(args.rounds + 1):
        losses = []
        for name, process in processes.items():
            loss, duration = process.submit(timed, tokens).result()
            losses.append(f"{name} loss {loss:.4f}")
            if round:  # the first one warms up
                seconds[name].append(duration)
        print(f"round {round}: {', '.join(losses)}", flush=True)
    ours = statistics.median(seconds["minigpt2"])
    for name, times in seconds.items():
        median = statistics.median(times)
        rate, ratio = tokens[:, 1:].size / median, median / ours
        line = f"{name:13} {median:6.3f} s a step  {rate:6,.0f} tokens/s"
        print(f"{line}  {ratio:.2f} times minigpt2's  (fastest {min(times):.3f} s)")
    if args.profile:
        profile(tokens)


if __name__ == "__main__":
    main()
