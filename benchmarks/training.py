"""Tokens per second of training, beside PyTorch's float32 eager mode.

    python benchmarks/training.py [--rounds 5] [--threads 2] [--batch-size 16]
        [--profile]

Both train the same model on the same batch with as many threads. A step is forward,
backward, clipping and AdamW. The two take turns, so that whatever else the machine does
slows both; the figures are medians. Without PyTorch (pip install -e '.[bench]') only
minigpt2 is measured. --profile tells where one thread's time goes.
"""

import argparse
import cProfile
import pstats
import statistics
import time

import numpy as np

from minigpt2 import backward, model, optimizer
from minigpt2.save import huggingface_name

TINY = model.Config(n_vocab=4096, n_ctx=256, n_embd=192, n_head=6, n_layer=6)


def numpy_step(params: dict, buffer: np.ndarray, threads: int):
    adam = optimizer.AdamW(buffer, optimizer.n_matrix(TINY))
    stepper = optimizer.Stepper(TINY, model.nest(params), adam, threads)
    return lambda tokens: stepper.step([tokens], 1e-3)[0]


def torch_step(params: dict, threads: int):
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
    )
    gpt2 = transformers.GPT2LMHeadModel(config)
    weights = {huggingface_name(name): torch.tensor(a) for name, a in params.items()}
    gpt2.load_state_dict(weights, strict=False)
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


def profile(params: dict, tokens: np.ndarray) -> None:
    nested, grads = model.nest(params), model.nest(optimizer.flat(TINY)[1])
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
    buffer, params = optimizer.flat(TINY)
    optimizer.initialise(params, rng)
    tokens = rng.integers(0, TINY.n_vocab, (args.batch_size, TINY.n_ctx + 1))
    if not optimizer.one_blas_thread():
        print("NumPy's products have threads of their own: minigpt2.train would use 1")
    steps = {}
    try:  # before minigpt2's, which changes the parameters that this one copies
        steps["PyTorch"] = torch_step(params, args.threads)
    except ImportError as error:
        print(f"without PyTorch: {error}")
    steps["minigpt2"] = numpy_step(params, buffer, args.threads)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round in range(args.rounds + 1):
        losses = []
        for name, step in steps.items():
            start = time.perf_counter()
            losses.append(f"{name} loss {step(tokens):.4f}")
            if round:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
        print(f"round {round}: {', '.join(losses)}", flush=True)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        rate, fastest = tokens[:, 1:].size / median, min(seconds[name])
        speed = f"{median:6.3f} s a step  {rate:6,.0f} tokens/s"
        print(f"{name:9} {speed}  (fastest {fastest:.3f} s)")
    if len(medians) == 2:
        ratio = medians["PyTorch"] / medians["minigpt2"]
        print(f"minigpt2 is {ratio:.2f} times as fast")
    if args.profile:
        profile(params, tokens)


if __name__ == "__main__":
    main()
