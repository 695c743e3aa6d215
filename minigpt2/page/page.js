// The page as a whole: what is chosen, the address, keys, sources, and how it begins.
"use strict";

const sections = [$("top"), ...document.querySelectorAll("main section")];  // by station

// ---------- what is chosen ----------

function chooser(id, key, label) {
  const select = $(id);
  select.addEventListener("change", () => set({ [key]: Number(select.value), key: null, pointed: null }));
  return (n) => select.replaceChildren(...Array.from({ length: n }, (_, i) => el("option", { value: i }, label(i))));
}
const tokens = chooser("token", "token", (t) => `${t + 1}: ${plain(ids[t])}`);
chooser("layer", "layer", (i) => `${i + 1}/${L}`)(L);
chooser("head", "head", (i) => `${i + 1}/${H}`)(H);
on("pass", null, () => tokens(T));
on("pass token layer head", null, () => {
  for (const id of ["token", "layer", "head"]) $(id).value = state[id];
});
on("pass layer", null, () => document.querySelectorAll(".at-block").forEach((node) => node.replaceChildren(`in block ${state.layer + 1} of ${L}`)));
on("pass", null, () => {
  const bytes = Array.from(ids).flatMap((id) => special(id) ? [] : bytesOf(id));
  fill("model", `One forward pass of ${data.model}: ${count(L, "block")} of ${count(H, "head")}, vectors of ${count(C, "number")}, ${count(V, "token")} in the vocabulary. The prompt has ${count(T, "token")}:`);
  fill("prompt", el("bdi", {}, ...(bytes.length ? [new TextDecoder().decode(Uint8Array.from(bytes))] : showToken(ids[0]))));
});

// ---------- the address: #token=17&block=5&head=2&station=4 ----------

let known = "";
const address = () => `#token=${state.token + 1}&block=${state.layer + 1}&head=${state.head + 1}${state.key === null ? "" : `&key=${state.key + 1}`}&station=${state.station}`;
function write(always) {
  const now = address(), view = (text) => text.replace(/&station.*/, "");
  if (now === known) return;
  const method = known && (always || view(now) !== view(known)) ? "pushState" : "replaceState";
  try { history[method](null, "", now); } catch { /* a frame in a notebook has no address */ }
  known = now;
}
function go(hash) {
  const given = Object.fromEntries(new URLSearchParams(hash.slice(1)));
  const pick = (name, n, otherwise) => Number.isInteger(+given[name]) && given[name] >= 1 && given[name] <= n ? given[name] - 1 : otherwise;
  const moved = given.token || given.block || given.head;
  const station = sections[given.station] ? +given.station : state.station;
  set({ token: pick("token", T, state.token), layer: pick("block", L, state.layer), head: pick("head", H, state.head), key: pick("key", T, moved ? null : state.key), pointed: null, station });
  return station;
}
function reach(station) {
  const title = sections[station].querySelector("h1, h2");
  sections[station].scrollIntoView();
  title.focus({ preventScroll: true });
}
document.addEventListener("click", (event) => {
  const to = event.target.closest?.("a[href^='#']")?.getAttribute("href");
  if (!to || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const station = go(to);
  write(true);
  if (to.includes("station=")) reach(station);
});
addEventListener("popstate", () => { go(location.hash); known = address(); });
let writing;
on("token layer head key station", null, () => {
  links.forEach((node, i) => node.setAttribute("aria-current", i + 1 === state.station));
  clearTimeout(writing);
  writing = setTimeout(write, 400);
});

// ---------- contents, keys ----------

sections.slice(1).forEach((section, i) => {
  const title = section.querySelector("h2");
  $("contents").append(el("li", {}, link({ station: i + 1 }, `${i + 1}  ${title.firstChild.textContent.trim()}`)));
  title.prepend(el("span", { class: "number" }, String(i + 1)));
});
sections.forEach((section) => section.querySelector("h1, h2").setAttribute("tabindex", -1));
const links = [...document.querySelectorAll("#contents a")];
const reading = new IntersectionObserver((entries) => {
  const entry = entries.find(({ isIntersecting }) => isIntersecting);
  if (entry) set({ station: sections.indexOf(entry.target) });
}, { rootMargin: "-25% 0px -65% 0px" });
sections.forEach((section) => reading.observe(section));
const step = (by) => { const station = clamp(state.station + by, sections.length); go(`#station=${station}`); write(true); reach(station); };
function large() {
  const on = document.documentElement.toggleAttribute("data-large");
  $("large").setAttribute("aria-pressed", on);
  reach(state.station);
}
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("large").addEventListener("click", large);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const clicker = "large" in document.documentElement.dataset ? { PageDown: () => step(1), PageUp: () => step(-1) } : {};
  const act = { n: () => step(1), p: () => step(-1), l: large, ...clicker }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// ---------- sources ----------

function source(text) {  // docstrings and comments step back
  const node = el("code");
  let at = 0;
  for (const match of text.matchAll(/"""[^]*?"""|#.*$/gm)) {
    node.append(text.slice(at, match.index), el("span", { class: "quiet" }, match[0]));
    at = match.index + match[0].length;
  }
  node.append(text.slice(at));
  return el("pre", { tabindex: 0 }, node);
}
for (const node of document.querySelectorAll(".code")) {
  for (const name of node.dataset.functions.split(" ")) {
    const f = data.functions[name];
    const rows = Object.entries({ ...f.arguments, "→": f.result }).map(([k, v]) => el("tr", {}, el("th", { scope: "row" }, k), el("td", {}, v)));
    const times = f.calls === 1 ? "called once in this run, with" : `called ${f.calls} times in this run, first with`;
    const x = f.arguments.x || f.arguments.q || f.arguments.tokens || f.arguments.logits || f.arguments.text;
    node.append(el("details", {},
      el("summary", {}, el("code", { class: "function" }, name), el("span", { class: "file" }, ` in ${f.file}`),
        el("span", { class: "shapes" }, f.calls ? `${x ? x + " " : ""}→ ${f.result}` : "not called in this run")),
      ...(f.calls ? [el("p", { class: "times" }, times), el("div", { class: "scroll" }, el("table", { class: "arguments" }, ...rows))] : []), source(f.source)));
  }
}

// ---------- begin ----------

const shaded = () => document.querySelectorAll(".shaded .chip, .cell").forEach((node) => shade(node, node.style.getPropertyValue("--w")));
function recolour() {
  readColours();
  shaded();
  set({ pass: state.pass + 1 });
}
readColours();
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) matchMedia(query).addEventListener("change", recolour);
for (const [event, on] of [["beforeprint", true], ["afterprint", false]]) addEventListener(event, () => {
  document.documentElement.toggleAttribute("data-print", on);
  recolour();
  redraw();
});
const visibleParts = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) near[isIntersecting ? "add" : "delete"](target);
  redraw(({ place }) => near.has(place));
}, { rootMargin: "50%" });
for (const place of new Set(drawers.map(({ place }) => place))) if (place) visibleParts.observe(place);
function begin(pass) {
  show(pass);
  const best = findings()[0]?.[0] ?? {};
  go(`#${new URLSearchParams({ ...best, station: 0 })}`);
  const first = location.hash && go(location.hash);
  redraw();
  if (first) reach(first);
  write();
  document.documentElement.dataset.ready = "true";
}
opening().then(begin);
