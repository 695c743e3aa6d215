// Station 9: how well was each token foreseen?
"use strict";

const MOST_BITS = 16;
const LIKELIEST = [10, 100, 1000, Infinity];  // the classes of score.py
const classOf = (rank) => LIKELIEST.findIndex((most) => rank <= most);
tokenList("bits", "s-9", "Tokens of the prompt, shaded by surprise", () => Array.from(ids, (_, t) => {
  const bits = t ? a.bits[t - 1] : 0;
  const token = chip(t, t ? number(bits, 1) : "given", t ? `rank ${big(a.rank[t - 1])}` : "the first token is given");
  if (t) token.dataset.class = classOf(a.rank[t - 1]);
  return shade(token, Math.min(1, bits / MOST_BITS));
}));
on("pass", "s-9", () => {
  const total = a.bits.reduce((x, y) => x + y, 0), mean = total / (T - 1);
  fill("bits-mean", ...(T > 1 ? ["Altogether ", value(total, `${number(total, 1)} bits`), ` for ${count(T - 1, "token")}, ${number(mean)} bits each: the model was as unsure as if it chose among ${number(2 ** mean, 1)} equally likely tokens each time (its perplexity). In nats, as the lesson and training have it, the loss is `, value(mean * Math.LN2, number(mean * Math.LN2)), "."]
    : ["The prompt has one token, and that is given: there is nothing to foresee."]));
  const ranks = Array.from(a.rank, classOf);
  fill("classes", ...table(["among the likeliest", "", "tokens"], T > 1 ? LIKELIEST.slice(0, classOf(V) + 1).map((most, i) => {
    const n = ranks.filter((k) => k === i).length;
    return [el("span", { "data-class": i }, el("span", { class: "rank" }, most < V ? big(most) : "all")), bar(n / (T - 1)), String(n)];
  }) : []));
});
on("pass token", "s-9", () => {
  const t = state.token;
  if (!t) return fill("bits-detail", el("h3", {}, quoted(ids[0]), " is the first token: nothing came before it."));
  const bits = a.bits[t - 1], expected = lens(L - 1, t - 1);
  fill("bits-detail",
    el("h3", {}, quoted(ids[t]), ` (token ${t + 1}) had probability `, percent(2 ** -bits), `, rank ${big(a.rank[t - 1])} of ${big(V)}: ${number(bits)} bits`),
    el("p", {}, "The model expected:"),
    el("table", { class: "ranking" }, ...table(["token", "", "probability"], expected.map(([id, p]) => [quoted(id), bar(p), percent(p)]))));
});
