// The numbers of one forward pass, and what of it is chosen.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const { n_vocab: V, n_embd: C, n_head: H, n_layer: L } = data.config;

function half(bits) {  // float16, as in IEEE 754
  const sign = bits >> 15 ? -1 : 1, e = (bits >> 10) & 31, m = bits & 1023;
  if (e === 31) return m ? NaN : sign * Infinity;
  return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : m * 2 ** -24);
}

function unpack({ type, data: base64 }) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const types = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
  if (type === "float16") return Float32Array.from(new Uint16Array(bytes.buffer), half);
  return new types[type](bytes.buffer);
}

const a = Object.fromEntries(Object.entries(data.arrays).map(([k, v]) => [k, unpack(v)]));
const ids = a.tokens, T = ids.length, N = data.numbers;
const TRIANGLE = T * (T + 1) / 2;

// how much query t attends to key s <= t, in a head of a block
const weight = (layer, head, t, s) =>
  a.attention[(layer * H + head) * TRIANGLE + t * (t + 1) / 2 + s] / 65535;

// rows of vectors, mean, deviation, size: wte, wpe, their sum, then six in each block
const WTE = 0, WPE = 1, SUM = 2;
const [LN_1, ATTN, MIDDLE, LN_2, MLP, OUT] = [0, 1, 2, 3, 4, 5];
const inBlock = (layer, which) => 3 + 6 * layer + which;
const intoBlock = (layer) => layer ? inBlock(layer - 1, OUT) : SUM;
const vector = (row, t) => a.vectors.subarray((row * T + t) * N, (row * T + t + 1) * N);
const hidden = (layer, after, t) => {
  const at = ((layer * 2 + after) * T + t) * N;
  return a.hidden.subarray(at, at + N);
};

const state = { token: T - 1, layer: 0, head: 0, pointed: null };
const drawers = [];  // [what it depends on, function]
const on = (keys, draw) => drawers.push([keys.split(" "), draw]);
function set(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
  Object.assign(state, changes);
  for (const [keys, draw] of drawers) if (keys.some((key) => changed.includes(key))) draw();
}
