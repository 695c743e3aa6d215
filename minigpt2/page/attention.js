// Stations 4 and 5: whom a token attends to, how the weights are computed, and what comes back.
"use strict";

const asked = () => state.pointed ?? state.token;
const weightsOf = (t, layer = state.layer, head = state.head) => Array.from({ length: t + 1 }, (_, s) => weight(layer, head, t, s));
const strongest = (weights, n) => Array.from(weights.keys()).sort((i, j) => weights[j] - weights[i]).slice(0, n);
// the token that is looked at: the chosen one, or the one with the largest weight
const looked = (t) => state.key !== null && state.key <= t ? state.key : strongest(weightsOf(t), 1)[0];
const dot = (x, y) => x.reduce((sum, xi, i) => sum + xi * y[i], 0);

// ---------- 4: who looks at whom ----------

let shades;
tokenList("attention", "s-4", "Tokens of the prompt, shaded by attention", () => shades = Array.from(ids, (_, t) => chip(t)));
$("attention").addEventListener("pointerover", (event) => {
  const t = shades.indexOf(event.target.closest(".chip"));
  if (event.pointerType === "mouse" && t >= 0) set({ pointed: t });
});
$("attention").addEventListener("pointerleave", () => set({ pointed: null }));
let turn;  // from which shade on the text takes its other colour
function shade(node, w) {
  node.style.setProperty("--w", w);
  node.classList.toggle("strong", w > turn);
  return node;
}
on("pass token layer head pointed key", "s-4", () => {
  const t = asked(), s = looked(t), weights = weightsOf(t), q = ofHead(a.q, t);
  fill("attention-title", `Block ${state.layer + 1}, head ${state.head + 1}: whom does `, quoted(ids[t]), ` (token ${t + 1}) attend to?`);
  shades.forEach((node, i) => {
    const p = weights[i] ?? 0;
    shade(node, Math.sqrt(p)).classList.toggle("asked", i === t);
    node.classList.toggle("later", i > t);
    node.lastChild.textContent = p < 0.005 ? "" : percentText(p);
  });
  const scores = weights.map((_, i) => dot(q, ofHead(a.k, i)) / Math.sqrt(D)), highest = Math.max(...scores);
  const total = scores.reduce((sum, x) => sum + Math.exp(x - highest), 0), sum = weights.reduce((x, y) => x + y);
  const shown = strongest(weights, 8), others = t + 1 - shown.length;
  if (!shown.includes(s)) shown[shown.length - 1] = s;
  fill("softmax", ...table(["looks at", "q · k", "/ √D", "exp(…−max)", "", "weight"], [
    ...shown.map((i) => row({ class: i === s ? "here" : "" }, link({ token: t + 1, key: i + 1 }, quoted(ids[i]), el("small", {}, ` ${i + 1}`)),
      number(scores[i] * Math.sqrt(D)), number(scores[i]), number(Math.exp(scores[i] - highest), 4), bar(weights[i] / weights[shown[0]]), percent(weights[i]))),
    others ? [`${big(others)} more`, "", "", "", "", percentText(Math.max(0, sum - shown.reduce((x, i) => x + weights[i], 0)))] : "",
    t < T - 1 ? [count(T - 1 - t, "later token"), "", "−∞", "0", "", "0 %"] : "",
    ["sum", "", "", number(total, 4), "", value(sum, number(sum, 3))]]));
  const k = ofHead(a.k, s), products = q.map((x, i) => x * k[i]);
  fill("score-title", "One score: what ", quoted(ids[t]), " looks for, and what ", quoted(ids[s]), " has to offer");
  fill("score",
    ...vectors({ name: [code("q"), " of ", quoted(ids[t])], values: q, facts: `${D} numbers, from c_attn` }, { name: [code("k"), " of ", quoted(ids[s])], values: k, sign: "×", facts: "each times the one above it" }),
    ...vectors({ name: ["products"], values: products, sign: "=", facts: `their sum is q · k = ${number(scores[s] * Math.sqrt(D))}` }));
  fill("score-text", `q · k = ${number(scores[s] * Math.sqrt(D))}. Divided by √${D} it is `, value(scores[s], number(scores[s])), `. Token ${s + 1} is not after token ${t + 1}, so the mask leaves it. `,
    `Softmax first takes away the highest score, ${number(highest)}, so that no power is too large (no share changes), and makes exp(${number(scores[s] - highest)}) = ${number(Math.exp(scores[s] - highest), 3)} of it; divided by the sum ${number(total, 3)}, that is the weight: `, value(weights[s], number(weights[s], 3)), ".");
});

// Maps: a row for each query, a column for each key; the darker, the more.
let scaleColours;
function readColours() {
  const style = getComputedStyle($("scale-probe")), rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
  turn = Number(style.getPropertyValue("--turn"));
  const low = rgb(style.backgroundColor), high = rgb(style.color);
  scaleColours = Uint32Array.from({ length: 256 }, (_, i) => low.slice(0, 3).reduce((all, c, k) => all | Math.round(c + (high[k] - c) * i / 255) << 8 * k, 255 << 24));
}
const small = el("canvas");
function mapOf(layer, head) {  // onto a canvas of one pixel for each weight
  small.width = small.height = T;
  const image = new ImageData(T, T), pixels = new Uint32Array(image.data.buffer);
  for (let t = 0, at = (layer * H + head) * T * (T + 1) / 2; t < T; t++) {
    // the square root lets small weights be seen
    for (let s = 0; s <= t; s++) pixels[t * T + s] = scaleColours[Math.round(Math.sqrt(a.attention[at++] / 65535) * 255)];
  }
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}
const map = el("canvas", { "aria-hidden": true }), atlas = el("canvas", { "aria-hidden": true });
const labels = (kind, all) => el("div", { class: `labels ${kind}`, "aria-hidden": true }, ...Array.from(all, (nodes) => el("bdi", {}, ...nodes)));
const axes = (name, columns, rows, plot) => [el("span", { class: "axis-name" }, name), labels("keys", columns), labels("queries", rows), plot];
on("pass", "s-4", () => {
  const read = (s, t) => [quoted(ids[t]), ` (${t + 1}) → `, quoted(ids[s]), ` (${s + 1}): `, s > t ? "comes later, cannot be seen" : percent(weight(state.layer, state.head, t, s))];
  const names = Array.from(T <= 40 ? ids : [], showToken);
  $("s-4").classList.toggle("single", T === 1);
  fill("map", ...axes("a token ↓ looks at →", names, names,
    readable(map, "Attention map: a row for each token, a column for each that it looks at", T, T, read, $("map-read"), (s, t) => set({ token: t, key: s <= t ? s : null, pointed: null }))));
  $("map").style.setProperty("--rows", T);
});
on("pass layer head", "s-4", () => {
  map.width = map.height = T;
  map.getContext("2d").drawImage(mapOf(state.layer, state.head), 0, 0);
});
on("pass token pointed", "s-4", () => $("map").style.setProperty("--row", asked()));

on("pass", "s-4", () => {
  const cell = Math.max(24, Math.floor(1600 / H)), gap = Math.max(1, Math.round(cell / 20)), size = cell - 2 * gap, context = atlas.getContext("2d");
  [atlas.width, atlas.height] = [H * cell, L * cell];
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = T > size;
  for (let i = 0; i < L; i++) for (let j = 0; j < H; j++) context.drawImage(mapOf(i, j), j * cell + gap, i * cell + gap, size, size);
});
on("pass layer head", "s-4", () => Object.entries({ "--row": state.layer, "--column": state.head }).forEach((at) => $("atlas").style.setProperty(...at)));
const counted = (n, name) => Array.from({ length: n }, (_, i) => [name + (i + 1)]);
$("atlas").append(...axes("block ↓ head →", counted(H, ""), counted(L, "block "), readable(atlas, "Small attention maps: a row for each block, a column for each head", H, L,
  (j, i) => [`Block ${i + 1}, head ${j + 1}: adds `, value(added(i, j, state.token), number(added(i, j, state.token))), " to the stream of the chosen token"], $("atlas-read"), (head, layer) => set({ layer, head, key: null }))));

// ---------- 5: what they bring back ----------

on("pass token layer head key", "s-5", () => {
  const t = state.token, { layer, head } = state, weights = weightsOf(t), sum = new Float32Array(D);
  weights.forEach((w, s) => ofHead(a.v, s).forEach((x, i) => { sum[i] += w * x; }));
  const shown = strongest(weights, 3), rest = t + 1 - shown.length;
  fill("values", ...vectors(
    ...shown.map((s, i) => ({ name: [value(weights[s], number(weights[s], 3)), " × ", code("v"), " of ", quoted(ids[s])], values: ofHead(a.v, s).map((x) => x * weights[s]), sign: i ? "+" : "", facts: `token ${s + 1}` })),
    { name: [code("A v"), " of this head"], values: sum, sign: "=", facts: rest ? `with ${count(rest, "more token")}` : `${D} numbers` }));
  const lengths = Array.from({ length: H }, (_, h) => added(layer, h, t));
  columns("added", "What each head adds to the stream", lengths, (h) => [`head ${h + 1} adds `, value(lengths[h], number(lengths[h]))],
    lengths.map((_, h) => H <= 16 || h % 4 === 3 ? String(h + 1) : ""), lengths.map((_, h) => h === head ? "here" : ""));
  fill("attention-out", ...vectors(
    stream([code("x"), " the stream"], intoBlock(layer)),
    stream([code("attn"), " of all heads"], inBlock(layer, ATTN), "+"),
    stream([code("x"), " after attention"], inBlock(layer, MIDDLE), "=")));
});
