// Station 8: logits → the next token. Sampling step by step as in sampling.py.
"use strict";

let rankedOf, position, logits, ranked, everyone, kept;  // everyone: all probabilities by id

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

const BINS = 64, SHOWN = 20;
function rank(z) {
  logits = z;
  ranked = Array.from(logits.keys()).sort((i, j) => logits[j] - logits[i] || i - j);
  everyone = probabilities(1, V, 1).p;
}
on("pass token", "s-8", () => {
  const all = a.all_logits?.length === T * V, before = rankedOf;
  position = all ? state.token : T - 1;
  rankedOf = `${state.pass} ${position}`;
  if (rankedOf === before) return;
  rank(all ? nth(a.all_logits, position, V) : a.logits);
  const high = logits[ranked[0]], low = logits[ranked[V - 1]], edge = (i) => number(low + (high - low) * i / BINS);
  const counts = new Array(BINS).fill(0);
  for (const z of logits) counts[Math.min(BINS - 1, Math.floor((z - low) / (high - low || 1) * BINS))]++;
  fill("logits-text", "After ", quoted(ids[position]), ` (token ${position + 1}`, all ? ")" : "; of so long a prompt the page has only the last token's logits)",
    `: ${big(V)} logits, from ${number(low)} to ${number(high)}, ${number(logits.reduce((x, y) => x + y, 0) / V)} on average. How many there are of each size:`);
  columns("histogram", `Histogram of ${big(V)} logits`, counts, (i) => [`${big(counts[i])} logits from ${edge(i)} to ${edge(i + 1)}`],
    counts.map((_, i) => i % 16 === 0 ? edge(i) : ""));
  drawNext();
});

// 1, 2, 3, … 10, 12, 15, … up to the whole vocabulary
const topKs = [...Array(10).keys()].map((i) => i + 1);
for (let power = 10; power < V; power *= 10) {
  for (const k of [1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) if (k * power < V) topKs.push(Math.round(k * power));
}
topKs.push(V);
$("topk").max = topKs.length - 1;
$("topk").value = topKs.indexOf(40);
$("random").value = data.random;

const settings = () => [Number($("temperature").value), topKs[$("topk").value], Number($("topp").value)];
function drawNext() {
  const [temperature, topK, topP] = settings();
  kept = probabilities(temperature, topK, topP);
  const by = new Map(kept.tokens.map((id, i) => [id, kept.p[i]])), n = kept.tokens.length;
  fill("temperature-out", temperature.toFixed(2) + (temperature === 0 ? ": the likeliest" : temperature === 1 ? ": as trained" : ""));
  fill("topk-out", topK === V ? `${big(V)}: all` : big(topK));
  fill("topp-out", topP === 1 ? "1: all" : topP.toFixed(2));
  $("topk").setAttribute("aria-valuetext", $("topk-out").textContent);
  const likeliest = ranked[0], before = kept.tokens.reduce((sum, id) => sum + everyone[id], 0), raw = everyone[likeliest];
  const up = (z) => temperature ? Math.exp((z - logits[likeliest]) / temperature) : Number(z === logits[likeliest]);
  fill("kept", value(n, big(n)), ` of ${big(V)} tokens ${n === 1 ? "is" : "are"} kept. At temperature 1 they have `, percent(before), " of all probability. ",
    ...(n < V && temperature === 1 ? ["What is left is made to sum to 1 again: ", quoted(likeliest), ` had ${percentText(raw)}, as in the lens of station 7, and now has ${percentText(raw)} / ${percentText(before)} = ${percentText(by.get(likeliest))}.`] : []));
  const shown = ranked.slice(0, Math.min(SHOWN, V));
  fill("next", ...table(["token", "logit", "exp((logit − max) / temperature)", "", "probability"], [
    ...shown.map((id) => row({ class: by.has(id) ? "" : "off", "data-id": id }, quoted(id), number(logits[id], 3), by.has(id) ? number(up(logits[id]), 4) : "",
      bar((by.get(id) || 0) / (by.get(likeliest) || 1)), by.has(id) ? percent(by.get(id)) : value(0, "cut"))),
    ["sum of all kept", "", number(kept.tokens.reduce((sum, id) => sum + up(logits[id]), 0), 4), "", "100 %"]]));
  drawChosen();
}
for (const id of ["temperature", "topk", "topp"]) $(id).addEventListener("input", drawNext);

function drawn(r) {  // the index of the token on whose stretch r falls
  let i = 0;
  for (let sum = 0; i < kept.p.length && (sum += kept.p[i]) <= r;) i++;
  return Math.min(i, kept.p.length - 1);
}
function drawChosen() {
  const r = Number($("random").value), i = drawn(r), id = kept.tokens[i];
  fill("random-out", r.toFixed(4));
  $("random").setAttribute("aria-valuetext", r.toFixed(4));
  const stretches = [];
  let from = 0;
  kept.p.forEach((p, j) => {
    if (p >= 0.004 || j === i) stretches.push(el("span", { class: j === i ? "one hit" : "one", "--from": from, "--size": p }, p > 0.05 ? el("bdi", {}, ...showToken(kept.tokens[j])) : ""));
    from += p;
  });
  const read = (at) => [quoted(kept.tokens[drawn(at / 500)]), " has ", percent(kept.p[drawn(at / 500)]), "; choose to set the random number here"];
  fill("line", readable(el("div", { class: "line" }, ...stretches), "The probabilities, laid end to end", 500, 1, read, $("line-read"), (at) => { $("random").value = at / 500; drawChosen(); }),
    el("span", { class: "needle", "--from": r }));
  const node = $("chosen"), tail = [...ids.subarray(Math.max(0, position - 11), position + 1)].flatMap(bytesOf);
  node.replaceChildren(el("span", { class: "tail" }, position > 11 ? "… " : "", el("bdi", {}, ...visible(tail))),
    el("bdi", { class: "tok new" }, ...showToken(id)), el("span", { class: "facts" }, ` token ${id}, `, percent(kept.p[i])));
  node.dataset.id = id;
}
$("random").addEventListener("input", drawChosen);
$("draw").addEventListener("click", () => { $("random").value = Math.random(); drawChosen(); });
