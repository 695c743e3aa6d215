"""A mine.py in which every exercise is solved, in plain lines."""

import math
from itertools import pairwise

import numpy as np

from minigpt2 import model


def merge(ids, merges):
    ids = list(ids)
    while pairs := [pair for pair in pairwise(ids) if pair in merges]:
        earliest = min(pairs, key=merges.__getitem__)
        i = list(pairwise(ids)).index(earliest)
        ids[i : i + 2] = [merges[earliest]]
    return ids


def embed(tokens, wte, wpe):
    return np.array([wte[token] + wpe[t] for t, token in enumerate(tokens)])


def layer_norm(x, g, b, eps=1e-5):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return g * (x - mean) / np.sqrt(variance + eps) + b


def attention_weights(q, k):
    scores = q @ k.T / math.sqrt(q.shape[-1])
    seen = np.tri(len(q), dtype=bool)
    p = np.exp(np.where(seen, scores, -np.inf))
    return p / p.sum(-1, keepdims=True)


def attn(x, c_attn, c_proj, kv, n_past):
    B, T, C = x.shape
    H = kv.shape[2]
    qkv = x @ c_attn["w"] + c_attn["b"]
    q, k, v = (
        part.reshape(B, T, H, C // H).transpose(0, 2, 1, 3)
        for part in (qkv[..., :C], qkv[..., C : 2 * C], qkv[..., 2 * C :])
    )
    kv[0, :, :, n_past : n_past + T] = k
    kv[1, :, :, n_past : n_past + T] = v
    keys, values = kv[:, :, :, : n_past + T]
    y = model.attention_weights(q, keys) @ values
    return y.transpose(0, 2, 1, 3).reshape(B, T, C) @ c_proj["w"] + c_proj["b"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def block(x, params, kv, n_past):
    y = model.layer_norm(x, **params["ln_1"])
    x = x + model.attn(y, **params["attn"], kv=kv, n_past=n_past)
    return x + model.mlp(model.layer_norm(x, **params["ln_2"]), **params["mlp"])


def probabilities(logits, temperature, top_k, top_p):
    order = np.argsort(logits)[::-1][:top_k]
    p = model.softmax(logits[order].astype(float) / temperature)
    if top_p is not None:
        n = max(1, np.count_nonzero(np.cumsum(p) <= top_p))
        order, p = order[:n], p[:n] / p[:n].sum()
    return order, p


def linear_backward(x, w, dy):
    return dy @ w.T, x.T @ dy, dy.sum(axis=0)


def adamw(p, g, m, v, t, rate, decay=0.1, betas=(0.9, 0.95), eps=1e-8):
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - rate * (m_hat / (np.sqrt(v_hat) + eps) + decay * p), m, v
