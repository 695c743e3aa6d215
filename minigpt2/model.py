"""Token ids → logits: the transformer.

GPT-2 is the decoder-only transformer of Radford et al., "Language Models are Unsupervised Multitask Learners"
(2019), which is that of Radford et al. (2018) with the layer normalisation moved to the input of each sub-block
and one more after the last block. Read this file from the top: each function is one box of the usual drawing, and
`forward` puts the boxes together. Names are those of OpenAI's released code and checkpoints.

Shapes stand on the right. Their letters:

    B  sequences in the batch          H  heads, config.n_head
    T  tokens read now                 D  width of a head, C / H
    S  tokens read so far, T included  V  vocabulary, config.n_vocab
    C  width, config.n_embd            N  context window, config.n_ctx

All arrays are float32, token ids are integers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Params = dict[str, Any]

ROWS_AT_ONCE = 256  # a matrix product of this many rows runs at full speed, and its result still fits the cache


@dataclass(frozen=True)
class Config:
    """The five numbers that define a GPT-2: OpenAI's hparams.json, under the names used there.

    Raises ValueError if one of them is not a positive integer, or if n_embd is not a multiple of n_head.
    """

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_head: int
    n_layer: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")


def shapes(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name of every parameter, as in OpenAI's checkpoints but without their leading `model/`, and its shape."""
    C = config.n_embd
    yield "wte", (config.n_vocab, C)
    yield "wpe", (config.n_ctx, C)
    for i in range(config.n_layer):
        for norm in "ln_1", "ln_2":
            yield f"h{i}/{norm}/g", (C,)
            yield f"h{i}/{norm}/b", (C,)
        for layer, n_in, n_out in ("attn/c_attn", C, 3 * C), ("attn/c_proj", C, C), ("mlp/c_fc", C, 4 * C), ("mlp/c_proj", 4 * C, C):
            yield f"h{i}/{layer}/w", (n_in, n_out)
            yield f"h{i}/{layer}/b", (n_out,)
    yield "ln_f/g", (C,)
    yield "ln_f/b", (C,)


def nest(tensors: dict[str, Array]) -> Params:
    """{"h0/ln_1/g": array, …} → {"h": [{"ln_1": {"g": array, …}, …}, …], …}: the same arrays, as `forward` reads them."""
    params: Params = {}
    for path, array in tensors.items():
        *parents, name = path.split("/")
        level = params
        for parent in parents:
            level = level.setdefault(parent, {})
        level[name] = array
    n_layer = sum(name[1:].isdecimal() for name in params)
    return {**params, "h": [params.pop(f"h{i}") for i in range(n_layer)]}


class Cache:
    """The keys and values of every token read so far, so that no token is read twice: OpenAI's `past`.

    kv (n_layer, 2, B, H, N, D) is reserved at once; its first `length` positions of N are filled. To forget the
    latest tokens, lower `length`. The memory of positions not yet reached is not touched.
    """

    def __init__(self, config: Config, batch: int = 1, n_ctx: int | None = None) -> None:
        d_head = config.n_embd // config.n_head
        self.kv = np.empty((config.n_layer, 2, batch, config.n_head, n_ctx or config.n_ctx, d_head), np.float32)
        self.length = 0


def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:  # (…, C) → (…, C)
    """g (x - mean) / sqrt(variance + eps) + b, over the last axis (Ba et al. 2016)."""
    x = x - x.mean(-1, keepdims=True)
    variance = np.square(x).mean(-1, keepdims=True)
    x /= np.sqrt(variance + eps)
    x *= g
    x += b
    return x


def linear(x: Array, w: Array, b: Array) -> Array:  # (…, n_in) → (…, n_out)
    """x @ w + b. The leading axes are made one, so that all rows share one trip of w through memory."""
    y = x.reshape(-1, x.shape[-1]) @ w
    y += b
    return y.reshape(*x.shape[:-1], -1)


def gelu(x: Array) -> Array:
    """x Φ(x) in its tanh form, x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 2016)."""
    y = np.square(x)
    y *= math.sqrt(2 / math.pi) * 0.044715
    y += math.sqrt(2 / math.pi)
    y *= x
    np.tanh(y, out=y)
    y += 1
    y *= x
    y *= 0.5
    return y


def softmax(x: Array) -> Array:  # (…, n) → (…, n)
    """exp(x) / sum(exp(x)) over the last axis; the largest is taken off first, so that nothing overflows."""
    x = x - x.max(-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(-1, keepdims=True)
    return x


def split_heads(x: Array, n_head: int) -> Array:  # (B, T, C) → (B, H, T, D)
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:  # (B, H, T, D) → (B, T, C)
    B, H, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def attention_weights(q: Array, k: Array) -> Array:  # (B, H, T, D), (B, H, S, D) → (B, H, T, S)
    """softmax(q kᵀ / sqrt(D)): how much each query attends to each key (Vaswani et al. 2017, section 3.2.1).

    The T queries are the last T of the S tokens. Each sees itself and what came before: every row sums to one, with
    zeros above the diagonal that ends in the lower right corner.
    """
    T, D = q.shape[-2:]
    scores = (q / math.sqrt(D)) @ k.swapaxes(-1, -2)  # (B, H, T, S)
    if T > 1:
        scores[..., -T:] += np.triu(np.full((T, T), -np.inf, np.float32), 1)
    return softmax(scores)


def attn(x: Array, c_attn: Params, c_proj: Params, kv: Array, past: int) -> Array:  # (B, T, C) → (B, T, C)
    """Multi-head causal self-attention of T tokens that come after `past` others.

    kv (2, B, H, N, D) holds the keys and values of the `past` tokens; those of the T tokens are added to it.
    """
    S = past + x.shape[1]
    q, k, v = (split_heads(part, kv.shape[2]) for part in np.split(linear(x, **c_attn), 3, axis=-1))  # (B, H, T, D)
    kv[0, :, :, past:S], kv[1, :, :, past:S] = k, v
    keys, values = kv[:, :, :, :S]  # (B, H, S, D)
    return linear(merge_heads(attention_weights(q, keys) @ values), **c_proj)


def mlp(x: Array, c_fc: Params, c_proj: Params) -> Array:  # (B, T, C) → (B, T, C)
    """Two layers with four times the width between them, for each token by itself."""
    return linear(gelu(linear(x, **c_fc)), **c_proj)


def block(x: Array, params: Params, kv: Array, past: int) -> Array:  # (B, T, C) → (B, T, C)
    """One layer: tokens exchange what they know, then each thinks about it; both add to the residual stream x."""
    x = x + attn(layer_norm(x, **params["ln_1"]), **params["attn"], kv=kv, past=past)
    x = x + mlp(layer_norm(x, **params["ln_2"]), **params["mlp"])
    return x


def forward(params: Params, tokens: Array, cache: Cache) -> Array:  # (B, T) → (B, T, C)
    """The whole transformer: T more tokens after those in the cache → what the last layer made of each of them.

    `unembed` turns the result, or the part of it that is wanted, into logits. A long prompt is read in chunks, each
    after the one before it, just as decoding reads one token after the others: the result is the same, the memory
    does not grow with T, and little is computed above the diagonal of the attention matrix only to be masked.
    """
    B, T = tokens.shape
    chunk = max(1, ROWS_AT_ONCE // B)
    if T > chunk:
        return np.concatenate([forward(params, tokens[:, i : i + chunk], cache) for i in range(0, T, chunk)], axis=1)

    past = cache.length
    x = params["wte"][tokens] + params["wpe"][past : past + T]  # (B, T, C)
    for layer, kv in zip(params["h"], cache.kv, strict=True):
        x = block(x, layer, kv, past)
    cache.length += T
    return layer_norm(x, **params["ln_f"])


def unembed(params: Params, x: Array) -> Array:  # (…, C) → (…, V)
    """The logits of the next token: the inner product of x with every token's embedding."""
    return (x.reshape(-1, x.shape[-1]) @ params["wte"].T).reshape(*x.shape[:-1], -1)
