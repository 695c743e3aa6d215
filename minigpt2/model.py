"""Token ids → logits: the transformer.

GPT-2 is the decoder-only transformer of Radford et al., "Language Models are
Unsupervised Multitask Learners" (2019), section 2.3. From `embed` on, a function is
a box of the usual drawing. Names are those of OpenAI's checkpoints, arrays are float32:

    B  sequences in the batch          C  width, n_embd
    T  tokens read now                 H  heads, n_head
    S  tokens read so far, T included  D  width of a head, C / H
    N  context window, n_ctx           V  vocabulary, n_vocab
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .speed.memory import as_written
from .speed.product import product

Array = np.ndarray
# Nested by the checkpoint's names, which are those of the arguments of a box:
# linear(x, **params["h"][0]["mlp"]["c_fc"]) is linear(x, w=…, b=…).
Params = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The five numbers that define a GPT-2, named as in OpenAI's hparams.json.

    Raises ValueError if one is not a positive integer, or n_head does not divide n_embd.
    """

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_head: int
    n_layer: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a positive integer")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head {self.n_head} must divide n_embd {self.n_embd}")


class Cache:
    """The keys and values of the tokens read so far, OpenAI's `past` and `present`.

    kv      (n_layer, 2, B, H, N, D), of which `attn` writes the places of the T tokens
    length  how many of the N places are filled; `forward` moves it on
    """

    def __init__(
        self, config: Config, batch: int = 1, n_ctx: int | None = None
    ) -> None:
        H, D = config.n_head, config.n_embd // config.n_head
        shape = (config.n_layer, 2, batch, H, n_ctx or config.n_ctx, D)
        self.kv = as_written(shape)
        self.length = 0


def embed(params: Params, tokens: Array, n_past: int) -> Array:  # (B, T) → (B, T, C)
    """wte[token] + wpe[position]: what the token is, and where."""
    T = tokens.shape[1]
    x: Array = params["wte"][tokens] + params["wpe"][n_past : n_past + T]
    return x


def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:  # (…, C)
    """g (x - mean) / sqrt(variance + eps) + b over the last axis (Ba et al. 2016)."""
    x = x - x.mean(-1, keepdims=True)
    variance = np.square(x).mean(-1, keepdims=True)
    y: Array = g * x / np.sqrt(variance + eps) + b
    return y


def linear(x: Array, w: Array, b: Array) -> Array:  # (…, n_in) → (…, n_out)
    """x @ w + b."""
    y = product(x, w)
    y += b  # in place: a new array would take 3 % of a training step
    return y


def gelu(x: Array) -> Array:
    """x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³))), which approximates x Φ(x) (Hendrycks &
    Gimpel 2016). Its derivative is in learning/backward.py."""
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    y: Array = x / 2 * (1 + np.tanh(u))
    return y


def softmax(x: Array, out: Array | None = None) -> Array:  # (…, n) → (…, n)
    """exp(x) / Σ exp(x) over the last axis; less max(x) first, so that none overflows."""
    y: Array = np.subtract(x, x.max(-1, keepdims=True), out=out)
    np.exp(y, out=y)  # all in place: new arrays would take 2 % of a prefill
    y /= y.sum(-1, keepdims=True)
    return y


def split_heads(x: Array, n_head: int) -> Array:  # (…, T, C) → (…, H, T, D)
    return x.reshape(*x.shape[:-1], n_head, -1).swapaxes(-3, -2)


def merge_heads(x: Array) -> Array:  # (B, H, T, D) → (B, T, C)
    return x.transpose(0, 2, 1, 3).reshape(len(x), x.shape[2], -1)


def attention_weights(q: Array, k: Array) -> Array:  # (B, H, T, S)
    """softmax(q kᵀ / sqrt(D) + mask): how much each query attends to each key.

    q (B, H, T, D) are of the last T of the S tokens of k (B, H, S, D). The mask is -∞ where
    the key is later than the query (Vaswani et al. 2017, sections 3.2.1 and 3.2.3).
    """
    T, D = q.shape[-2:]
    scores = (q / math.sqrt(D)) @ k.swapaxes(-1, -2)  # (B, H, T, S)
    if T > 1:
        mask = np.triu(np.full((T, T), -np.inf, scores.dtype), 1)  # above the diagonal
        scores[..., -T:] += mask
    return softmax(scores, out=scores)


def attn(x: Array, c_attn: Params, c_proj: Params, kv: Array, n_past: int) -> Array:
    """Self-attention: each token gathers from itself and those before it, in every head.

    kv (2, B, H, N, D) holds keys and values of n_past tokens, and receives those of the T.
    """
    H, S = kv.shape[2], n_past + x.shape[1]
    qkv = split_heads(linear(x, **c_attn), 3 * H)  # (B, 3 H, T, D)
    q, k, v = qkv[:, :H], qkv[:, H : 2 * H], qkv[:, 2 * H :]  # each (B, H, T, D)
    kv[0, :, :, n_past:S] = k  # the cache is written here
    kv[1, :, :, n_past:S] = v
    keys, values = kv[0, :, :, :S], kv[1, :, :, :S]  # (B, H, S, D), with those before
    y = attention_weights(q, keys) @ values  # (B, H, T, D)
    return linear(merge_heads(y), **c_proj)  # (B, T, C)


def mlp(x: Array, c_fc: Params, c_proj: Params) -> Array:  # (B, T, C) → (B, T, C)
    """Two layers, four times as wide in between, for each token by itself."""
    return linear(gelu(linear(x, **c_fc)), **c_proj)


def block(x: Array, params: Params, kv: Array, n_past: int) -> Array:  # (B, T, C)
    """One of n_layer: attention, then the MLP, each added to the residual stream x."""
    y = layer_norm(x, **params["ln_1"])
    x = x + attn(y, **params["attn"], kv=kv, n_past=n_past)
    x = x + mlp(layer_norm(x, **params["ln_2"]), **params["mlp"])
    return x


def blocks(params: Params, tokens: Array, kv: Array, n_past: int) -> Iterator[Array]:
    """The residual stream (B, T, C) after each block; kv (n_layer, 2, B, H, N, D)."""
    x = embed(params, tokens, n_past)
    for block_params, layer_kv in zip(params["h"], kv, strict=True):
        x = block(x, block_params, layer_kv, n_past)
        yield x


def forward(params: Params, tokens: Array, cache: Cache) -> Array:  # (B, T) → (B, T, C)
    """Read T tokens after those in the cache, which must have room for them → the final
    vector of each, for `unembed`."""
    *_, x = blocks(params, tokens, cache.kv, cache.length)
    cache.length += tokens.shape[1]
    return layer_norm(x, **params["ln_f"])


def unembed(params: Params, x: Array) -> Array:  # (…, C) → (…, V)
    """The logits: the inner product of x with the embedding of every token."""
    return product(x, params["wte"].T)


def shapes(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every parameter's name, OpenAI's without the leading `model/`, and its shape."""
    C = config.n_embd
    yield from (("wte", (config.n_vocab, C)), ("wpe", (config.n_ctx, C)))
    for i in range(config.n_layer):
        h = f"h{i}"
        for norm in "ln_1", "ln_2":
            yield from ((f"{h}/{norm}/g", (C,)), (f"{h}/{norm}/b", (C,)))
        for layer, n_in, n_out in (
            ("attn/c_attn", C, 3 * C),
            ("attn/c_proj", C, C),
            ("mlp/c_fc", C, 4 * C),
            ("mlp/c_proj", 4 * C, C),
        ):
            yield from ((f"{h}/{layer}/w", (n_in, n_out)), (f"{h}/{layer}/b", (n_out,)))
    yield from (("ln_f/g", (C,)), ("ln_f/b", (C,)))


def nest(tensors: dict[str, Array]) -> Params:
    """{"h0/ln_1/g": array, …} → {"h": [{"ln_1": {"g": array}, …}], …}, for `forward`."""
    params: Params = {}
    for path, array in tensors.items():
        *parents, name = path.split("/")
        level = params
        for parent in parents:
            level = level.setdefault(parent, {})
        level[name] = array
    n_layer = sum(name.startswith("h") for name in params)
    params["h"] = [params.pop(f"h{i}") for i in range(n_layer)]
    return params
