// The worker: it holds the model, reads tokens, and answers with a pass, the arrays of
// explain.py by their names and in their layout. It follows model.js in one script.
"use strict";

let params, config, page;  // page: how much of each array it shows
let reads = [];  // what was read lately: its ids and which parts were off, its cache and pass

// What each function received and returned: a look from outside, as in watch.py.
let seen = {};
const watched = (f) => (...given) => {
  const result = f(...given);
  (seen[f.name] ??= []).push({ x: given[0], result });
  return result;
};
const normalize = layer_norm, project = linear;
embed = watched(embed);
layer_norm = watched(layer_norm);
split_heads = watched(split_heads);
attention_weights = watched(attention_weights);
merge_heads = watched(merge_heads);
attn = watched(attn);
gelu = watched(gelu);
mlp = watched(mlp);
block = watched(block);

// int8 and scales → float32: a scale for each row of an embedding, else for each column
function decode(held) {
  const decoded = {};
  for (const [name, array] of Object.entries(held)) {
    if (name.endsWith("/scale")) continue;
    const scale = held[`${name}/scale`], by = /^w[tp]e$/.test(name), x = decoded[name] = Float32Array.from(array);
    if (!scale) continue;
    const n = by ? x.length / scale.length : scale.length;
    for (let i = 0; i < x.length; i++) x[i] *= scale[by ? Math.trunc(i / n) : i % n];
  }
  return nest(decoded);
}

// How many parts an array has before its tokens: 3 + 6 L of vectors (3 + 6 L, T, N).
function partsOf() {
  const { n_layer: L, n_head: H } = config, rows = 3 + 6 * L;
  return { vectors: rows, mean: rows, deviation: rows, size: rows, hidden: 2 * L, active: L, normal: 2 * L, q: L * H, k: L * H, v: L * H, added: L * H,
    attention: L * H, lens: L, lens_p: L, all_logits: 1, bits: 1, rank: 1, tokens: 1 };
}
function joined(before, now) {  // the arrays of the tokens before and of those read now
  if (!before) return now;
  return Object.fromEntries(Object.entries(partsOf()).map(([name, parts]) => {
    const a = before[name], b = now[name], m = a.length / parts, n = b.length / parts, both = new a.constructor(a.length + b.length);
    for (let i = 0; i < parts; i++) {
      both.set(row(a, i, m), i * (m + n));
      both.set(row(b, i, n), i * (m + n) + m);
    }
    return [name, both];
  }));
}
function concatenate(Type, arrays) {
  const all = new Type(arrays.reduce((n, array) => n + array.length, 0));
  let at = 0;
  for (const array of arrays) { all.set(array, at); at += array.length; }
  return all;
}

const first = (x, n) => concatenate(Float32Array, rows(x, n).map((x) => x.subarray(0, page.numbers)));
const average = (x) => x.reduce((a, b) => a + b, 0) / x.length;
const length = (x) => Math.sqrt(dot(x, x));
function deviation(x) {
  const mean = average(x);
  return Math.sqrt(x.reduce((sum, x) => sum + (x - mean) ** 2, 0) / x.length);
}

// What the likeliest tokens are, and how likely, by these logits
function likeliest(logits) {
  const top = [];
  for (let i = 0; i < logits.length; i++) {
    if (top.length === page.top && logits[i] <= logits[top.at(-1)]) continue;
    const at = top.findIndex((j) => logits[i] > logits[j]);
    top.splice(at < 0 ? top.length : at, 0, i);
    top.length = Math.min(top.length, page.top);
  }
  const max = logits[top[0]], total = sumOfExp(logits, max);
  return { tokens: top, p: top.map((i) => Math.exp(logits[i] - max) / total) };
}
function sumOfExp(logits, max) {
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return sum;
}

// How well a token was foreseen: surprisal in bits, and rank, 1 for the likeliest
function surprise(logits, token) {
  const max = logits[likeliest(logits).tokens[0]], likelier = logits.filter((z) => z > logits[token]);
  return { bits: (Math.log(sumOfExp(logits, max)) - (logits[token] - max)) / Math.LN2, rank: 1 + likelier.length };
}

// Read tokens after those in the cache → the arrays of a pass for these tokens alone.
function observe(tokens, cache, off, logitsBefore) {
  const { n_embd: C, n_head: H, n_vocab: V } = config, D = C / H, n_past = cache.length;
  seen = {};
  const logits = unembed(params, forward(params, tokens, cache, off)), by = seen;  // (T, V)
  const layers = params.h.map((weights, i) => {
    const [ln_1, ln_2] = by.layer_norm.slice(2 * i, 2 * i + 2);
    return { weights, norms: [ln_1, ln_2], gelu: by.gelu[i], heads: by.merge_heads[i].x, qkv: by.split_heads[i].result, attention: by.attention_weights.slice(i * H, (i + 1) * H),
      vectors: [ln_1.result, by.attn[i].result, ln_2.x, ln_2.result, by.mlp[i].result, by.block[i].result] };
  });
  const wte = concatenate(Float32Array, Array.from(tokens, (id) => row(params.wte, id, C)));
  const vectors = [wte, params.wpe.subarray(n_past * C, (n_past + tokens.length) * C), by.embed[0].result, ...layers.flatMap(({ vectors }) => vectors)];
  const each = (f) => Float32Array.from(vectors.flatMap((x) => rows(x, C).map(f)));
  const all = (f) => concatenate(Float32Array, layers.flatMap(f));
  const one = { g: new Float32Array(C).fill(1), b: new Float32Array(C) };
  const says = layers.flatMap(({ vectors }, i) => rows(i === layers.length - 1 ? logits : unembed(params, normalize(vectors[5], params.ln_f)), V).map(likeliest));
  const foreseen = [];
  tokens.forEach((token, t) => {
    const before = t ? row(logits, t - 1, V) : logitsBefore;
    if (before) foreseen.push(surprise(before, token));
  });
  return {
    tokens: Uint32Array.from(tokens),
    vectors: concatenate(Float32Array, vectors.map((x) => first(x, C))),
    mean: each(average), deviation: each(deviation), size: each(length),
    hidden: all(({ gelu }) => [first(gelu.x, 4 * C), first(gelu.result, 4 * C)]),
    active: all(({ gelu }) => [Float32Array.from(rows(gelu.result, 4 * C), (x) => average(x.map((x) => x > 0)))]),
    normal: all(({ norms }) => norms.map(({ x }) => first(normalize(x, one), C))),
    q: all(({ qkv }) => qkv.slice(0, H)), k: all(({ qkv }) => qkv.slice(H, 2 * H)), v: all(({ qkv }) => qkv.slice(2 * H)),
    added: all(({ heads, weights }) => heads.map((y, h) => {
      const w = row(weights.attn.c_proj.w, h, D * C);  // of this head
      return Float32Array.from(rows(project(y, { w, b: one.b }), C), length);
    })),
    attention: Uint16Array.from(all(({ attention }) => attention.flatMap(({ result }) => result)), (p) => Math.round(p * 65535)),
    lens: Uint32Array.from(says.flatMap(({ tokens }) => tokens)), lens_p: Float32Array.from(says.flatMap(({ p }) => p)),
    all_logits: logits,
    bits: Float32Array.from(foreseen, ({ bits }) => bits), rank: Uint32Array.from(foreseen, ({ rank }) => rank),
  };
}

// The pass of these tokens. The beginning of them, if it was read lately, is in a cache.
function pass(ids, off) {
  const key = JSON.stringify(off), { n_vocab: V } = config;
  const begins = (read) => read.key === key && read.ids.length < ids.length && read.ids.every((id, t) => id === ids[t]);
  const read = reads.find(begins) ?? { ids: [], key, cache: new Cache(config), pass: null };
  const before = read.pass && read.pass.all_logits.slice(-V);
  const switches = off.map(({ heads, mlp }) => ({ heads: new Set(heads), mlp }));
  read.pass = joined(read.pass, observe(ids.slice(read.ids.length), read.cache, switches, before));
  read.ids = ids;
  reads = [read, ...reads.filter((other) => other !== read)].slice(0, 4);
  const { all_logits } = read.pass, logits = all_logits.slice(-V);
  return { ...read.pass, logits, all_logits: all_logits.length <= page.most ? all_logits : logits };
}

onmessage = ({ data: { model, ids, off } }) => {
  if (!model) return postMessage(pass(ids, off));
  ({ config, page } = model);
  params = decode(model.weights);
};
