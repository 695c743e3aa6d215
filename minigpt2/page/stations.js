// The stations from text to the residual stream, and the logit lens.
"use strict";

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
