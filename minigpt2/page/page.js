// The numbers of one forward pass → what is on the page.
// Text of the prompt and the vocabulary only ever becomes text nodes: see `el`.
"use strict";

// ---------- the data ----------

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

// ---------- tokens: the vocabulary is bytes and the merge list ----------

const special = (id) => data.special[id];
const byteOf = new Map([...a.byte_ids].map((id, byte) => [id, byte]));
const rankOf = new Map(), pairOf = new Map();  // of two ids; of what they make
for (let rank = a.merged.length - 1; rank >= 0; rank--) {
  const [left, right] = a.merges.subarray(2 * rank, 2 * rank + 2);
  rankOf.set(left * V + right, rank);
  pairOf.set(a.merged[rank], [left, right]);
}

function bytesOf(id) {
  if (special(id)) return [...new TextEncoder().encode(special(id))];
  return byteOf.has(id) ? [byteOf.get(id)] : (pairOf.get(id) ?? []).flatMap(bytesOf);
}

// The tokens after each merge of these bytes: the pair earliest in the list is merged, the
// leftmost first, until no pair is in the list.
function mergesOf(bytes) {
  let now = bytes.map((byte) => a.byte_ids[byte]);
  for (const steps = [{ tokens: now, merged: -1 }]; ;) {
    const ranks = now.slice(1).map((right, i) => rankOf.get(now[i] * V + right) ?? Infinity);
    const rank = Math.min(...ranks), at = ranks.indexOf(rank);
    if (rank === Infinity) return steps;
    now = [...now.slice(0, at), a.merged[rank], ...now.slice(at + 2)];
    steps.push({ tokens: now, merged: at, merge: rank + 1 });
  }
}

// bytes → characters, and single bytes where these are no UTF-8
function characters(bytes) {
  const found = [], utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (let i = 0; i < bytes.length;) {
    const first = bytes[i];
    const size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      if (first >= 0x80 && first < 0xc0 || i + size > bytes.length) throw 0;
      found.push(utf8.decode(Uint8Array.from(bytes.slice(i, i + size))));
      i += size;
    } catch {
      found.push(first);
      i += 1;
    }
  }
  return found;
}

// Spaces, line breaks, control characters and lone bytes are made visible.
const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };
function show(bytes) {
  const nodes = [];
  for (const c of characters(bytes)) {
    if (typeof c === "number") {
      nodes.push(el("span", { class: "byte" }, c.toString(16).padStart(2, "0")));
    } else if (SIGNS[c]) {
      nodes.push(el("wbr"), el("span", { class: "sign" }, SIGNS[c]));
    } else if (/[\p{C}\p{Z}]/u.test(c)) {
      nodes.push(el("span", { class: "byte" }, "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")));
    } else {
      nodes.push((/^\p{M}/u.test(c) && !nodes.length ? "◌" : "") + c);
    }
  }
  return nodes.length ? nodes : [el("span", { class: "sign" }, "unused")];
}
const showToken = (id) => special(id) ? [el("span", { class: "sign" }, special(id))] : show(bytesOf(id));
const plain = (id) => el("i", {}, ...showToken(id)).textContent;
const quoted = (id) => el("bdi", { class: "tok" }, ...showToken(id));

// ---------- elements ----------

function el(tag, properties = {}, ...children) {
  const svg = ["svg", "rect", "line", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const $ = (id) => document.getElementById(id);
const fill = (id, ...children) => $(id).replaceChildren(...children);

const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−");
const big = (n) => n.toLocaleString("en");
function percent(p) {  // the shown text is short, the value whole
  const text = p >= 0.01 ? `${(100 * p).toFixed(1)} %` : p >= 0.0001 ? `${(100 * p).toFixed(2)} %`
    : p > 0 ? "< 0.01 %" : "0 %";
  return el("data", { value: p, title: String(p) }, text);
}

// A list of tokens, one tab stop, in which the arrow keys walk: a listbox.
function listbox(node, label, options, choose) {
  node.setAttribute("role", "listbox");
  node.setAttribute("aria-label", label);
  node.append(...options);
  const all = [...node.querySelectorAll("[role=option]")];
  all.forEach((option, i) => option.addEventListener("click", () => choose(i)));
  node.addEventListener("keydown", (event) => {
    const here = all.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (here < 0 || to === undefined) return;
    event.preventDefault();
    if (all[to]) { all[to].focus(); choose(to); }
  });
  return (chosen) => all.forEach((option, i) => {
    option.setAttribute("aria-selected", i === chosen);
    option.tabIndex = i === chosen ? 0 : -1;
  });
}

const chip = (t, ...below) => el("span", { role: "option", class: "chip", "aria-label": `${t + 1}: ${plain(ids[t])}` },
  el("bdi", { class: "text" }, ...showToken(ids[t])), ...below);

// Numbers as bars up and down from zero; those of a row of vectors may share a scale.
function bars(values, scale) {
  const most = scale || Math.max(...values.map(Math.abs)) || 1, w = 100 / values.length;
  const drawing = el("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img",
    "aria-label": `the first ${values.length} numbers: ${[...values].map((x) => number(x)).join(", ")}` });
  drawing.append(el("line", { x1: 0, x2: 100, y1: 20, y2: 20 }));
  values.forEach((x, i) => {
    const height = Math.max(0.4, 19 * Math.min(1, Math.abs(x) / most));
    const bar = el("rect", { x: i * w + 0.12 * w, width: 0.76 * w, y: x < 0 ? 20 : 20 - height, height });
    const target = el("rect", { class: "target", x: i * w, width: w, y: 0, height: 40 });
    target.append(el("title", {}, `number ${i + 1}: ${number(x, 4)}`));
    drawing.append(bar, target);
  });
  return drawing;
}

function vectorRow(name, values, facts, sign = "", scale = 0) {
  return el("div", { class: "vector" }, el("span", { class: "operator", "aria-hidden": "true" }, sign),
    el("div", { class: "name" }, ...name), bars(values, scale), el("div", { class: "facts" }, facts));
}
function streamRow(name, row, t, sign, scale) {
  const at = row * T + t;
  return vectorRow(name, vector(row, t), `mean ${number(a.mean[at], 3)}, σ ${number(a.deviation[at], 3)}, length ${number(a.size[at])}`, sign, scale);
}
// rows that are added share a scale
function sumRows(t, ...rows) {
  const scale = Math.max(...rows.flatMap(([, row]) => [...vector(row, t)].map(Math.abs)));
  return rows.map(([name, row, sign]) => streamRow(name, row, t, sign, scale));
}

// Rows of a ranking: token, bar, value.
const rankingRow = (id, share, value, off = false, name = quoted(id)) =>
  el("li", { class: off ? "off" : "" }, name, el("span", { class: "bar", "--w": Math.max(0, Math.min(1, share)) }), value);

// ---------- what is chosen ----------

const state = { token: T - 1, layer: 0, head: 0, pointed: null };
const drawers = [];  // [what it depends on, function]
const on = (keys, draw) => drawers.push([keys.split(" "), draw]);
function set(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
  Object.assign(state, changes);
  for (const [keys, draw] of drawers) if (keys.some((key) => changed.includes(key))) draw();
}

function chooser(id, count, label) {
  const select = $(id);
  for (let i = 0; i < count; i++) select.append(el("option", { value: i }, label(i)));
  select.addEventListener("change", () => set({ [id]: Number(select.value), pointed: null }));
  on(id, () => { select.value = state[id]; });
}
chooser("token", T, (t) => `${t + 1}: ${plain(ids[t])}`);
chooser("layer", L, (i) => `${i + 1} of ${L}`);
chooser("head", H, (i) => `${i + 1} of ${H}`);
const heading = (node, ...children) => node.replaceChildren(...children);

on("layer", () => document.querySelectorAll(".at-block").forEach((node) => heading(node, `in block ${state.layer + 1} of ${L}`)));

// ---------- header, contents, sources ----------

const promptBytes = [...ids].flatMap((id) => special(id) ? [] : bytesOf(id));
fill("model", `One forward pass of ${data.model}: ${L} blocks of ${H} heads, vectors of ${big(C)} numbers, ${big(V)} tokens in the vocabulary. The prompt has ${T === 1 ? "1 token" : `${T} tokens`}:`);
fill("prompt", el("bdi", {}, ...(promptBytes.length ? [new TextDecoder().decode(Uint8Array.from(promptBytes))] : showToken(ids[0]))));

document.querySelectorAll("#pass section").forEach((section, i) => {
  const title = section.querySelector("h2");
  const name = title.firstChild.textContent.trim();
  title.prepend(el("span", { class: "number" }, String(i + 1)));
  $("contents").append(el("li", {}, el("a", { href: `#${section.id}` }, name)));
});
const links = [...document.querySelectorAll("#contents a")];
if ("IntersectionObserver" in window) {
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) links.forEach((link) => link.setAttribute("aria-current", link.hash === `#${entry.target.id}`));
  }), { rootMargin: "-25% 0px -65% 0px" });
  document.querySelectorAll("#pass section").forEach((section) => seen.observe(section));
}

function source(text) {  // docstrings and comments step back
  const code = el("code");
  let at = 0;
  for (const match of text.matchAll(/"""[^]*?"""|#.*$/gm)) {
    code.append(text.slice(at, match.index), el("span", { class: "quiet" }, match[0]));
    at = match.index + match[0].length;
  }
  code.append(text.slice(at));
  return el("pre", { tabindex: 0 }, code);
}
for (const node of document.querySelectorAll(".code")) {
  for (const name of node.dataset.functions.split(" ")) {
    const f = data.functions[name];
    const rows = Object.entries(f.arguments).map(([k, v]) => el("tr", {}, el("th", { scope: "row" }, k), el("td", {}, v)));
    rows.push(el("tr", {}, el("th", { scope: "row" }, "→"), el("td", {}, f.result)));
    const times = f.calls === 1 ? "called once in this run, with" : `called ${f.calls} times in this run, first with`;
    const x = f.arguments.x || f.arguments.q || f.arguments.tokens || f.arguments.logits || f.arguments.text;
    node.append(el("details", {},
      el("summary", {}, el("code", { class: "function" }, name), el("span", { class: "file" }, ` in ${f.file}`),
        el("span", { class: "shapes" }, f.calls ? `${x ? x + " " : ""}→ ${f.result}` : "not called in this run")),
      f.calls ? el("p", { class: "times" }, times) : "",
      f.calls ? el("div", { class: "scroll" }, el("table", { class: "arguments" }, ...rows)) : "", source(f.source)));
  }
}

// ---------- text → tokens ----------

const pieceOf = [];  // [first token, how many] of the piece of each token
{
  const groups = [];
  let first = 0;
  for (const count of data.pieces) {
    const chips = [];
    for (let t = first; t < first + count; t++) {
      pieceOf.push([first, count]);
      chips.push(chip(t, el("span", { class: "below" }, String(ids[t]))));
    }
    groups.push(el("span", { class: "piece", role: "presentation" }, ...chips));
    first += count;
  }
  const select = listbox($("pieces"), "Tokens of the prompt, in pieces", groups, (t) => set({ token: t, pointed: null }));
  on("token", () => select(state.token));
}
on("token", () => {
  const [first, count] = pieceOf[state.token];
  const piece = [...ids.subarray(first, first + count)], token = ids[state.token];
  const long = piece.flatMap(bytesOf).length > 40;  // then only the token's own merges
  const tokens = long ? [token] : piece, bytes = tokens.flatMap(bytesOf);
  heading($("merges-title"), "How the merges made ", el("bdi", { class: "tok" }, ...(special(token) ? showToken(token) : show(bytes))));
  if (special(token)) {
    fill("merges", el("li", {}, `No merges: token ${token} is between texts.`));
    return;
  }
  fill("merges", ...mergesOf(bytes).map((step, i) => {
    const what = i ? `merge ${big(step.merge)}` : bytes.length === 1 ? "1 byte" : `${bytes.length} bytes`;
    const shown = step.tokens.map((id, j) => el("span", { class: i && j === step.merged ? "unit new" : "unit", title: `id ${id}` },
      el("bdi", {}, ...showToken(id)), i ? "" : el("span", { class: "below" }, bytesOf(id)[0].toString(16).padStart(2, "0"))));
    return el("li", { "data-ids": step.tokens.join(" ") }, el("span", { class: "what" }, what), el("span", { class: "units" }, ...shown));
  }));
});

// ---------- vectors ----------

on("token", () => {
  const t = state.token;
  fill("embedding", ...sumRows(t,
    [[el("code", {}, `wte[${ids[t]}]`), " the token ", quoted(ids[t])], WTE],
    [[el("code", {}, `wpe[${t}]`), ` position ${t + 1} of ${T}`], WPE, "+"],
    [[el("code", {}, "x"), " enters block 1"], SUM, "="]),
    el("p", { class: "hint" }, `The first ${N} of ${big(C)} numbers, up for positive, down for negative, with mean, standard deviation σ and length of all ${big(C)}. Point at a bar to read it.`));
});
on("token layer", () => {
  const t = state.token, i = state.layer;
  fill("norm",
    streamRow([el("code", {}, "x"), " the stream enters"], intoBlock(i), t),
    streamRow([el("code", {}, "ln_1"), " for attention"], inBlock(i, LN_1), t, "→"),
    streamRow([el("code", {}, "x"), " after attention"], inBlock(i, MIDDLE), t),
    streamRow([el("code", {}, "ln_2"), " for the MLP"], inBlock(i, LN_2), t, "→"));
  fill("attention-out", ...sumRows(t,
    [[el("code", {}, "x"), " the stream"], intoBlock(i)],
    [[el("code", {}, "attn"), " of all heads"], inBlock(i, ATTN), "+"],
    [[el("code", {}, "x"), " after attention"], inBlock(i, MIDDLE), "="]));
  const before = hidden(i, 0, t), after = hidden(i, 1, t);
  const scale = Math.max(...[...before, ...after].map(Math.abs));
  fill("mlp",
    streamRow([el("code", {}, "ln_2"), " enters the MLP"], inBlock(i, LN_2), t),
    vectorRow([el("code", {}, "c_fc"), " the hidden layer"], before, `the first ${N} of ${big(4 * C)} numbers`, "→", scale),
    vectorRow([el("code", {}, "gelu"), " what passes"], after, "on the same scale", "→", scale),
    streamRow([el("code", {}, "c_proj"), " goes to the stream"], inBlock(i, MLP), t, "→"));
  const active = a.active[i * T + t];
  fill("active", "For ", quoted(ids[t]), `, GELU lets `, el("data", { value: active }, `${big(Math.round(active * 4 * C))} of ${big(4 * C)}`),
    ` hidden numbers through (${(100 * active).toFixed(1)} % are above zero).`);
});

// ---------- attention ----------

const asked = () => state.pointed ?? state.token;
const attentionChips = [...ids].map((_, t) => chip(t, el("span", { class: "below" })));
{
  const select = listbox($("attention"), "Tokens of the prompt, shaded by attention", attentionChips, (t) => set({ token: t, pointed: null }));
  on("token", () => select(state.token));
  attentionChips.forEach((option, t) => option.addEventListener("pointerenter", (event) => {
    if (event.pointerType === "mouse") set({ pointed: t });
  }));
  $("attention").addEventListener("pointerleave", () => set({ pointed: null }));
}
let turn;  // from which shade on the text takes its other colour
function shade(node, w) {
  node.style.setProperty("--w", w);
  node.classList.toggle("strong", w > turn);
}
on("token layer head pointed", () => {
  const t = asked(), { layer, head } = state;
  const weights = [...ids].map((_, s) => s <= t ? weight(layer, head, t, s) : 0);
  heading($("attention-title"), "Head ", String(head + 1), ": whom does ", quoted(ids[t]), ` (token ${t + 1}) attend to?`);
  attentionChips.forEach((option, s) => {
    shade(option, Math.sqrt(weights[s]));
    option.classList.toggle("asked", s === t);
    option.classList.toggle("later", s > t);
    const text = s > t ? "later" : percentText(weights[s]);
    option.lastChild.textContent = s > t || weights[s] < 0.005 ? "" : text;
    option.title = s > t ? "comes later: cannot be seen" : `${weights[s].toFixed(5)} = ${text}`;
  });
  const order = weights.map((_, s) => s).slice(0, t + 1).sort((i, j) => weights[j] - weights[i]).slice(0, 8);
  fill("attention-top", ...order.map((s) => rankingRow(ids[s], weights[s] / weights[order[0]], percent(weights[s]), false,
    el("span", {}, quoted(ids[s]), el("small", {}, ` ${s + 1}`)))));
  const sum = weights.reduce((x, y) => x + y);
  fill("attention-sum", t ? `The ${t + 1} weights sum to ` : "The only weight is ", el("data", { value: sum }, sum.toFixed(3)), ".");
  drawMap();
});
const percentText = (p) => percent(p).textContent;

// Maps: a row for each query, a column for each key; the darker, the more.
let scaleColours;
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => style.getPropertyValue(name).trim().match(/\w\w/g).map((x) => parseInt(x, 16));
  turn = Number(style.getPropertyValue("--turn"));
  const [low, high] = [rgb("--map-low"), rgb("--map-high")];
  scaleColours = Array.from({ length: 256 }, (_, i) => low.map((c, k) => c + (high[k] - c) * i / 255));
}
readColours();
const offscreen = el("canvas", { width: T, height: T });
function mapOf(layer, head) {  // onto a canvas of one pixel for each weight
  const pixels = new ImageData(T, T);
  for (let t = 0; t < T; t++) {
    for (let s = 0; s <= t; s++) {
      // the square root lets small weights be seen
      const c = scaleColours[Math.round(255 * Math.sqrt(weight(layer, head, t, s)))];
      pixels.data.set([c[0], c[1], c[2], 255], 4 * (t * T + s));
    }
  }
  offscreen.getContext("2d").putImageData(pixels, 0, 0);
  return offscreen;
}
function draw(canvas, layer, head, size) {
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = T > size;
  context.imageSmoothingQuality = "high";
  context.drawImage(mapOf(layer, head), 0, 0, size, size);
}
function drawMap() {
  const canvas = $("map"), { layer, head } = state, t = asked(), cell = 720 / T;
  draw(canvas, layer, head, 720);
  const context = canvas.getContext("2d");
  context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  context.lineWidth = 4;
  context.strokeRect(2, Math.min(716 - cell, Math.max(2, t * cell)), Math.max(cell, (t + 1) * cell - 4), Math.max(cell, 4));
  canvas.setAttribute("aria-label", `Attention of head ${head + 1} in block ${layer + 1}: a row for each token, which attends to the columns`);
  fill("map-caption", "A row for each token, the first on top; a column for each that it attends to. The shade is the square root of the weight, so that small ones can be seen.");
}
$("map").addEventListener("pointermove", (event) => {
  const box = $("map").getBoundingClientRect();
  const t = Math.floor((event.clientY - box.top) / box.height * T), s = Math.floor((event.clientX - box.left) / box.width * T);
  if (t < 0 || s < 0 || t >= T || s >= T) return;
  fill("map-caption", quoted(ids[t]), ` (${t + 1}) → `, quoted(ids[s]), ` (${s + 1}): `,
    s > t ? "comes later, cannot be seen" : percent(weight(state.layer, state.head, t, s)));
});
$("map").addEventListener("click", (event) => {
  const box = $("map").getBoundingClientRect();
  set({ token: Math.max(0, Math.min(T - 1, Math.floor((event.clientY - box.top) / box.height * T))), pointed: null });
});

const headOptions = Array.from({ length: H }, (_, i) => el("span", { role: "option", class: "head", "aria-label": `head ${i + 1}` },
  el("canvas", { "aria-hidden": "true" }), el("span", {}, String(i + 1))));
const selectHead = listbox($("heads"), "Heads of this block", headOptions, (i) => set({ head: i }));
on("head", () => selectHead(state.head));
function drawHeads() {
  heading($("heads-title"), `All ${H} heads of block ${state.layer + 1}`);
  headOptions.forEach((option, i) => draw(option.firstChild, state.layer, i, 120));
}
on("layer", drawHeads);

const atlas = $("atlas");
function drawAtlas() {
  if (!$("all-heads").open) return;
  const cell = Math.max(24, Math.floor(1600 / H)), gap = Math.min(8, Math.round(cell / 12));
  atlas.width = H * cell;
  atlas.height = L * cell;
  const context = atlas.getContext("2d");
  context.imageSmoothingQuality = "high";
  for (let i = 0; i < L; i++) for (let j = 0; j < H; j++) {
    context.imageSmoothingEnabled = T > cell;
    context.drawImage(mapOf(i, j), j * cell + gap, i * cell + gap, cell - 2 * gap, cell - 2 * gap);
  }
  context.strokeStyle = getComputedStyle(atlas).getPropertyValue("--accent");
  context.lineWidth = gap;
  context.strokeRect(state.head * cell + gap / 2, state.layer * cell + gap / 2, cell - gap, cell - gap);
}
$("all-heads").addEventListener("toggle", drawAtlas);
on("layer head", drawAtlas);
atlas.addEventListener("click", (event) => {
  const box = atlas.getBoundingClientRect();
  set({ layer: Math.min(L - 1, Math.floor((event.clientY - box.top) / box.height * L)), head: Math.min(H - 1, Math.floor((event.clientX - box.left) / box.width * H)) });
});

// ---------- the residual stream ----------

const steps = [[SUM, "embedding"]];
for (let i = 0; i < L; i++) steps.push([inBlock(i, MIDDLE), `block ${i + 1}, attention`], [inBlock(i, OUT), `block ${i + 1}, MLP`]);
const sizeAt = (row) => a.size[row * T + state.token];
on("token layer", () => {
  const sizes = steps.map(([row]) => sizeAt(row)), most = Math.max(...sizes);
  const every = Math.ceil(L / 12);
  fill("stream", ...sizes.map((size, i) => {
    const block = Math.ceil(i / 2) - 1;
    const label = i === 0 ? "in" : i % 2 && block % every === 0 ? String(block + 1) : "";
    return el("span", { class: `step ${i && i % 2 === 0 ? "mlp" : ""} ${block === state.layer ? "here" : ""}`, title: `${steps[i][1]}: ${number(size)}` },
      el("span", { class: "column", "--h": size / most }), el("span", { class: "label" }, label));
  }));
  const i = state.layer;
  fill("stream-text", "The vector of ", quoted(ids[state.token]), ` is ${number(sizes[0])} long when it enters the model and ${number(sizes.at(-1))} after the last block. `,
    `In block ${i + 1}, attention adds a vector of length ${number(sizeAt(inBlock(i, ATTN)))}, which makes it ${number(sizes[2 * i + 1])}; the MLP adds ${number(sizeAt(inBlock(i, MLP)))}, which makes it ${number(sizes[2 * i + 2])}. `,
    "Faint columns are after attention, strong ones after the MLP.");
  fill("stream-table", el("tr", {}, el("th", {}, "after"), el("th", {}, "length")),
    ...sizes.map((size, j) => el("tr", {}, el("td", {}, steps[j][1]), el("td", {}, el("data", { value: size }, number(size))))));
});

// ---------- logit lens ----------

on("token layer", () => {
  const t = state.token, top = a.lens.length / L / T;
  fill("lens-where", "after ", quoted(ids[t]), t === T - 1 ? ", the last token" : "; the token that follows is ", ...(t === T - 1 ? [] : [quoted(ids[t + 1])]));
  fill("lens", ...Array.from({ length: L }, (_, i) => el("li", { class: i === state.layer ? "here" : "" },
    el("span", { class: "what" }, `block ${i + 1}`),
    ...Array.from({ length: top }, (_, k) => {
      const at = (i * T + t) * top + k, p = a.lens_p[at];
      const cell = el("span", { class: "cell", "data-id": a.lens[at] }, quoted(a.lens[at]), percent(p));
      shade(cell, p);
      cell.classList.toggle("right", t < T - 1 && a.lens[at] === ids[t + 1]);
      return cell;
    }))));
});

// ---------- the last logits ----------

const logits = a.logits;
const ranked = Array.from(logits.keys()).sort((i, j) => logits[j] - logits[i] || i - j);
{
  const most = logits[ranked[0]], least = logits[ranked[V - 1]], BINS = 64;
  const counts = new Array(BINS).fill(0);
  for (const z of logits) counts[Math.min(BINS - 1, Math.floor((z - least) / (most - least || 1) * BINS))]++;
  const highest = Math.max(...counts), edge = (i) => number(least + (most - least) * i / BINS);
  fill("histogram", ...counts.map((n, i) => el("span", { class: "step", title: `${big(n)} logits from ${edge(i)} to ${edge(i + 1)}` },
    el("span", { class: "column", "--h": n / highest }))));
  $("histogram").setAttribute("role", "img");
  $("histogram").setAttribute("aria-label", `Histogram of ${big(V)} logits from ${number(least)} to ${number(most)}`);
  const mean = logits.reduce((x, y) => x + y, 0) / V;
  fill("logits-text", `${big(V)} logits, from ${number(least)} on the left to ${number(most)} on the right, ${number(mean)} on average. The highest ten:`);
  fill("logits-top", ...ranked.slice(0, 10).map((id) => rankingRow(id, (logits[id] - least) / (most - least || 1), el("data", { value: logits[id] }, number(logits[id], 3)))));
}

// ---------- sampling, step by step as in sampling.py ----------

function probabilities(temperature, topK, topP) {
  const likeliest = ranked[0];
  if (temperature === 0) return { tokens: [likeliest], p: Float64Array.of(1) };
  let tokens = Array.from(logits.keys());
  if (topK < V) {
    const kth = logits[ranked[topK - 1]];
    tokens = tokens.filter((id) => logits[id] >= kth);
  }
  let p = Float64Array.from(tokens, (id) => Math.exp(Math.fround(logits[id] - logits[likeliest]) / temperature));
  const total = p.reduce((x, y) => x + y);
  p = p.map((x) => x / total);
  if (topP < 1) {
    const descending = p.slice().sort().reverse();
    let n = 0;
    for (let sum = 0; n < p.length && (sum += descending[n]) <= topP;) n++;
    const least = descending[Math.max(n - 1, 0)];
    tokens = tokens.filter((_, i) => p[i] >= least);
    p = p.filter((x) => x >= least);
    const rest = p.reduce((x, y) => x + y);
    p = p.map((x) => x / rest);
  }
  return { tokens, p };
}

const SHOWN = 20;
// 1, 2, 3, … 10, 12, 15, … up to the whole vocabulary
const topKs = [...Array(10).keys()].map((i) => i + 1);
for (let power = 10; power < V; power *= 10) {
  for (const k of [1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) if (k * power < V) topKs.push(Math.round(k * power));
}
topKs.push(V);
$("topk").max = topKs.length - 1;
$("topk").value = topKs.indexOf(40);

const everyone = probabilities(1, V, 1).p;  // by id
let kept;
function drawNext() {
  const temperature = Number($("temperature").value), topK = topKs[$("topk").value], topP = Number($("topp").value);
  kept = probabilities(temperature, topK, topP);
  const by = new Map(kept.tokens.map((id, i) => [id, kept.p[i]]));
  fill("temperature-out", temperature.toFixed(2) + (temperature === 0 ? ": the likeliest" : temperature === 1 ? ": as trained" : ""));
  fill("topk-out", topK === V ? `${big(V)}: all` : big(topK));
  fill("topp-out", topP === 1 ? "1: all" : topP.toFixed(2));
  $("topk").setAttribute("aria-valuetext", $("topk-out").textContent);
  const before = kept.tokens.reduce((sum, id) => sum + everyone[id], 0);
  fill("kept", el("data", { value: kept.tokens.length }, big(kept.tokens.length)), ` of ${big(V)} tokens ${kept.tokens.length === 1 ? "is" : "are"} kept. At temperature 1 they have `, percent(before), " of all probability.");
  const shown = ranked.slice(0, Math.min(SHOWN, V)), most = by.get(ranked[0]) || 1;
  fill("next", ...shown.map((id) => {
    const row = rankingRow(id, (by.get(id) || 0) / most, by.has(id) ? percent(by.get(id)) : el("data", { value: 0 }, "cut"), !by.has(id));
    row.dataset.id = id;
    return row;
  }));
  drawChosen();
}
for (const id of ["temperature", "topk", "topp"]) $(id).addEventListener("input", drawNext);

function drawChosen() {
  const r = Number($("random").value);
  let i = 0;
  for (let sum = 0; i < kept.p.length && (sum += kept.p[i]) <= r;) i++;
  i = Math.min(i, kept.p.length - 1);
  const id = kept.tokens[i];
  fill("random-out", r.toFixed(4));
  $("random").setAttribute("aria-valuetext", r.toFixed(4));
  const stretches = [];  // the small ones are drawn as one
  let from = 0, sum = 0;
  kept.p.forEach((p, j) => {
    const close = (kind) => { if (sum > from) stretches.push(el("span", { class: kind, "--from": from, "--size": sum - from })); from = sum; };
    if (p < 0.004 && j !== i) { sum += p; return; }
    close("many");
    sum += p;
    const stretch = el("span", { class: j === i ? "one hit" : "one", "--from": from, "--size": p, title: `${plain(kept.tokens[j])} ${percentText(p)}` });
    if (p > 0.05) stretch.append(el("bdi", {}, ...showToken(kept.tokens[j])));
    stretches.push(stretch);
    from = sum;
  });
  if (sum > from) stretches.push(el("span", { class: "many", "--from": from, "--size": sum - from }));
  fill("line", ...stretches, el("span", { class: "needle", "--from": r }));
  const tail = [...ids.subarray(Math.max(0, T - 12))].flatMap(bytesOf);
  const node = $("chosen");
  node.replaceChildren(el("span", { class: "tail" }, T > 12 ? "… " : "", el("bdi", {}, ...show(tail))),
    el("bdi", { class: "tok new" }, ...showToken(id)), el("span", { class: "facts" }, ` token ${id}, `, percent(kept.p[i])));
  node.dataset.id = id;
}
$("random").addEventListener("input", drawChosen);
$("draw").addEventListener("click", () => { $("random").value = Math.random(); drawChosen(); });

// ---------- the second view: surprise ----------

const MOST_BITS = 16;
{
  const chips = [...ids].map((_, t) => {
    const bits = t ? a.bits[t - 1] : 0;
    const option = chip(t, el("span", { class: "below" }, t ? bits.toFixed(1) : "given"));
    shade(option, Math.min(1, bits / MOST_BITS));
    option.title = t ? `probability ${(2 ** -bits).toPrecision(3)}, rank ${big(a.rank[t - 1])}, ${bits.toFixed(2)} bits` : "the first token is given";
    option.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") set({ pointed: t }); });
    return option;
  });
  const select = listbox($("bits"), "Tokens of the prompt, shaded by surprise", chips, (t) => set({ token: t, pointed: null }));
  $("bits").addEventListener("pointerleave", () => set({ pointed: null }));
  on("token", () => select(state.token));
  const total = a.bits.reduce((x, y) => x + y, 0);
  fill("bits-mean", ...(T > 1 ? ["Altogether ", el("data", { value: total }, `${total.toFixed(1)} bits`), ` for ${T - 1} ${T === 2 ? "token" : "tokens"}, ${(total / (T - 1)).toFixed(2)} bits each: the model was as unsure as if it chose among ${(2 ** (total / (T - 1))).toFixed(1)} equally likely tokens each time (its perplexity).`] : ["The prompt has one token, and that is given: there is nothing to foresee."]));
  fill("bits-table", el("tr", {}, ...["", "token", "probability", "rank", "bits"].map((name) => el("th", { scope: "col" }, name))),
    ...[...ids].map((id, t) => el("tr", {}, el("td", {}, String(t + 1)), el("td", {}, quoted(id)),
      ...(t ? [el("td", {}, percent(2 ** -a.bits[t - 1])), el("td", {}, big(a.rank[t - 1])), el("td", {}, el("data", { value: a.bits[t - 1] }, a.bits[t - 1].toFixed(2)))] : [el("td", { colspan: 3 }, "given")]))));
}
on("token pointed", () => {
  const t = asked(), top = a.lens.length / L / T;
  if (!t) {
    fill("bits-detail", el("h3", {}, quoted(ids[0]), " is the first token: nothing came before it."));
    return;
  }
  const bits = a.bits[t - 1], at = ((L - 1) * T + t - 1) * top;
  fill("bits-detail",
    el("h3", {}, quoted(ids[t]), ` (token ${t + 1}) had probability `, percent(2 ** -bits), `, rank ${big(a.rank[t - 1])} of ${big(V)}: ${bits.toFixed(2)} bits`),
    el("p", {}, "The model expected:"),
    el("ol", { class: "ranking" }, ...Array.from({ length: top }, (_, k) => rankingRow(a.lens[at + k], a.lens_p[at + k], percent(a.lens_p[at + k])))));
});

const tabs = ["pass", "surprise"];
function view(name) {
  for (const tab of tabs) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  document.body.dataset.view = name;
}
for (const tab of tabs) {
  $(`tab-${tab}`).addEventListener("click", () => view(tab));
  $(`tab-${tab}`).addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    const other = tabs.find((name) => name !== tab);
    view(other);
    $(`tab-${other}`).focus();
  });
}

// ---------- begin ----------

$("random").value = data.random;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  document.querySelectorAll(".shaded .chip, .cell").forEach((node) => shade(node, node.style.getPropertyValue("--w")));
  drawMap();
  drawHeads();
  drawAtlas();
});
for (const [, draw] of drawers) draw();
drawNext();
view("pass");
document.documentElement.dataset.ready = "true";
