"""Loss and its gradient: how does a transformer learn?

Each function here is a box of `model.py` that remembers how it was reached. It returns
its output and a function `backward`. That one takes dy, the gradient of the loss with
respect to the output. It adds the gradients of the box's own parameters to `grads`, and
returns dx, the gradient with respect to the input: the chain rule, one box at a time
(Rumelhart, Hinton & Williams 1986). `layer_norm` and `gelu` compute what both ways need
only once. `attn`, `mlp` and `block` are chains of boxes, and of their `backward`s in the
opposite order. `embed` is the one end, and `cross_entropy` the other, which returns dx at
once.

The letters of the shapes are those of `model.py`; R are rows, B and T made one axis.
`grads` has the names and the shapes of `params`. Everything works in the precision of
the parameters: float32 to train, float64 to check by finite differences.
"""

import math
from collections.abc import Callable

import numpy as np

from .. import model
from ..model import Array, Params

Backward = Callable[[Array], Array]  # dy → dx
Box = tuple[Array, Backward]  # y, and the way back

QUERIES_AT_ONCE = 128  # with all keys before the last of them: few are masked
ROWS_AT_ONCE = 256  # few enough for the cache, where each pass finds them


def rows(x: Array) -> Array:  # (…, C) → (R, C)
    return x.reshape(-1, x.shape[-1])


def split_qkv(qkv: Array, n_head: int) -> list[Array]:  # (B, T, 3 C) → 3 × (B, H, T, D)
    """q, k and v of each head: views, so that what is written to them is in qkv."""
    return [model.split_heads(part, n_head) for part in np.split(qkv, 3, axis=-1)]


def layer_norm(x: Array, params: Params, grads: Params, eps: float = 1e-5) -> Box:
    """y = g x̂ + b,  x̂ = (x - mean) / σ,  σ = sqrt(variance + eps).

    dg = Σ_rows dy x̂,  db = Σ_rows dy,  and with dx̂ = g dy, a mean being over C,
    dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / σ: to shift or to stretch a row of x does
    not change y, so the gradient has no part in these two directions.
    """
    centred = x - x.mean(-1, keepdims=True)
    sigma = np.sqrt(np.square(centred).mean(-1, keepdims=True) + eps)  # (…, 1)
    normal = centred / sigma  # x̂, (…, C)

    def backward(dy: Array) -> Array:
        grads["g"] += rows(dy * normal).sum(0)
        grads["b"] += rows(dy).sum(0)
        dnormal = params["g"] * dy  # dx̂
        shift = dnormal.mean(-1, keepdims=True)
        stretch = normal * (dnormal * normal).mean(-1, keepdims=True)
        dx: Array = (dnormal - shift - stretch) / sigma
        return dx

    return params["g"] * normal + params["b"], backward


def linear(x: Array, params: Params, grads: Params) -> Box:
    """y = x w + b.  dx = dy wᵀ,  dw = xᵀ dy,  db = Σ_rows dy."""
    y = model.linear(x, **params)

    def backward(dy: Array) -> Array:  # (…, n_out) → (…, n_in)
        grads["w"] += rows(x).T @ rows(dy)
        grads["b"] += rows(dy).sum(0)
        dx: Array = rows(dy) @ params["w"].T
        return dx.reshape(x.shape)

    return y, backward


def gelu(x: Array) -> Box:
    """y = x Φ,  Φ = (1 + tanh(u)) / 2,  u = a x + b x³,
    a = sqrt(2/π),  b = 0.044715 a.

    dx = dy (Φ + x Φ'),  Φ' = 2 Φ (1 - Φ) u',  u' = a + 3 b x².
    """
    a, b = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715
    y, slope = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    for i in range(0, len(rows(x)), ROWS_AT_ONCE):
        few = slice(i, i + ROWS_AT_ONCE)
        z = rows(x)[few]
        zz = z * z
        phi = (1 + np.tanh(z * (a + b * zz))) / 2
        dphi = 2 * phi * (1 - phi) * (a + 3 * b * zz)
        rows(y)[few] = z * phi
        rows(slope)[few] = phi + z * dphi
    return y, lambda dy: dy * slope


def attn(x: Array, params: Params, grads: Params, n_head: int) -> Box:  # (B, T, C)
    """y = A v in each head,  A = softmax(q kᵀ / sqrt(D)),  where q, k, v = x w + b;
    then the heads are merged and projected.

    dv = Aᵀ dy,  dA = dy vᵀ,  and through the softmax  dS = A (dA - Σ_keys A dA), where
    the sum is Σ_D y dy (for Σ_s A_s (dy · v_s) = dy · Σ_s A_s v_s = dy · y);  dq = dS k / sqrt(D),  dk = dSᵀ q / sqrt(D).  A is zero above
    the diagonal, and so is dS: neither is computed beyond a span's last query.
    """
    T, C = x.shape[1:]
    qkv, c_attn_backward = linear(x, params["c_attn"], grads["c_attn"])  # (B, T, 3 C)
    q, k, v = split_qkv(qkv, n_head)  # 3 × (B, H, T, D)
    merged = np.empty_like(x)  # (B, T, C)
    y = model.split_heads(merged, n_head)  # (B, H, T, D), a view: y fills merged
    spans = [(i, min(i + QUERIES_AT_ONCE, T)) for i in range(0, T, QUERIES_AT_ONCE)]
    weights = []
    for i, j in spans:
        A = model.attention_weights(q[:, :, i:j], k[:, :, :j])  # (B, H, j - i, j)
        np.matmul(A, v[:, :, :j], out=y[:, :, i:j])
        weights.append(A)
    out, c_proj_backward = linear(merged, params["c_proj"], grads["c_proj"])

    def backward(dout: Array) -> Array:
        dy = model.split_heads(c_proj_backward(dout), n_head)  # (B, H, T, D)
        dqkv = np.zeros_like(qkv)  # (B, T, 3 C)
        dq, dk, dv = split_qkv(dqkv, n_head)  # 3 × (B, H, T, D)
        inner = np.einsum("bhtd,bhtd->bht", y, dy)[..., None]  # (B, H, T, 1)
        for (i, j), A in zip(spans, weights, strict=True):
            dv[:, :, :j] += A.swapaxes(-1, -2) @ dy[:, :, i:j]
            dS = dy[:, :, i:j] @ v[:, :, :j].swapaxes(-1, -2)  # (B, H, j - i, j)
            dS -= inner[:, :, i:j]
            dS *= A
            np.matmul(dS, k[:, :, :j], out=dq[:, :, i:j])
            dk[:, :, :j] += dS.swapaxes(-1, -2) @ q[:, :, i:j]
        dqkv[..., : 2 * C] *= 1 / math.sqrt(q.shape[-1])  # dq and dk
        return c_attn_backward(dqkv)

    return out, backward


def mlp(x: Array, params: Params, grads: Params) -> Box:  # (B, T, C)
    """linear, gelu, linear."""
    hidden, c_fc_backward = linear(x, params["c_fc"], grads["c_fc"])  # (B, T, 4 C)
    active, gelu_backward = gelu(hidden)
    y, c_proj_backward = linear(active, params["c_proj"], grads["c_proj"])
    return y, lambda dy: c_fc_backward(gelu_backward(c_proj_backward(dy)))


def block(x: Array, params: Params, grads: Params, n_head: int) -> Box:  # (B, T, C)
    """y = x + attn(layer_norm(x)), then the same with mlp.

    A sum hands its gradient to both of its terms.
    """
    normal, ln_1_backward = layer_norm(x, params["ln_1"], grads["ln_1"])
    change, attn_backward = attn(normal, params["attn"], grads["attn"], n_head)
    x = x + change
    normal, ln_2_backward = layer_norm(x, params["ln_2"], grads["ln_2"])
    change, mlp_backward = mlp(normal, params["mlp"], grads["mlp"])

    def backward(dy: Array) -> Array:
        dy = dy + ln_2_backward(mlp_backward(dy))
        return dy + ln_1_backward(attn_backward(dy))

    return x + change, backward


def embed(tokens: Array, params: Params, grads: Params) -> Box:  # (B, T) → (B, T, C)
    """y = wte[token] + wpe[position].

    dwte[i] = Σ dy where the token is i,  dwpe[t] = Σ dy where the position is t.
    Tokens are sorted, so that those of one id are neighbours and their sum is one
    reduction: `np.add.at` takes twice as long, and 17 times in NumPy 1.24.
    """
    T = tokens.shape[1]
    y = params["wte"][tokens] + params["wpe"][:T]

    def backward(dy: Array) -> Array:
        order = np.argsort(tokens, axis=None, kind="stable")
        ids, starts = np.unique(tokens.ravel()[order], return_index=True)
        grads["wte"][ids] += np.add.reduceat(rows(dy)[order], starts, axis=0)
        grads["wpe"][:T] += dy.sum(0)
        return dy

    return y, backward


def cross_entropy(
    x: Array, targets: Array, params: Params, grads: Params, scale: float
) -> tuple[float, Array]:  # (R, C), (R,) → (), (R, C)
    """L = scale Σ_rows -log p[target],  p = softmax(z),  z = x wteᵀ; and at once dx.

    dz = scale (p - 1 at the target),  dx = dz wte,  dwte = dzᵀ x.  Logits are the largest
    array of training, V wide: only some rows exist at a time.
    """
    wte, loss, dx = params["wte"], 0.0, np.empty_like(x)
    for i in range(0, len(x), ROWS_AT_ONCE):
        few = slice(i, i + ROWS_AT_ONCE)
        at_target = np.arange(len(x[few])), targets[few]
        z = model.unembed(params, x[few])  # (rows, V)
        z -= z.max(-1, keepdims=True)
        loss -= z[at_target].sum(dtype=np.float64)
        p = np.exp(z, out=z)
        total = p.sum(-1, keepdims=True)
        loss += np.log(total).sum(dtype=np.float64)
        p /= total
        p[at_target] -= 1  # p is now dz / scale
        grads["wte"] += p.T @ (scale * x[few])
        dx[few] = p @ wte
    return scale * loss, scale * dx


def loss_and_gradient(
    params: Params, tokens: Array, grads: Params, n_head: int, scale: float
) -> float:
    """The loss of B windows, scale Σ -log p(token | those before it in its window).

    Of tokens (B, T + 1) the first T are read and the last T are to be predicted. With
    scale = 1 / (B T) the loss is the mean over tokens, in nats. params and grads are
    nested as by `model.nest`. The gradient is added to grads: a batch can be taken in
    parts.
    """
    x, embed_backward = embed(tokens[:, :-1], params, grads)
    backwards = []
    for layer, layer_grads in zip(params["h"], grads["h"], strict=True):
        x, backward = block(x, layer, layer_grads, n_head)
        backwards.append(backward)
    x, ln_f_backward = layer_norm(x, params["ln_f"], grads["ln_f"])
    loss, dx = cross_entropy(rows(x), tokens[:, 1:].ravel(), params, grads, scale)
    dx = ln_f_backward(dx.reshape(x.shape))
    for backward in reversed(backwards):
        dx = backward(dx)
    embed_backward(dx)
    return loss
