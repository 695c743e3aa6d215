// The page runs: another text, the next token, two texts, and heads and MLPs switched off.
"use strict";

const texts = [null, null];  // A and B: { ids, pieces, whole, pass }; whole is the pass with all parts on
const allOn = Array.from({ length: L }, () => ({ heads: [], mlp: false }));
let which = 0, off = structuredClone(allOn), playing = false;
const field = (i) => $(i ? "text-b" : "text-a");
const both = () => $("two").getAttribute("aria-pressed") === "true";
const textOf = (ids) => new TextDecoder().decode(Uint8Array.from(Array.from(ids).filter((id) => !special(id)).flatMap(bytesOf)));

// ---------- the worker ----------

let worker;
const waiting = [];
const ask = (ids, off) => new Promise((resolve, reject) => {
  waiting.push({ resolve, reject });
  worker.postMessage({ ids, off });
});
function startWorker() {
  worker = new Worker(URL.createObjectURL(new Blob([$("engine").textContent], { type: "text/javascript" })));
  worker.onmessage = ({ data: pass }) => waiting.shift().resolve(pass);
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of waiting.splice(0)) reject(new Error(`The model does not run in this browser${event.message ? `: ${event.message}` : ""}.`));
  };
  const weights = Object.fromEntries(Object.entries(data.weights).map(([name, array]) => [name, unpack(array)]));
  worker.postMessage({ model: { config: data.config, weights, page: { numbers: N, top: TOP, most: data.most } } }, Object.values(weights).map(({ buffer }) => buffer));
  delete data.weights;
}

// ---------- what is done, one thing at a time ----------

const say = (text, wrong = false) => {
  fill("live-says", text);
  $("live-says").classList.toggle("wrong", wrong);
};
let task, busy = false;
async function perform(next) {  // of several that wait, the last is done
  task = next;
  if (busy) return;
  busy = true;
  $("live").setAttribute("aria-busy", true);
  for (; task;) {
    const now = task;
    task = null;
    try { await now(); } catch (error) { say(error.message, true); }
  }
  busy = false;
  $("live").removeAttribute("aria-busy");
}

// The passes of a text: with all parts on, and with those off that are off now.
async function compute(text) {
  text.whole ??= { ...await ask(text.ids, allOn), pieces: text.pieces };
  while (text.off !== off) {
    const now = off;
    text.pass = now.some(({ heads, mlp }) => mlp || heads.length) ? { ...await ask(text.ids, now), pieces: text.pieces } : text.whole;
    text.off = now;
  }
}
async function run() {
  const start = performance.now(), n = both() ? 2 : 1;
  for (let i = 0; i < n; i++) {
    const typed = field(i).value;
    if (texts[i]?.typed === typed) continue;
    const { ids, pieces } = encode(typed, data.longest);
    say(`Reading ${count(ids.length, "token")} …`);
    texts[i] = { ids: Array.from(ids), pieces, typed };
  }
  await showText(which);
  say(`${count(texts.slice(0, n).reduce((sum, { ids }) => sum + ids.length, 0), "token")} read in ${((performance.now() - start) / 1000).toFixed(2)} s.`);
}
async function showText(i, changes) {
  which = i;
  for (const text of texts) if (text) await compute(text);
  show(texts[i].pass, changes);
  drawCompared();
  drawEffect();
}

// One token more, chosen as station 8 shows it.
async function next() {
  if (field(which).value !== texts[which].typed) await run();
  const text = texts[which];
  if (text.ids.length >= data.longest) throw new RangeError(`The text is full: this page reads at most ${big(data.longest)} tokens.`);
  rank(text.pass.logits);
  kept = probabilities(...settings());
  const id = kept.tokens[drawn(Number($("random").value))];
  $("random").value = Math.random();
  const ids = [...text.ids, id], typed = textOf(ids);
  texts[which] = { ids, pieces: [...text.pieces, 1], typed };
  field(which).value = typed;
  grow(field(which));
  await showText(which);
  return id;
}
async function play() {
  const start = performance.now();
  $("live-says").setAttribute("aria-live", "off");  // else each token is announced
  try {
    for (let n = 1; playing; n++) {
      const id = await next(), rate = n / (performance.now() - start) * 1000;
      say(`${number(rate, 1)} tokens a second`);
      if (data.ends.includes(id)) playing = false;
      await new Promise(requestAnimationFrame);
    }
  } finally {
    playing = false;
    fill("play", "Play");
    $("live-says").removeAttribute("aria-live");
  }
}

// ---------- two texts ----------

function chances(logits) {
  const max = logits.reduce((x, y) => Math.max(x, y)), p = Float64Array.from(logits, (z) => Math.exp(z - max)), sum = p.reduce((x, y) => x + y);
  return p.map((x) => x / sum);
}
// The likeliest tokens of two distributions beside each other, and the loss of each.
function beside(names, passes) {
  const p = passes.map(({ logits }) => chances(logits)), tops = passes.map((pass) => lensOf(pass));
  const ids = [...new Set(tops.flat())].sort((i, j) => Math.max(p[0][j], p[1][j]) - Math.max(p[0][i], p[1][i]));
  const loss = passes.map(({ bits }) => bits.length ? mean(Array.from(bits)) : NaN);
  const most = Math.max(...ids.flatMap((id) => [p[0][id], p[1][id]])), shownLoss = (x) => value(x, Number.isNaN(x) ? "none" : `${number(x)} bits`);
  return { loss, table: el("table", { class: "ranking beside" }, ...table(["token", names[0], "", names[1], ""], [
    ...ids.map((id) => [quoted(id), percent(p[0][id]), bar(p[0][id] / most), percent(p[1][id]), bar(p[1][id] / most)]),
    ["loss", shownLoss(loss[0]), "", shownLoss(loss[1]), ""]])) };
}
const lensOf = ({ lens: all, tokens }) => Array.from(nth(all, L * tokens.length - 1, TOP));
function drawCompared() {
  $("compared").hidden = !both() || !texts[1];
  if ($("compared").hidden) return;
  const choice = (i) => el("button", { type: "button", "aria-pressed": which === i, onclick: () => perform(() => showText(i)) }, "AB"[i]);
  fill("compared", el("p", { class: "controls" }, "The page shows ", choice(0), choice(1)), beside(["A", "B"], texts.map(({ pass }) => pass)).table);
}

// ---------- switches ----------

const isOff = (layer, part) => part === H ? off[layer].mlp : off[layer].heads.includes(part);
function flip(change) {
  off = allOn.map((_, layer) => {
    const parts = Array.from({ length: H + 1 }, (_, part) => change(layer, part));
    return { heads: [...parts.slice(0, H).keys()].filter((h) => parts[h]), mlp: parts[H] };
  });
  drawGrid();
  perform(async () => {
    await showText(which, { token: state.token, key: state.key });
    say("");
  });
}
const partName = (layer, part) => `block ${layer + 1}, ${part === H ? "MLP" : `head ${part + 1}`}`;
function buildGrid() {
  const cell = (layer, part) => el("button", { type: "button", onclick: () => flip((i, j) => isOff(i, j) !== (i === layer && j === part)) }, part === H ? "MLP" : String(part + 1));
  $("grid").style.setProperty("--heads", H);
  fill("grid", ...allOn.flatMap((_, layer) => [el("span", { class: "lane" }, `block ${layer + 1}`), ...Array.from({ length: H + 1 }, (_, part) => cell(layer, part))]));
  walk($("grid"), "button", undefined, H + 1);
  const preset = (name, change) => el("button", { type: "button", onclick: () => flip(change) }, name);
  fill("presets", preset("All on", () => false), preset("No heads", (i, j) => j < H || isOff(i, H)), preset("No MLPs", (i, j) => j === H || isOff(i, j)),
    el("button", { type: "button", id: "only", onclick: () => flip((i, j) => j < H ? i !== state.layer || j !== state.head : isOff(i, H)) }));
}
function drawGrid() {
  const n = off.reduce((n, { heads, mlp }) => n + heads.length + mlp, 0);
  fill("switching", n ? `Switches: ${n} off` : "Switches");
  $("grid").querySelectorAll("button").forEach((button, n) => {
    const layer = Math.floor(n / (H + 1)), part = n % (H + 1), now = isOff(layer, part);
    button.setAttribute("aria-pressed", !now);
    button.setAttribute("aria-label", `${partName(layer, part)}: ${now ? "off" : "on"}`);
  });
}
function drawEffect() {
  const { whole, pass } = texts[which];
  if (whole === pass) return fill("effect", el("p", {}, "All parts are on. Switch some off: what changes is shown here."));
  const { loss: [before, after], table } = beside(["all on", "now"], [whole, pass]);
  fill("effect", el("p", {}, Number.isNaN(before) ? "A text of one token has no loss." : "The loss of the text goes from ",
    ...(Number.isNaN(before) ? [] : [value(before, `${number(before)}`), " to ", value(after, `${number(after)} bits`), ` per token: ${after < before ? "−" : "+"}${number(Math.abs(after - before), 3)}.`])), table);
}
on("layer head", null, () => { if ($("only")) fill("only", `No heads but ${state.layer + 1}·${state.head + 1}`); });

// ---------- begin ----------

function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
// The pass with which the page opens: it is in the page or, if that is long, made here.
async function opening() {
  const pass = { ...written, pieces: data.pieces };
  if (!worker) return pass;
  if (written.vectors) texts[0].whole = pass;
  await perform(() => compute(texts[0]));
  drawEffect();
  return texts[0].pass;
}
if (data.weights) {
  startWorker();
  for (const id of ["live", "rounded"]) $(id).hidden = false;
  $("prompt").classList.add("in-print");
  field(0).value = textOf(written.tokens);
  texts[0] = { ids: Array.from(written.tokens), pieces: data.pieces, typed: field(0).value };
  buildGrid();
  drawGrid();
  if (data.untyped) {
    for (const node of document.querySelectorAll("#live .typed")) node.hidden = true;
    fill("fixed", `No other text can be typed here: ${data.untyped}, and this page does not.`);
  }
  $("fixed").hidden = !data.untyped;
  for (const i of [0, 1]) {
    field(i).addEventListener("input", () => grow(field(i)));
    field(i).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      $("run").focus();  // then n and p lead through the stations
      $("run").click();
    });
    grow(field(i));
  }
  on("size", null, () => [0, 1].forEach((i) => grow(field(i))));  // when the type is larger
  $("run").addEventListener("click", () => { playing = false; perform(run); });
  $("step").addEventListener("click", () => perform(async () => { say(""); const id = await next(); fill("live-says", "Next: ", quoted(id)); }));
  $("play").addEventListener("click", () => {
    playing = !playing;
    fill("play", playing ? "Stop" : "Play");
    if (playing) perform(play);
  });
  $("two").addEventListener("click", () => {
    $("two").setAttribute("aria-pressed", !both());
    $("label-b").hidden = !both();
    if (both()) field(1).focus();
    else if (which) perform(() => showText(0));
    drawCompared();
  });
  $("switching").addEventListener("click", () => {
    $("switches").hidden = !$("switches").hidden;
    $("switching").setAttribute("aria-pressed", !$("switches").hidden);
  });
}
