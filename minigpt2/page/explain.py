"""One forward pass → a web page for a classroom.

    python -m minigpt2.explain "Once upon a time" -o page.html

The page is page.html with the files that it names and the numbers written into it: one
file, which opens without a network. The numbers are those of model.forward,
seen through watch.py; only the logit lens goes on from there, with the model's own last
two functions.
"""

import base64
import inspect
import json
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import model
from ..model import Array, Cache, Config
from ..sampling import Sampling
from ..score import log_softmax, own, ranks
from ..tokenizer import PIECE, Tokenizer, whole_characters
from .watch import Call, describe, watch

MOST_WEIGHTS = 3_000_000  # of attention in one page, which then has about 10 MB
MOST_NUMBERS = 1_000_000  # of an array that is kept whole, in float32
NUMBERS = 32  # of each vector, the first ones, are drawn
TOP = 5  # tokens of the logit lens
SEED = 0  # of the random number that chooses the next token
FUNCTIONS: tuple[Callable[..., Any], ...] = (
    Tokenizer.encode,
    Tokenizer._encode_piece,
    model.forward,
    model.blocks,
    model.embed,
    model.block,
    model.layer_norm,
    model.attn,
    model.attention_weights,
    model.split_heads,
    model.merge_heads,
    model.softmax,
    model.mlp,
    model.linear,
    model.gelu,
    model.unembed,
    Sampling.probabilities,
    Sampling.choose,
)


class Model(NamedTuple):
    """What of a GPT2 is explained; see gpt2.py, which uses this room."""

    params: model.Params
    config: Config
    tokenizer: Tokenizer


def longest(config: Config) -> int:
    """The most tokens of which a page shows all attention weights: of T (T + 1) / 2 in
    each head, at most MOST_WEIGHTS altogether."""
    each = MOST_WEIGHTS / (config.n_layer * config.n_head)
    return max(1, min(config.n_ctx, int((math.sqrt(8 * each + 1) - 1) / 2)))


def explain(gpt2: Model, prompt: str, allow_special: bool = False) -> dict[str, Any]:
    """All that the page shows, for JSON: text, sizes, sources, and packed arrays. With
    allow_special, special tokens in the prompt are read as tokens.

    An empty prompt is what a text begins after, as in generate.py. Raises ValueError for a
    prompt longer than `longest`, FloatingPointError for logits that are not finite.
    """
    config, params, tokenizer = gpt2.config, gpt2.params, gpt2.tokenizer
    with watch(*FUNCTIONS) as everything:
        ids = tokenizer.encode(prompt, allow_special) or tokenizer.beginning()
        if len(ids) > longest(config):
            most = f"a page of this model shows at most {longest(config)}"
            raise ValueError(f"the prompt has {len(ids)} tokens, {most}")
        tokens = np.array(ids)
        cache = Cache(config, n_ctx=len(ids))
        x = model.forward(params, tokens[None], cache)  # (1, T, C)
        logits = model.unembed(params, x)[0]  # (T, V)
        Sampling(top_k=40).choose(logits[-1], np.random.default_rng(SEED))

    T, V, N = len(ids), config.n_vocab, min(NUMBERS, config.n_embd)
    embedded = params["wte"][tokens], params["wpe"][:T]  # 2 × (T, C)
    layers = list(by_layer(everything))
    hidden = np.stack([h for _, _, h in layers])  # (L, 2, T, 4 C)
    vectors = np.stack([v for _, v, _ in layers])  # (L, 6, T, C)
    everywhere = np.concatenate([np.stack([*embedded, sum(embedded)]), *vectors])
    attention = np.stack([weights for weights, _, _ in layers])  # (L, H, T, T)
    q, k, v, added = map(np.stack, zip(*by_head(everything, params), strict=True))
    x = np.stack([everywhere[2], *vectors[:-1, -1]])  # what enters each block
    x = np.stack([x, vectors[:, 2]], 1)  # and its second half (L, 2, T, C)
    normal = model.layer_norm(x, np.array(1), np.array(0))
    lens, lens_p = logit_lens(params, vectors[:, -1])  # 2 × (L, T, TOP)
    rows, columns = np.tril_indices(T)  # what attention sees
    byte_ids = tokenizer.byte_ids
    made = {*byte_ids, *tokenizer.merges.values()}
    small = np.uint16 if V <= 1 << 16 else np.uint32
    arrays = {
        "tokens": tokens.astype(small),
        "byte_ids": np.array([V if i < 0 else i for i in byte_ids], np.uint32),
        "merges": np.array([*tokenizer.merges], small).reshape(-1, 2),
        "merged": np.array([*tokenizer.merges.values()], small),
        "vectors": everywhere[..., :N].astype(np.float16),  # (3 + 6 L, T, 32)
        "mean": everywhere.mean(-1),  # (3 + 6 L, T)
        "deviation": everywhere.std(-1),
        "size": np.linalg.norm(everywhere, axis=-1),
        "hidden": hidden[..., :N].astype(np.float16),  # (L, 2, T, 32)
        "active": (hidden[:, 1] > 0).mean(-1, dtype=np.float32),  # (L, T)
        "normal": normal[..., :N].astype(np.float16),  # (L, 2, T, 32)
        "q": short(q),  # (L, H, T, D)
        "k": short(k),
        "v": short(v),
        "added": added,  # (L, H, T)
        "attention": quantized(attention[:, :, rows, columns]),
        "lens": lens.astype(small),
        "lens_p": lens_p,
        "logits": logits[-1],
        "all_logits": logits if logits.size <= MOST_NUMBERS else logits[-1:],
        **surprise(logits, tokens),
    }
    pieces: list[int] = []
    for part in tokenizer.prepare(whole_characters(prompt), allow_special):
        if isinstance(part, int):
            pieces.append(1)
        else:
            texts = PIECE.findall(part)
            pieces += [len(tokenizer._encode_piece(text)) for text in texts]
    return {
        "config": vars(config),
        "special": {
            i: raw.decode("utf-8", "replace")
            for i, raw in enumerate(tokenizer.vocab)
            if raw and i not in made
        },
        "pieces": pieces or [1],  # how many tokens each has
        "random": np.random.default_rng(SEED).random(),  # that chose the token
        "numbers": N,
        "top": TOP,
        "functions": {f.__name__: about(f, everything) for f in FUNCTIONS},
        "arrays": {name: packed(array) for name, array in arrays.items()},
    }


def by_layer(everything: Call) -> Iterator[tuple[Array, Array, Array]]:
    """For each block: attention weights (H, T, T), the vectors (6, T, C) of ln_1,
    attn, the stream in the middle, ln_2, mlp, and the stream at the end; and the MLP's
    hidden ones before and after GELU (2, T, 4 C)."""
    for block in everything.find("block"):
        ln_1, ln_2 = block.find("layer_norm")
        (attn,), (mlp,), (gelu,) = map(block.find, ("attn", "mlp", "gelu"))
        (weights,) = attn.find("attention_weights")
        first = ln_1.result, attn.result, ln_2.x
        second = ln_2.result, mlp.result, block.result
        vectors = np.concatenate([*first, *second])
        yield weights.result[0], vectors, np.concatenate([gelu.x, gelu.result])


def by_head(everything: Call, params: model.Params) -> Iterator[tuple[Array, ...]]:
    """For each block: q, k, v (H, T, D), and how long the vector is that each head adds to
    the stream (H, T)."""
    for block, weights in zip(everything.find("block"), params["h"], strict=True):
        (split,), (A,) = map(block.find, ("split_heads", "attention_weights"))
        q, k, v = np.split(split.result[0], 3)
        w = weights["attn"]["c_proj"]["w"].reshape(len(v), v.shape[-1], -1)  # (H, D, C)
        yield q, k, v, np.linalg.norm(A.result[0] @ v @ w, axis=-1)


def logit_lens(params: model.Params, x: Array) -> tuple[Array, Array]:
    """What the model would say if it ended after a block (nostalgebraist 2020): its TOP
    likeliest tokens and their probabilities, for the streams (L, T, C) after each block."""
    tokens, probabilities = [], []
    for after in x:
        p = model.softmax(
            model.unembed(params, model.layer_norm(after, **params["ln_f"]))
        )
        top = np.argpartition(-p, TOP, axis=-1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(p, top, -1), axis=-1, kind="stable")
        tokens.append(np.take_along_axis(top, order, -1))
        probabilities.append(np.take_along_axis(p, tokens[-1], -1))
    return np.stack(tokens), np.stack(probabilities)


def surprise(logits: Array, tokens: Array) -> dict[str, Array]:
    """How well each token after the first was foreseen: surprisal in bits, float32, and
    rank, 1 for the likeliest; both (T - 1,)."""
    before, came = logits[:-1], tokens[1:]
    bits = own(log_softmax(before), came) / -np.log(2)
    return {
        "bits": bits.astype(np.float32),
        "rank": ranks(before, came).astype(np.uint32),
    }


def short(array: Array) -> Array:
    """Float16, if there is too much of it."""
    return array if array.size <= MOST_NUMBERS else array.astype(np.float16)


def quantized(p: Array) -> Array:
    """Probabilities as uint16, 65535 for 1: exact to five digits."""
    whole: Array = np.rint(p * 65535).astype(np.uint16)
    return whole


def packed(array: Array) -> dict[str, Any]:
    """An array for JSON: its type, its shape, and its bytes in base64."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    return {"type": array.dtype.name, "shape": array.shape, "data": text}


def about(function: Callable[..., Any], everything: Call) -> dict[str, Any]:
    """A function: its file, its source, and what it received and returned when it was first
    called."""
    calls = list(everything.find(function.__name__))
    first = calls[0] if calls else Call()
    return {
        "file": function.__module__.rpartition(".")[2] + ".py",
        "source": textwrap.dedent(inspect.getsource(function)),
        "calls": len(calls),
        "arguments": first.arguments,
        "result": describe(first.result),
    }


def page(data: dict[str, Any]) -> str:
    """The whole page: page.html with the files that it names, and the data. No text of a
    prompt can end the script that holds it: `<` is written as \\u003c there."""
    written = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    html = beside("page.html")
    html = html.replace(
        '<link rel="stylesheet" href="page.css">',
        f"<style>\n{beside('page.css')}</style>",
    )
    html = re.sub(r'<script(.*?) ?src="(.*?)">', with_files, html)
    return html.replace('id="data">', f'id="data">{written}', 1)


def with_files(script: re.Match[str]) -> str:
    files = "".join(beside(name) for name in script[2].split())
    return f"<script{script[1]}>\n{files}"


def beside(name: str) -> str:
    """A file of the page."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
