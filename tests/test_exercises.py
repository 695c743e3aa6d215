"""The exercises of LESSON.md: empty the body of a function, write it again, and

    python -m pytest tests/test_exercises.py -k layer_norm

says whether it is right, or which of the usual mistakes it makes. Each exercise has an
answer, written plainly, and mistaken answers with what is wrong about them.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

from minigpt2 import model
from minigpt2.learning import backward
from minigpt2.learning.optimizer import AdamW
from minigpt2.sampling import Sampling
from minigpt2.tokenizer import BYTE_IDS, Tokenizer

B, T, C, H, N, PAST = 2, 3, 8, 2, 6, 2  # sizes, named as in model.py
D, S = C // H, PAST + T
CONFIG = model.Config(n_vocab=11, n_ctx=N, n_embd=C, n_head=H, n_layer=2)


class Exercise(NamedTuple):
    use: Callable  # function → what comes of it
    function: Callable  # the student's
    answer: Callable
    mistakes: dict[str, Callable]


def wrong(exercise: Exercise, function: Callable) -> str:
    """What is wrong with the function; an empty text if nothing is."""
    found, expected = exercise.use(function), exercise.use(exercise.answer)
    if found is None or any(part is None for part in found):
        return "it returns nothing: its body is empty, or `return` is missing"
    if same(found, expected):
        return ""
    for mistake, mistaken in exercise.mistakes.items():
        if same(found, exercise.use(mistaken)):
            return mistake
    for part, right in zip(found, expected, strict=True):
        part, right = np.asarray(part), np.asarray(right)
        if part.shape != right.shape:
            return f"a result has the shape {part.shape}, expected {right.shape}"
        for i in np.argwhere(~np.isclose(part, right, atol=1e-5))[:1]:
            i = tuple(map(int, i))
            return f"at {i} a result is {part[i]:g}, expected {right[i]:g}"
    return f"{len(found)} results, expected {len(expected)}"


def same(found: Any, expected: Any) -> bool:
    return len(found) == len(expected) and all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, atol=1e-5, equal_nan=True)
        for a, b in zip(found, expected, strict=True)
    )


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parameters() -> dict[str, Any]:
    shapes = model.shapes(CONFIG)
    return model.nest({name: numbers(*s, seed=i) for i, (name, s) in enumerate(shapes)})


# 1. Text → tokens

TOKENIZER = Tokenizer(["a b", "c d", "b c", "ab cd"])  # the earliest merge comes first


def merge(piece, choose=min, place=0, rounds=99):
    merges, ids = TOKENIZER.merges, [*piece.translate(BYTE_IDS)]
    for _ in range(rounds):
        pairs = [pair for pair in pairwise(ids) if pair in merges]
        if not pairs:
            break
        best = choose(pairs, key=merges.__getitem__)
        i = [i for i, pair in enumerate(pairwise(ids)) if pair == best][place]
        ids[i : i + 2] = [merges[best]]
    return ids


MERGE = Exercise(
    lambda f: [f(piece) for piece in (b"abcd", b"bcd", b"dabab", b"aab", b"a")],
    lambda piece: TOKENIZER._merge(piece),
    merge,
    {
        "it stops after the first merge": lambda p: merge(p, rounds=1),
        "it merges nothing": lambda p: merge(p, rounds=0),
        "it merges the leftmost pair that is in the list, not the earliest of the list": (
            lambda p: merge(p, choose=lambda pairs, key: pairs[0])
        ),
        "it takes the last pair of the list first, not the earliest": (
            lambda p: merge(p, choose=max)
        ),
        "it gives bytes, not ids: BYTE_IDS is missing": lambda p: [*p],
    },
)

# 2. Embeddings


def blocks(params, tokens, kv, n_past, first=None, each=True, late=False, words=True):
    first = n_past if first is None else first
    positions = params["wpe"][first : first + tokens.shape[1]]
    x = params["wte"][tokens] * words + positions
    start = x
    for block_params, layer_kv in zip(params["h"], kv, strict=True):
        y = model.block(x if each else start, block_params, layer_kv, n_past)
        if late:
            yield x
        else:
            yield y
        x = y


def use_blocks(f):
    tokens, kv = np.array([[3, 1, 4], [1, 5, 9]]), numbers(2, 2, B, H, N, D)
    streams = f(parameters(), tokens, kv, PAST)
    return None if streams is None else list(streams)


EMBEDDING = Exercise(
    use_blocks,
    lambda *args: model.blocks(*args),
    blocks,
    {
        "positions begin at 0, not at n_past": lambda *a: blocks(*a, first=0),
        "positions are off by one: they begin after n_past": (
            lambda *a: blocks(*a, first=PAST + 1)
        ),
        "the embeddings of positions, wpe, are missing": lambda p, *a: blocks(
            {**p, "wpe": p["wpe"] * 0}, *a
        ),
        "the embeddings of tokens, wte, are missing": lambda *a: blocks(
            *a, words=False
        ),
        "each block reads the embeddings, not what the one before gave": (
            lambda *a: blocks(*a, each=False)
        ),
        "it yields what a block reads, not what it gives": (
            lambda *a: blocks(*a, late=True)
        ),
    },
)

# 3. LayerNorm


def layer_norm(x, g, b, eps=1e-5, mean=True, root=np.sqrt, ddof=0, outside=0, axis=-1):
    variance = x.var(axis, ddof=ddof, keepdims=True)
    centred = x - x.mean(axis, keepdims=True) * mean
    return g * centred / (root(variance + eps * (not outside)) + eps * outside) + b


def use_layer_norm(f):
    x = numbers(B, T, C) * [[[3], [1], [0.003]]]  # the last is as small as eps
    return None if (y := f(x, numbers(C, seed=1), numbers(C, seed=2))) is None else [y]


LAYER_NORM = Exercise(
    use_layer_norm,
    lambda *args: model.layer_norm(*args),
    layer_norm,
    {
        "the mean is not taken off": lambda *a: layer_norm(*a, mean=False),
        "it divides by the variance, not by its square root": (
            lambda *a: layer_norm(*a, root=lambda v: v)
        ),
        "the variance is the sum of squares divided by C - 1, not by C": (
            lambda *a: layer_norm(*a, ddof=1)
        ),
        "eps is missing: a row of equal numbers would divide by zero": (
            lambda *a: layer_norm(*a, eps=0)
        ),
        "eps is added to the square root, not to the variance under it": (
            lambda *a: layer_norm(*a, outside=1)
        ),
        "the mean goes over the wrong axis: not over C, the last": (
            lambda *a: layer_norm(*a, axis=1)
        ),
        "the mean goes over the whole array, not over each row": (
            lambda *a: layer_norm(*a, axis=None)
        ),
        "the gain g is missing": lambda x, g, b: layer_norm(x, 1, b),
        "the bias b is missing": lambda x, g, b: layer_norm(x, g, 0),
        "b is added before g multiplies": lambda x, g, b: g * (layer_norm(x, 1, 0) + b),
    },
)

# 4. Attention: who looks at whom


def attention_weights(q, k, scale=D**-0.5, diagonal=0, past=PAST, axis=-1):
    scores = np.einsum("bhtd,bhsd->bhts", q, k) * scale
    for t in range(T):
        scores[:, :, t, past + t + 1 + diagonal :] = -np.inf
    with np.errstate(invalid="ignore"):
        e = np.exp(scores - scores.max(axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)


def zeroed(q, k):
    weights = attention_weights(q, k, diagonal=S)
    return weights * (attention_weights(q, k) > 0)


def early(q, k):
    scores = np.einsum("bhtd,bhsd->bhts", q, k) * D**-0.5
    scores[..., :T] += np.triu(np.full((T, T), -np.inf), 1)
    return model.softmax(scores)


ATTENTION_WEIGHTS = Exercise(
    lambda f: [f(numbers(B, H, T, D), numbers(B, H, S, D, seed=1))],
    lambda *args: model.attention_weights(*args),
    attention_weights,
    {
        "the scale 1 / sqrt(D) is missing": lambda *a: attention_weights(*a, scale=1),
        "the scale is 1 / D, not 1 / sqrt(D)": (
            lambda *a: attention_weights(*a, scale=1 / D)
        ),
        "it multiplies by sqrt(D), and should divide": (
            lambda *a: attention_weights(*a, scale=math.sqrt(D))
        ),
        "it divides by the square root of C, all heads, not of D, one head": (
            lambda *a: attention_weights(*a, scale=1 / math.sqrt(C))
        ),
        "the mask is missing: tokens see those that come later": (
            lambda *a: attention_weights(*a, diagonal=S)
        ),
        "the mask is off by one: a token does not see itself": (
            lambda *a: attention_weights(*a, diagonal=-1)
        ),
        "the mask is off by one: a token sees the next one": (
            lambda *a: attention_weights(*a, diagonal=1)
        ),
        "the mask forgets the S - T tokens of the past: queries are the last T of S": (
            lambda *a: attention_weights(*a, past=0)
        ),
        "the mask lies on the first T keys, not on the last T": early,
        "the mask is applied after the softmax: rows no longer sum to 1": zeroed,
        "softmax goes over the queries, not over the keys, the last axis": (
            lambda *a: attention_weights(*a, axis=-2)
        ),
        "these are scores: softmax is missing": lambda q, k: np.where(
            attention_weights(q, k) > 0,
            np.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(D),
            -np.inf,
        ),
    },
)

# 5. Attention: what they bring back


def attn(x, c_attn, c_proj, kv, n_past, order=(0, 1, 2), project=True, mixed=False):
    y = x @ c_attn["w"] + c_attn["b"]
    q, k, v = (
        (y[..., i * C : i * C + C].reshape(B, T, H, D)).transpose(0, 2, 1, 3)
        for i in order
    )
    kv[0, :, :, n_past : n_past + T] = k
    kv[1, :, :, n_past : n_past + T] = v
    heads = attention_weights(q, kv[0, :, :, :S]) @ kv[1, :, :, :S]  # (B, H, T, D)
    merged = (heads if mixed else heads.transpose(0, 2, 1, 3)).reshape(B, T, C)
    return merged @ c_proj["w"] + c_proj["b"] if project else merged


def unsaved(x, c_attn, c_proj, kv, n_past):
    return attn(x, c_attn, c_proj, kv.copy(), n_past)


def unwritten(x, c_attn, c_proj, kv, n_past):
    q = model.split_heads((x @ c_attn["w"] + c_attn["b"])[..., :C], H)
    heads = attention_weights(q, kv[0, :, :, :S]) @ kv[1, :, :, :S]
    return model.merge_heads(heads) @ c_proj["w"] + c_proj["b"]


def forgetful(x, c_attn, c_proj, kv, n_past):
    y, qkv = attn(x, c_attn, c_proj, kv, n_past), x @ c_attn["w"] + c_attn["b"]
    q, k, v = (model.split_heads(part, H) for part in np.split(qkv, 3, axis=-1))
    y = attention_weights(q, k, past=0) @ v
    return y.transpose(0, 2, 1, 3).reshape(B, T, C) @ c_proj["w"] + c_proj["b"]


def use_attn(f):
    kv, params = numbers(2, B, H, N, D, seed=3), parameters()["h"][0]["attn"]
    y = f(numbers(B, T, C), **params, kv=kv, n_past=PAST)
    return None if y is None else [y, kv]


ATTN = Exercise(
    use_attn,
    lambda *args, **named: model.attn(*args, **named),
    attn,
    {
        "the keys and values are not written to kv": unsaved,
        "new keys and values must be written to kv before it is read": unwritten,
        "the tokens of the past, in kv, are not attended to": forgetful,
        "c_attn gives q, k, v in this order, not q, v, k": (
            lambda *a, **n: attn(*a, **n, order=(0, 2, 1))
        ),
        "c_attn gives q, k, v in this order, not k, q, v": (
            lambda *a, **n: attn(*a, **n, order=(1, 0, 2))
        ),
        "the projection c_proj is missing": lambda *a, **n: attn(
            *a, **n, project=False
        ),
        "heads are merged in the wrong order: turn (B, H, T, D) to (B, T, H, D) first": (
            lambda *a, **n: attn(*a, **n, mixed=True)
        ),
    },
)

# 6. The MLP


def gelu(x, a=(2 / math.pi) ** 0.5, b=0.044715, one=1, half=0.5, power=3):
    return half * x * (one + np.tanh(a * (x + b * x**power)))


GELU = Exercise(
    lambda f: [f(numbers(B, T, C) * 3)],
    lambda x: model.gelu(x),
    gelu,
    {
        "this is ReLU: GELU is smooth": lambda x: np.maximum(x, 0),
        "this is GELU by erf: GPT-2 was trained with the formula by tanh": (
            lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        ),
        "this is the formula by a sigmoid, x / (1 + exp(-1.702 x))": (
            lambda x: x / (1 + np.exp(-1.702 * x))
        ),
        "the square root of 2/π is missing": lambda x: gelu(x, a=2 / math.pi),
        "the term 0.044715 x³ is missing": lambda x: gelu(x, b=0),
        "x is squared, not cubed": lambda x: gelu(x, power=2),
        "1 + is missing before tanh": lambda x: gelu(x, one=0),
        "the half is missing": lambda x: gelu(x, half=1),
    },
)

# 7. A block


def block(x, params, kv, n_past):
    x = x + model.attn(ln_1(x, params), **params["attn"], kv=kv, n_past=n_past)
    return x + model.mlp(ln_2(x, params), **params["mlp"])


def ln_1(x, params):
    return layer_norm(x, **params["ln_1"])


def ln_2(x, params):
    return layer_norm(x, **params["ln_2"])


def attended(x, params, kv, n_past):
    return model.attn(x, **params["attn"], kv=kv, n_past=n_past)


def without_residual(x, params, kv, n_past):
    y = attended(ln_1(x, params), params, kv, n_past)
    return model.mlp(ln_2(y, params), **params["mlp"])


def without_first_residual(x, params, kv, n_past):
    y = attended(ln_1(x, params), params, kv, n_past)
    return y + model.mlp(ln_2(y, params), **params["mlp"])


def without_second_residual(x, params, kv, n_past):
    y = x + attended(ln_1(x, params), params, kv, n_past)
    return model.mlp(ln_2(y, params), **params["mlp"])


def side_by_side(x, params, kv, n_past):
    y = attended(ln_1(x, params), params, kv, n_past)
    return x + y + model.mlp(ln_2(x, params), **params["mlp"])


def post_norm(x, params, kv, n_past):
    x = ln_1(x + attended(x, params, kv, n_past), params)
    return ln_2(x + model.mlp(x, **params["mlp"]), params)


def swapped(x, params, kv, n_past):
    params = {**params, "ln_1": params["ln_2"], "ln_2": params["ln_1"]}
    return block(x, params, kv, n_past)


def bare(x, params, kv, n_past):
    x = x + attended(x, params, kv, n_past)
    return x + model.mlp(x, **params["mlp"])


def use_block(f):
    kv, params = numbers(2, B, H, N, D, seed=3), parameters()["h"][0]
    return None if (y := f(numbers(B, T, C), params, kv, PAST)) is None else [y]


BLOCK = Exercise(
    use_block,
    lambda *args: model.block(*args),
    block,
    {
        "both residual connections are missing: x + …": without_residual,
        "the residual connection around attention is missing": without_first_residual,
        "the residual connection around the MLP is missing": without_second_residual,
        "the MLP reads x from before attention": side_by_side,
        "LayerNorm comes after the sum, as in GPT-1: GPT-2 has it before": post_norm,
        "ln_1 and ln_2 are exchanged": swapped,
        "LayerNorm is missing": bare,
    },
)

# 8. Logits → a token


def probabilities(
    logits, temperature=1.0, k=0, p=0.0, times=False, after=False, more=0
):
    z = logits.astype(float) * (temperature if times else 1 / temperature)
    chance = np.exp(z - z.max())
    chance /= chance.sum()
    order = np.argsort(-z)
    if k:
        chance[order[k + more :]] = 0
    if not after:
        chance /= chance.sum()
    if p:
        n = int((np.cumsum(chance[order]) <= p).sum()) + more
        chance[order[max(n, 1) :]] = 0
    kept = np.flatnonzero(chance)
    return kept, chance[kept] if after else chance[kept] / chance.sum()


SETTINGS = (1.0, 0, 0), (0.5, 0, 0), (2.0, 3, 0), (1.0, 0, 0.7), (1.0, 5, 0.8)


def use_probabilities(f):
    found = [f(numbers(12) * 2, *setting) for setting in SETTINGS]
    return None if None in found else [part for pair in found for part in pair]


PROBABILITIES = Exercise(
    use_probabilities,
    lambda z, t, k, p: Sampling(t, k or None, p or None).probabilities(z),
    probabilities,
    {
        "the logits are multiplied by the temperature: they must be divided": (
            lambda *a: probabilities(*a, times=True)
        ),
        "the temperature changes nothing": lambda z, t, k, p: probabilities(z, 1, k, p),
        "top-k keeps all tokens": lambda z, t, k, p: probabilities(z, t, 0, p),
        "top-p keeps all tokens": lambda z, t, k, p: probabilities(z, t, k, 0),
        "one token too many is kept": lambda *a: probabilities(*a, more=1),
        "what is kept does not sum to 1: divide by its sum": (
            lambda *a: probabilities(*a, after=True)
        ),
    },
)

# 9. The way back


def linear_backward(x, w, dy, mean=1, add_w=1, add_b=1, bias=1):
    flat, dy_flat = x.reshape(-1, C), dy.reshape(-1, 5)
    dw = numbers(C, 5, seed=7) * add_w + flat.T @ dy_flat / mean
    db = numbers(5, seed=8) * add_b + dy_flat.sum(0) / mean * bias
    return dy @ w.T, dw, db


def students_linear(x, w, dy):
    grads = {"w": numbers(C, 5, seed=7), "b": numbers(5, seed=8)}
    box = backward.linear(x, {"w": w, "b": numbers(5)}, grads)
    return box and (box[1](dy), grads["w"], grads["b"])


BACKWARD = Exercise(
    lambda f: f(numbers(B, T, C), numbers(C, 5, seed=1), numbers(B, T, 5, seed=2)),
    students_linear,
    linear_backward,
    {
        "dw and db replace what is in grads: they must be added to it": (
            lambda *a: linear_backward(*a, add_w=0, add_b=0)
        ),
        "dw replaces what is in grads: it must be added to it": (
            lambda *a: linear_backward(*a, add_w=0)
        ),
        "db replaces what is in grads: it must be added to it": (
            lambda *a: linear_backward(*a, add_b=0)
        ),
        "dw and db are means over the rows, not sums": (
            lambda *a: linear_backward(*a, mean=B * T)
        ),
        "db is missing: the sum of dy over all rows": (
            lambda *a: linear_backward(*a, bias=0)
        ),
        "dx is dy: the matrix w, transposed, is missing": lambda x, w, dy: (
            dy,
            *linear_backward(x, w, dy)[1:],
        ),
    },
)

# 10. A step of training


def adamw(params, gradients, rate, bias=True, coupled=False, sign=-1, eps=1e-8, all=0):
    p, m, v = params.astype(float), 0.0, 0.0
    decays = np.arange(len(p)) < (len(p) if all else len(p) // 2)
    for t, g in enumerate(gradients.astype(float), 1):
        g = g + 0.1 * p * decays * coupled
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        a, b = (1 - 0.9**t, 1 - 0.95**t) if bias else (1, 1)
        change = m / a / (np.sqrt(v / b) + eps)
        p = p + sign * rate * (change + 0.1 * p * decays * (not coupled))
    return p


def students_adamw(params, gradients, rate):
    optimizer = AdamW(params, n_decay=len(params) // 2)
    for g in gradients:
        optimizer.update(g, rate)
    return params


ADAMW = Exercise(
    lambda f: [f(numbers(6), numbers(3, 6, seed=1), 0.1)],
    students_adamw,
    adamw,
    {
        "nothing has changed: the body is empty, or not in place": lambda p, g, r: p,
        "the step goes uphill: it must be subtracted": lambda *a: adamw(*a, sign=1),
        "the moments are not divided by 1 - βᵗ: the first steps are too short": (
            lambda *a: adamw(*a, bias=False)
        ),
        "weight decay goes into the gradient, as in Adam: AdamW keeps it apart": (
            lambda *a: adamw(*a, coupled=True)
        ),
        "weight decay is for the first n_decay numbers only": lambda *a: adamw(
            *a, all=1
        ),
        "plain gradient descent: the moments are missing": lambda p, g, r: (
            p - r * g.sum(0)
        ),
    },
)

EXERCISES = {
    "merge": MERGE,
    "embedding": EMBEDDING,
    "layer_norm": LAYER_NORM,
    "attention_weights": ATTENTION_WEIGHTS,
    "attn": ATTN,
    "gelu": GELU,
    "block": BLOCK,
    "probabilities": PROBABILITIES,
    "backward": BACKWARD,
    "adamw": ADAMW,
}


@pytest.mark.parametrize("name", EXERCISES)
def test_exercise(name):
    exercise = EXERCISES[name]
    if mistake := wrong(exercise, exercise.function):
        pytest.fail(f"{name}: {mistake}", pytrace=False)
