// The second view: how well was each token foreseen?
"use strict";

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
