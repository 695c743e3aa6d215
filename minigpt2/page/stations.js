// Stations 1 to 3, 6 and 7: tokens, vectors, LayerNorm, the MLP, and the residual stream.
"use strict";

// ---------- 1: text → tokens ----------

let pieceOf;  // [first token, how many] of the piece of each token
tokenList("pieces", "s-1", "Tokens of the prompt, in pieces", () => {
  pieceOf = [];
  return a.pieces.map((size) => {
    const first = pieceOf.length;
    for (let t = first; t < first + size; t++) pieceOf.push([first, size]);
    return el("span", { class: "piece", role: "presentation" }, ...pieceOf.slice(first).map((_, i) => chip(first + i, String(ids[first + i]))));
  });
});
on("pass token", "s-1", () => {
  const [first, size] = pieceOf[state.token], piece = [...ids.subarray(first, first + size)], token = ids[state.token];
  const long = piece.flatMap(bytesOf).length > 40;  // then only the token's own merges
  const tokens = long ? [token] : piece, bytes = tokens.flatMap(bytesOf);
  fill("merges-title", "How the merges made ", el("bdi", { class: "tok" }, ...(special(token) ? showToken(token) : visible(bytes))));
  if (special(token)) return fill("merges", el("li", {}, `No merges: token ${token} is between texts.`));
  fill("merges", ...mergesOf(bytes).map((step, i) => {
    const shown = step.tokens.map((id, j) => el("span", { class: i && j === step.merged ? "unit new" : "unit", title: `id ${id}` },
      el("bdi", {}, ...showToken(id)), i ? "" : el("span", { class: "below" }, bytesOf(id)[0].toString(16).padStart(2, "0"))));
    return el("li", { "data-ids": step.tokens.join(" ") },
      el("span", { class: "what" }, i ? `merge ${big(step.merge)}` : count(bytes.length, "byte")), el("span", { class: "units" }, ...shown));
  }));
});

// ---------- 2: tokens → vectors ----------

on("pass token", "s-2", () => {
  const t = state.token;
  fill("embedding", ...vectors(
    stream([code(`wte[${ids[t]}]`), " the token ", quoted(ids[t])], WTE),
    stream([code(`wpe[${t}]`), ` position ${t + 1} of ${T}`], WPE, "+"),
    stream([code("x"), " enters block 1"], SUM, "=")));
});

// ---------- 3: layer normalization ----------

on("pass token layer", "s-3", () => {
  const t = state.token, i = state.layer;
  const norm = (id, which, from, to, title, goal) => {
    const σ = a.deviation[from * T + t];
    fill(id, ...vectors(
      stream([code("x"), title], from),
      { name: ["(x − mean) / σ"], values: normal(i, which, t), sign: "→", facts: `mean 0, σ ${number(σ / Math.sqrt(σ * σ + 1e-5), 3)}` },
      stream([code(`ln_${which + 1}`), goal], to, "→")));
  };
  norm("norm-1", 0, intoBlock(i), inBlock(i, LN_1), " enters the block", " times g, plus b: for attention");
  norm("norm-2", 1, inBlock(i, MIDDLE), inBlock(i, LN_2), " after attention", " times g, plus b: for the MLP");
});

// ---------- 6: the MLP ----------

on("pass token layer", "s-6", () => {
  const t = state.token, i = state.layer, share = a.active[i * T + t];
  fill("mlp",
    ...vectors(stream([code("ln_2"), " enters the MLP"], inBlock(i, LN_2))),
    ...vectors(
      { name: [code("c_fc"), " the hidden layer"], values: hidden(i, 0, t), sign: "→", facts: `the first ${hidden(i, 0, t).length} of ${big(4 * C)} numbers` },
      { name: [code("gelu"), " what passes"], values: hidden(i, 1, t), sign: "→", facts: "on the same scale" }),
    ...vectors(stream([code("c_proj"), " goes to the stream"], inBlock(i, MLP), "→")));
  fill("active", "For ", quoted(ids[t]), ", GELU lets ", value(share, `${big(Math.round(share * 4 * C))} of ${big(4 * C)}`),
    ` hidden numbers through (${number(100 * share, 1)} % are above zero).`);
});

// ---------- 7: a block, and the residual stream ----------

const steps = [[SUM, "embedding"]];
for (let i = 0; i < L; i++) steps.push([inBlock(i, MIDDLE), `block ${i + 1}, attention`], [inBlock(i, OUT), `block ${i + 1}, MLP`]);
const blockOf = (step) => Math.ceil(step / 2) - 1;
on("pass token layer", "s-7", () => {
  const t = state.token, i = state.layer, sizes = steps.map(([row]) => sizeAt(row)), every = Math.ceil(L / 12);
  fill("block-sum", ...vectors(
    stream([code("x"), ` enters block ${i + 1}`], intoBlock(i)),
    stream([code("attn"), " adds"], inBlock(i, ATTN), "+"),
    stream([code("mlp"), " adds"], inBlock(i, MLP), "+"),
    stream([code("x"), ` leaves block ${i + 1}`], inBlock(i, OUT), "=")));
  columns("stream", "Length of the stream after each step", sizes, (j) => [`after ${steps[j][1]}: ${number(sizes[j])}`],
    sizes.map((_, j) => j === 0 ? "in" : j % 2 && blockOf(j) % every === 0 ? String(blockOf(j) + 1) : ""),
    sizes.map((_, j) => `${j && j % 2 === 0 ? "mlp" : ""} ${blockOf(j) === i ? "here" : ""}`));
  fill("stream-text", "The vector of ", quoted(ids[t]), ` is ${number(sizes[0])} long when it enters the model and ${number(sizes.at(-1))} after the last block. `,
    `In block ${i + 1}, attention adds a vector of length ${number(sizeAt(inBlock(i, ATTN)))}, which makes it ${number(sizes[2 * i + 1])}; the MLP adds ${number(sizeAt(inBlock(i, MLP)))}, which makes it ${number(sizes[2 * i + 2])}. `,
    "Lengths do not add up, as the vectors point in different directions.");
});
on("pass token layer", "s-7", () => {
  const t = state.token, next = t < T - 1 && quoted(ids[t + 1]);
  fill("lens-where", "after ", quoted(ids[t]), ...(next ? ["; the token that came next is ", next, ", and it has a frame where it is among the five"] : [", the last token"]));
  fill("lens", ...Array.from({ length: L }, (_, i) => el("li", { class: i === state.layer ? "here" : "" },
    el("span", { class: "what" }, `block ${i + 1}`),
    ...lens(i, t).map(([id, p]) => {
      const right = next && id === ids[t + 1];
      return shade(el("span", { class: right ? "cell right" : "cell", "data-id": id, title: right ? "this came next" : null }, quoted(id), percent(p)), p);
    }))));
});
