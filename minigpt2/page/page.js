// The page as a whole: choosers, contents, sources, views.
"use strict";

function chooser(id, count, label) {
  const select = $(id);
  for (let i = 0; i < count; i++) select.append(el("option", { value: i }, label(i)));
  select.addEventListener("change", () => set({ [id]: Number(select.value), pointed: null }));
  on(id, () => { select.value = state[id]; });
}
chooser("token", T, (t) => `${t + 1}: ${plain(ids[t])}`);
chooser("layer", L, (i) => `${i + 1} of ${L}`);
chooser("head", H, (i) => `${i + 1} of ${H}`);
const heading = (node, ...children) => node.replaceChildren(...children);

on("layer", () => document.querySelectorAll(".at-block").forEach((node) => heading(node, `in block ${state.layer + 1} of ${L}`)));

const promptBytes = [...ids].flatMap((id) => special(id) ? [] : bytesOf(id));
fill("model", `One forward pass of ${data.model}: ${L} blocks of ${H} heads, vectors of ${big(C)} numbers, ${big(V)} tokens in the vocabulary. The prompt has ${T === 1 ? "1 token" : `${T} tokens`}:`);
fill("prompt", el("bdi", {}, ...(promptBytes.length ? [new TextDecoder().decode(Uint8Array.from(promptBytes))] : showToken(ids[0]))));

document.querySelectorAll("#pass section").forEach((section, i) => {
  const title = section.querySelector("h2");
  const name = title.firstChild.textContent.trim();
  title.prepend(el("span", { class: "number" }, String(i + 1)));
  $("contents").append(el("li", {}, el("a", { href: `#${section.id}` }, name)));
});
const links = [...document.querySelectorAll("#contents a")];
if ("IntersectionObserver" in window) {
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) links.forEach((link) => link.setAttribute("aria-current", link.hash === `#${entry.target.id}`));
  }), { rootMargin: "-25% 0px -65% 0px" });
  document.querySelectorAll("#pass section").forEach((section) => seen.observe(section));
}

function source(text) {  // docstrings and comments step back
  const code = el("code");
  let at = 0;
  for (const match of text.matchAll(/"""[^]*?"""|#.*$/gm)) {
    code.append(text.slice(at, match.index), el("span", { class: "quiet" }, match[0]));
    at = match.index + match[0].length;
  }
  code.append(text.slice(at));
  return el("pre", { tabindex: 0 }, code);
}
for (const node of document.querySelectorAll(".code")) {
  for (const name of node.dataset.functions.split(" ")) {
    const f = data.functions[name];
    const rows = Object.entries(f.arguments).map(([k, v]) => el("tr", {}, el("th", { scope: "row" }, k), el("td", {}, v)));
    rows.push(el("tr", {}, el("th", { scope: "row" }, "→"), el("td", {}, f.result)));
    const times = f.calls === 1 ? "called once in this run, with" : `called ${f.calls} times in this run, first with`;
    const x = f.arguments.x || f.arguments.q || f.arguments.tokens || f.arguments.logits || f.arguments.text;
    node.append(el("details", {},
      el("summary", {}, el("code", { class: "function" }, name), el("span", { class: "file" }, ` in ${f.file}`),
        el("span", { class: "shapes" }, f.calls ? `${x ? x + " " : ""}→ ${f.result}` : "not called in this run")),
      f.calls ? el("p", { class: "times" }, times) : "",
      f.calls ? el("div", { class: "scroll" }, el("table", { class: "arguments" }, ...rows)) : "", source(f.source)));
  }
}

const tabs = ["pass", "surprise"];
function view(name) {
  for (const tab of tabs) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  document.body.dataset.view = name;
}
for (const tab of tabs) {
  $(`tab-${tab}`).addEventListener("click", () => view(tab));
  $(`tab-${tab}`).addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    const other = tabs.find((name) => name !== tab);
    view(other);
    $(`tab-${other}`).focus();
  });
}

$("random").value = data.random;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  document.querySelectorAll(".shaded .chip, .cell").forEach((node) => shade(node, node.style.getPropertyValue("--w")));
  drawMap();
  drawHeads();
  drawAtlas();
});
for (const [, draw] of drawers) draw();
drawNext();
view("pass");
document.documentElement.dataset.ready = "true";
