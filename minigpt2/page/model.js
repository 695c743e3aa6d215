// Token ids → logits: the transformer of model.py, function by function, in plain JavaScript.
//
// A matrix is one Float32Array, row after row; how long a row is, its functions know from the
// parameters. There is no batch: x (T, C) is B = 1. Heads are a list: H times (T, D).
//
//     T  tokens read now                        H  heads, n_head
//     S  tokens read so far, T included         D  width of a head, C / H
//     C  width, n_embd                          V  vocabulary, n_vocab
//
// `off` is what the page adds: off[layer].heads is the set of heads that bring nothing,
// as if their rows of c_proj were zero; off[layer].mlp says that the MLP adds nothing, not
// even its bias.
"use strict";

const row = (x, i, n) => x.subarray(i * n, (i + 1) * n);
const rows = (x, n) => Array.from({ length: x.length / n }, (_, i) => row(x, i, n));
function dot(x, y) {  // four sums, which do not wait for each other
  let a = 0, b = 0, c = 0, d = 0, i = 0;
  for (; i + 4 <= x.length; i += 4) {
    a += x[i] * y[i];
    b += x[i + 1] * y[i + 1];
    c += x[i + 2] * y[i + 2];
    d += x[i + 3] * y[i + 3];
  }
  for (; i < x.length; i++) a += x[i] * y[i];
  return a + b + c + d;
}

class Cache {  // the keys and values of the tokens read so far
  constructor({ n_layer, n_head, n_embd, n_ctx }) {
    const heads = () => Array.from({ length: n_head }, () => new Float32Array(n_ctx * n_embd / n_head));  // H × (N, D)
    this.kv = Array.from({ length: n_layer }, () => [heads(), heads()]);
    this.length = 0;
  }
}

function embed({ wte, wpe, ln_f }, tokens, n_past) {  // T → (T, C)
  const C = ln_f.g.length, x = new Float32Array(tokens.length * C);
  tokens.forEach((token, t) => {
    for (let i = 0; i < C; i++) x[t * C + i] = wte[token * C + i] + wpe[(n_past + t) * C + i];
  });
  return x;
}

function layer_norm(x, { g, b }, eps = 1e-5) {  // (T, C) → (T, C)
  const C = g.length, y = new Float32Array(x.length);
  for (let t = 0; t < x.length; t += C) {
    let mean = 0, variance = 0;
    for (let i = 0; i < C; i++) mean += x[t + i] / C;
    for (let i = 0; i < C; i++) variance += (x[t + i] - mean) ** 2 / C;
    for (let i = 0; i < C; i++) y[t + i] = g[i] * (x[t + i] - mean) / Math.sqrt(variance + eps) + b[i];
  }
  return y;
}

function linear(x, { w, b }) {  // x @ w + b: (T, n_in) → (T, n_out)
  const n_out = b.length, n_in = w.length / n_out, T = x.length / n_in, y = new Float32Array(T * n_out);
  for (let t = 0; t < T; t++) {
    const x_t = row(x, t, n_in), y_t = row(y, t, n_out);
    y_t.set(b);
    let i = 0;
    for (; i + 4 <= n_in; i += 4) {  // four rows of w at once take half the time of one after another
      const w_0 = row(w, i, n_out), w_1 = row(w, i + 1, n_out), w_2 = row(w, i + 2, n_out), w_3 = row(w, i + 3, n_out);
      const x_0 = x_t[i], x_1 = x_t[i + 1], x_2 = x_t[i + 2], x_3 = x_t[i + 3];
      for (let j = 0; j < n_out; j++) y_t[j] += x_0 * w_0[j] + x_1 * w_1[j] + x_2 * w_2[j] + x_3 * w_3[j];
    }
    for (; i < n_in; i++) for (let j = 0; j < n_out; j++) y_t[j] += x_t[i] * w[i * n_out + j];
  }
  return y;
}

function gelu(x) {
  return x.map((x) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))));
}

function softmax(x) {  // (n,) → (n,)
  let max = -Infinity, sum = 0;
  for (let i = 0; i < x.length; i++) max = Math.max(max, x[i]);
  const y = x.map((x) => Math.exp(x - max));
  for (let i = 0; i < x.length; i++) sum += y[i];
  return y.map((y) => y / sum);
}

function split_heads(x, n_head, T) {  // (T, C) → H × (T, D)
  const C = x.length / T, D = C / n_head;
  return Array.from({ length: n_head }, (_, head) => {
    const y = new Float32Array(T * D);
    for (let t = 0; t < T; t++) y.set(x.subarray(t * C + head * D, t * C + (head + 1) * D), t * D);
    return y;
  });
}

function merge_heads(heads, T) {  // H × (T, D) → (T, C)
  const D = heads[0].length / T, C = heads.length * D, y = new Float32Array(T * C);
  heads.forEach((x, head) => {
    for (let t = 0; t < T; t++) y.set(row(x, t, D), t * C + head * D);
  });
  return y;
}

// softmax(q kᵀ / sqrt(D) + mask): how much each query attends to each key, for one head.
// Query t is of token S - T + t: with the mask, its row ends there.
function attention_weights(q, k, D) {  // (T, D), (S, D) → T rows
  const queries = rows(q, D), keys = rows(k, D), n_past = keys.length - queries.length;
  return queries.map((q, t) => softmax(Float32Array.from(keys.slice(0, n_past + t + 1), (k) => dot(q, k) / Math.sqrt(D))));
}

function gather(weights, v, D) {  // weights @ v: T rows, (S, D) → (T, D)
  const y = new Float32Array(weights.length * D);
  weights.forEach((weights, t) => weights.forEach((weight, s) => {
    for (let i = 0; i < D; i++) y[t * D + i] += weight * v[s * D + i];
  }));
  return y;
}

// Self-attention: each token gathers from itself and those before it, in every head.
function attn(x, { c_attn, c_proj }, kv, n_past, off) {  // (T, C) → (T, C)
  const C = c_proj.b.length, T = x.length / C, H = kv[0].length, D = C / H, S = n_past + T;
  const qkv = split_heads(linear(x, c_attn), 3 * H, T);  // 3 H × (T, D)
  const y = kv[0].map((keys, h) => {
    const values = kv[1][h];
    keys.set(qkv[H + h], n_past * D);  // the cache is written here
    values.set(qkv[2 * H + h], n_past * D);
    const weights = attention_weights(qkv[h], keys.subarray(0, S * D), D);
    return off.heads.has(h) ? new Float32Array(T * D) : gather(weights, values, D);
  });
  return linear(merge_heads(y, T), c_proj);
}

function mlp(x, { c_fc, c_proj }, off) {  // two layers, four times as wide in between
  const y = linear(gelu(linear(x, c_fc)), c_proj);
  return off.mlp ? y.fill(0) : y;
}

const add = (x, y) => x.map((x, i) => x + y[i]);

// One of n_layer: attention, then the MLP, each added to the residual stream x.
function block(x, params, kv, n_past, off) {  // (T, C) → (T, C)
  const y = layer_norm(x, params.ln_1);
  x = add(x, attn(y, params.attn, kv, n_past, off));
  return add(x, mlp(layer_norm(x, params.ln_2), params.mlp, off));
}

function* blocks(params, tokens, kv, n_past, off) {  // the stream (T, C) after each block
  let x = embed(params, tokens, n_past);
  for (const [i, layer] of params.h.entries()) {
    x = block(x, layer, kv[i], n_past, off[i]);
    yield x;
  }
}

// Read T tokens after those in the cache → the final vector of each, for `unembed`.
function forward(params, tokens, cache, off) {  // T → (T, C)
  const x = [...blocks(params, tokens, cache.kv, cache.length, off)].at(-1);
  cache.length += tokens.length;
  return layer_norm(x, params.ln_f);
}

// The logits: the inner product of x with the embedding of every token.
function unembed({ wte, ln_f }, x) {  // (T, C) → (T, V)
  const C = ln_f.g.length, V = wte.length / C, xs = rows(x, C), y = new Float32Array(xs.length * V);
  rows(wte, C).forEach((w, v) => xs.forEach((x, t) => { y[t * V + v] = dot(x, w); }));
  return y;
}

// {"h0/ln_1/g": array, …} → {h: [{ln_1: {g: array}, …}], …}, for `forward`
function nest(tensors) {
  const params = { h: [] };
  for (const [path, array] of Object.entries(tensors)) {
    const parents = path.replace(/^h(\d+)/, "h/$1").split("/"), name = parents.pop();
    parents.reduce((level, parent) => level[parent] ??= {}, params)[name] = array;
  }
  return params;
}
