// From logits to the next token.
"use strict";

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
