// Station 4: whom a token attends to.
"use strict";

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
