// A number → something drawn. Text of the prompt and the vocabulary only ever becomes text
// nodes: see `el`.
"use strict";

function el(tag, properties = {}, ...children) {
  const svg = ["svg", "rect", "line", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const $ = (id) => document.getElementById(id);
const fill = (id, ...children) => $(id).replaceChildren(...children);

const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−");
const big = (n) => n.toLocaleString("en");
function percent(p) {  // the shown text is short, the value whole
  const text = p >= 0.01 ? `${(100 * p).toFixed(1)} %` : p >= 0.0001 ? `${(100 * p).toFixed(2)} %`
    : p > 0 ? "< 0.01 %" : "0 %";
  return el("data", { value: p, title: String(p) }, text);
}

// A list of tokens, one tab stop, in which the arrow keys walk: a listbox.
function listbox(node, label, options, choose) {
  node.setAttribute("role", "listbox");
  node.setAttribute("aria-label", label);
  node.append(...options);
  const all = [...node.querySelectorAll("[role=option]")];
  all.forEach((option, i) => option.addEventListener("click", () => choose(i)));
  node.addEventListener("keydown", (event) => {
    const here = all.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (here < 0 || to === undefined) return;
    event.preventDefault();
    if (all[to]) { all[to].focus(); choose(to); }
  });
  return (chosen) => all.forEach((option, i) => {
    option.setAttribute("aria-selected", i === chosen);
    option.tabIndex = i === chosen ? 0 : -1;
  });
}

const chip = (t, ...below) => el("span", { role: "option", class: "chip", "aria-label": `${t + 1}: ${plain(ids[t])}` },
  el("bdi", { class: "text" }, ...showToken(ids[t])), ...below);

// Numbers as bars up and down from zero; those of a row of vectors may share a scale.
function bars(values, scale) {
  const most = scale || Math.max(...values.map(Math.abs)) || 1, w = 100 / values.length;
  const drawing = el("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img",
    "aria-label": `the first ${values.length} numbers: ${[...values].map((x) => number(x)).join(", ")}` });
  drawing.append(el("line", { x1: 0, x2: 100, y1: 20, y2: 20 }));
  values.forEach((x, i) => {
    const height = Math.max(0.4, 19 * Math.min(1, Math.abs(x) / most));
    const bar = el("rect", { x: i * w + 0.12 * w, width: 0.76 * w, y: x < 0 ? 20 : 20 - height, height });
    const target = el("rect", { class: "target", x: i * w, width: w, y: 0, height: 40 });
    target.append(el("title", {}, `number ${i + 1}: ${number(x, 4)}`));
    drawing.append(bar, target);
  });
  return drawing;
}

function vectorRow(name, values, facts, sign = "", scale = 0) {
  return el("div", { class: "vector" }, el("span", { class: "operator", "aria-hidden": "true" }, sign),
    el("div", { class: "name" }, ...name), bars(values, scale), el("div", { class: "facts" }, facts));
}
function streamRow(name, row, t, sign, scale) {
  const at = row * T + t;
  return vectorRow(name, vector(row, t), `mean ${number(a.mean[at], 3)}, σ ${number(a.deviation[at], 3)}, length ${number(a.size[at])}`, sign, scale);
}
// rows that are added share a scale
function sumRows(t, ...rows) {
  const scale = Math.max(...rows.flatMap(([, row]) => [...vector(row, t)].map(Math.abs)));
  return rows.map(([name, row, sign]) => streamRow(name, row, t, sign, scale));
}

// Rows of a ranking: token, bar, value.
const rankingRow = (id, share, value, off = false, name = quoted(id)) =>
  el("li", { class: off ? "off" : "" }, name, el("span", { class: "bar", "--w": Math.max(0, Math.min(1, share)) }), value);
