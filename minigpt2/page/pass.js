// The numbers of one forward pass, what of it is chosen, and when it is drawn again.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const { n_vocab: V, n_embd: C, n_head: H, n_layer: L } = data.config;
const D = C / H, N = data.numbers;

function half(bits) {  // float16, as in IEEE 754
  const sign = bits >> 15 ? -1 : 1, e = (bits >> 10) & 31, m = bits & 1023;
  if (e === 31) return m ? NaN : sign * Infinity;
  return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : m * 2 ** -24);
}

function unpack({ type, data: base64 }) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const types = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
  if (type === "float16") return Float32Array.from(new Uint16Array(bytes.buffer), half);
  return new types[type](bytes.buffer);
}
const written = Object.fromEntries(Object.entries(data.arrays).map(([k, v]) => [k, unpack(v)]));

// The pass that is shown: the arrays of explain.py by their names.
let a, ids, T;

// how much query t attends to key s <= t, in a head of a block
const weight = (layer, head, t, s) =>
  a.attention[(layer * H + head) * T * (T + 1) / 2 + t * (t + 1) / 2 + s] / 65535;

// rows of vectors, mean, deviation, size: wte, wpe, their sum, then six in each block
const WTE = 0, WPE = 1, SUM = 2;
const [LN_1, ATTN, MIDDLE, LN_2, MLP, OUT] = [0, 1, 2, 3, 4, 5];
const inBlock = (layer, which) => 3 + 6 * layer + which;
const intoBlock = (layer) => layer ? inBlock(layer - 1, OUT) : SUM;
const nth = (array, i, n) => array.subarray(i * n, (i + 1) * n);
const vector = (row, t) => nth(a.vectors, row * T + t, N);
const hidden = (layer, after, t) => nth(a.hidden, (layer * 2 + after) * T + t, N);
const normal = (layer, which, t) => nth(a.normal, (layer * 2 + which) * T + t, N);
const ofHead = (array, t, layer = state.layer, head = state.head) => nth(array, (layer * H + head) * T + t, D);
const added = (layer, head, t) => a.added[(layer * H + head) * T + t];
const sizeAt = (row, t = state.token) => a.size[row * T + t];
const TOP = data.top;
const lens = (layer, t) => Array.from(nth(a.lens, layer * T + t, TOP), (id, k) => [id, a.lens_p[(layer * T + t) * TOP + k]]);

// What is chosen. `pointed` is a token that the mouse is on, `key` one that is looked at.
const state = { pass: 0, token: 0, layer: 0, head: 0, key: null, pointed: null, station: 0 };
const drawers = [], near = new Set();  // near: the parts of the page that are in the window
let later;

// After a change of one of these keys, draw again: at once if one can see it, else soon.
const on = (keys, place, draw) => drawers.push({ keys: keys.split(" "), place: document.getElementById(place), draw });
function redraw(which = () => true) {
  if (!a) return;  // the first pass is still being made
  for (const drawer of drawers) if (drawer.stale && which(drawer)) {
    drawer.stale = false;
    drawer.draw();
  }
}
function rest() {
  const next = a && drawers.find((drawer) => drawer.stale);
  if (!next) return;
  redraw((drawer) => drawer === next);
  later = setTimeout(rest);
}
function set(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
  Object.assign(state, changes);
  for (const drawer of drawers) drawer.stale ||= drawer.keys.some((key) => changed.includes(key));
  redraw(({ place }) => !place || near.has(place));
  clearTimeout(later);
  later = setTimeout(rest, 250);
}

// Draw all for another pass: arrays named and laid out as those of explain.py, and `pieces`.
function show(pass, changes) {
  a = pass;
  ids = a.tokens;
  T = ids.length;
  set({ pass: state.pass + 1, token: T - 1, key: null, pointed: null, ...changes });
}
