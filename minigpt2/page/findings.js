// What to look for: the heads and tokens of this pass that stand out.
"use strict";

const mean = (list) => list.reduce((x, y) => x + y, 0) / list.length;
// The head for which `score(layer, head, t)` is the highest on average over these tokens, and
// the token for which it is the highest there.
function bestHead(tokens, score, except = () => false) {
  let best = { score: 0 };
  for (let layer = 0; layer < L; layer++) for (let head = 0; head < H; head++) {
    const scores = tokens.map((t) => score(layer, head, t)), average = mean(scores);
    if (average > best.score && !except(layer, head)) best = { layer, head, score: average, token: tokens[scores.indexOf(Math.max(...scores))] };
  }
  return best;
}

// Each: a view, and what there is to see.
function findings() {
  const after = (from) => Array.from(ids.keys()).slice(from), found = [];
  const at = (best, station = 4) => ({ token: best.token + 1, block: best.layer + 1, head: best.head + 1, station });
  const where = (best) => `Block ${best.layer + 1}, head ${best.head + 1}`, average = (best) => percentText(best.score);
  const copied = new Map();  // of a token that was there before: the places after it
  for (const t of ids.keys()) {
    const places = after(1).filter((s) => s < t && ids[s - 1] === ids[t]);
    if (places.length) copied.set(t, places);
  }
  const copying = bestHead([...copied.keys()], (layer, head, t) => copied.get(t).reduce((sum, s) => sum + weight(layer, head, t, s), 0));
  if (copying.score > 0.2) {
    const after = strongest(weightsOf(copying.token, copying.layer, copying.head), 1)[0];
    found.push([at(copying), "The head that copies", `${where(copying)} looks at what came after the same token earlier, with ${average(copying)} of its attention: here at `, quoted(ids[after]), "."]);
  }
  const previous = bestHead(after(2), (layer, head, t) => weight(layer, head, t, t - 1));
  if (previous.score > 0.3) found.push([at(previous), "The token before", `${where(previous)} looks most at the token before, with ${average(previous)} of its attention on average.`]);
  const sharp = bestHead(after(2), (layer, head, t) => Math.max(...weightsOf(t, layer, head).slice(1, -1)), (layer, head) => [copying, previous].some((one) => one.layer === layer && one.head === head));
  if (sharp.score) {
    const [s] = strongest(weightsOf(sharp.token, sharp.layer, sharp.head), 1);
    found.push([at(sharp), "The most concentrated", `${where(sharp)} gives ${average(sharp)} of its attention to one earlier token. `, quoted(ids[sharp.token]), " looks at ", quoted(ids[s]), "."]);
  }
  const best = Array.from({ length: L }, (_, i) => lens(i, T - 1)[0][0]), settled = best.findLastIndex((id) => id !== best[L - 1]) + 1;
  found.push([{ token: T, block: settled + 1, station: 7 }, "When the answer is there", `From block ${settled + 1} on, the stream of the last token says `, quoted(best[L - 1]), "."]);
  const surprising = 1 + a.bits.indexOf(Math.max(...a.bits));
  if (T > 1) found.push([{ token: surprising + 1, station: 9 }, "The greatest surprise", quoted(ids[surprising]), ` came with ${percentText(2 ** -a.bits[surprising - 1])}: ${number(a.bits[surprising - 1], 1)} bits.`]);
  return found;
}
on("pass", "findings", () => fill("findings", ...findings().map(([view, title, ...text]) => el("li", {}, link(view, el("strong", {}, title), el("span", {}, ...text))))));
