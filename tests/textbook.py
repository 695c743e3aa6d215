"""GPT-2 as it is first taught, the whole of it: one text, no cache, nothing for speed.

The lines are those of the paper. minigpt2/model.py has the same functions with a batch
and a cache, and the tests compare it with this file. T is the number of tokens, C their
width, D = C / n_head that of a head, V the number of tokens in the vocabulary. `params`
are those of `minigpt2.load(…)`.
"""

import math

import numpy as np


def layer_norm(x, g, b):  # (T, C) → (T, C)
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return g * (x - mean) / np.sqrt(variance + 1e-5) + b


def linear(x, w, b):  # (T, n_in) → (T, n_out)
    return x @ w + b


def gelu(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def attention_weights(q, k):  # (T, D), (T, D) → (T, T)
    scores = q @ k.T / math.sqrt(q.shape[-1])
    not_later = np.tri(len(q), dtype=bool)  # a token sees itself and those before it
    return softmax(np.where(not_later, scores, -np.inf))


def split_heads(x, c_attn, n_head):  # (T, C) → n_head × (q, k, v), each (T, D)
    qkv = np.split(linear(x, **c_attn), 3, axis=-1)
    return zip(*(np.split(part, n_head, axis=-1) for part in qkv), strict=True)


def attn(x, c_attn, c_proj, n_head):  # (T, C) → (T, C)
    heads = split_heads(x, c_attn, n_head)
    y = np.hstack([attention_weights(q, k) @ v for q, k, v in heads])
    return linear(y, **c_proj)


def mlp(x, c_fc, c_proj):  # (T, C) → (T, C)
    return linear(gelu(linear(x, **c_fc)), **c_proj)


def block(x, params, n_head):  # (T, C) → (T, C)
    x = x + attn(layer_norm(x, **params["ln_1"]), **params["attn"], n_head=n_head)
    return x + mlp(layer_norm(x, **params["ln_2"]), **params["mlp"])


def gpt2(tokens, params, n_head):  # T token ids → logits (T, V)
    x = params["wte"][tokens] + params["wpe"][: len(tokens)]
    for block_params in params["h"]:
        x = block(x, block_params, n_head)
    return layer_norm(x, **params["ln_f"]) @ params["wte"].T
