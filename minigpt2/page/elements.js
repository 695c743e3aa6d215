// A number → something drawn, which can be read by pointing, by touch and with the keyboard.
// Text of the prompt and the vocabulary only ever becomes text nodes: see `el`.
"use strict";

function el(tag, properties = {}, ...children) {
  const [name, svg] = tag.split(":").reverse();
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("--")) node.style.setProperty(key, value);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}
const $ = (id) => document.getElementById(id);
const fill = (id, ...children) => $(id).replaceChildren(...children);
const code = (text) => el("code", {}, text);
const link = (view, ...children) => el("a", { href: `#${new URLSearchParams(view)}` }, ...children);

const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−");
const big = (n) => n.toLocaleString("en");
const percentText = (p) => p >= 0.01 ? `${(100 * p).toFixed(1)} %` : p >= 0.0001 ? `${(100 * p).toFixed(2)} %` : p > 0 ? "< 0.01 %" : "0 %";
const value = (x, text) => el("data", { value: x, title: String(x) }, text);  // the text is short, the value whole
const percent = (p) => value(p, percentText(p));
const most = (...rows) => Math.max(1e-9, ...rows.flatMap((row) => Array.from(row, Math.abs)));
const clamp = (i, n) => Math.max(0, Math.min(n - 1, i));

// Among these, in rows of so many columns, the arrow keys walk, and Tab stops at one of them.
function walk(node, selector, choose = () => {}, columns = 1) {
  const all = [...node.querySelectorAll(selector)];
  const stop = (i) => all.forEach((item, j) => { item.tabIndex = i === j ? 0 : -1; });
  stop(0);
  node.onkeydown = (event) => {
    const here = all.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowDown: here + columns, ArrowLeft: here - 1, ArrowUp: here - columns, Home: 0, End: all.length - 1 }[event.key];
    if (here < 0 || to === undefined) return;
    event.preventDefault();
    if (all[to]) { all[here].tabIndex = -1; all[to].tabIndex = 0; all[to].focus(); choose(to); }
  };
  return all;
}

// A list of tokens or heads, of which one is chosen.
function listbox(node, label, options, choose) {
  node.setAttribute("role", "listbox");
  node.setAttribute("aria-label", label);
  node.replaceChildren(...options);
  const all = walk(node, "[role=option]", choose);
  node.onclick = (event) => {
    const i = all.indexOf(event.target.closest("[role=option]"));
    if (i >= 0) choose(i);
  };
  let last = all[0];
  return (i) => {
    last.setAttribute("aria-selected", false);
    last.tabIndex = -1;
    last = all[i];
    last.setAttribute("aria-selected", true);
    last.tabIndex = 0;
    if (node.scrollHeight > node.clientHeight && !node.contains(document.activeElement)) node.scrollTop = last.offsetTop - node.clientHeight / 2;
  };
}
const chip = (t, below = "", title) => el("span", { role: "option", class: "chip", "aria-label": `${t + 1}: ${plain(ids[t])}`, title },
  el("bdi", { class: "text" }, ...showToken(ids[t])), el("span", { class: "below" }, below));

// A list of the prompt's tokens, of which one is chosen. `options()` makes them for a pass.
const choose = (token) => set({ token, key: null, pointed: null });
function tokenList(id, place, label, options) {
  let select;
  on("pass", place, () => { select = listbox($(id), label, options(), choose); });
  on("pass token", place, () => select(state.token));
}

// Columns × rows of something drawn. What `text(i, j)` says of the one that is pointed at,
// touched, or reached with the arrow keys goes to `out`; a click, a second touch or Enter
// chooses it.
function readable(drawing, label, columns, rows, text, out, choose) {
  const node = el("div", { class: "plot", tabindex: 0, role: "application", "aria-label": `${label}. Arrow keys read it.`, "--columns": columns, "--rows": rows },
    drawing, el("span", { class: "mark" }));
  let i = -1, j = 0, before, again;
  function read(column, row) {
    before ??= [...out.childNodes];
    [i, j] = [clamp(column, columns), clamp(row, rows)];
    node.style.setProperty("--i", i);
    node.style.setProperty("--j", j);
    node.classList.add("read");
    out.replaceChildren(...text(i, j));
  }
  function end() {
    if (before) out.replaceChildren(...before);
    before = undefined;
    node.classList.remove("read");
  }
  function at({ clientX, clientY }) {
    const box = node.getBoundingClientRect();
    read(Math.floor((clientX - box.left) / box.width * columns), Math.floor((clientY - box.top) / box.height * rows));
  }
  node.onpointermove = at;
  node.onpointerdown = (event) => {
    const was = before && `${i} ${j}`;
    at(event);
    again = was === `${i} ${j}`;
  };
  node.onpointerleave = (event) => { if (event.pointerType === "mouse") end(); };
  node.onblur = end;
  node.onclick = (event) => { if (choose && (event.pointerType !== "touch" || again)) choose(i, j); };
  node.onkeydown = (event) => {
    const to = { ArrowRight: [i + 1, j], ArrowLeft: [i - 1, j], ArrowDown: rows > 1 && [i, j + 1], ArrowUp: rows > 1 && [i, j - 1], Home: [0, j], End: [columns - 1, j] }[event.key];
    if (event.key === "Enter" && before && choose) choose(i, j);
    if (!to) return;
    event.preventDefault();
    read(...to);
  };
  return node;
}

// Numbers as bars up and down from zero, on a scale from −scale to scale.
function bars(values, scale, label, out) {
  let d = "";
  values.forEach((x, i) => {
    const height = Math.max(0.4, 19 * Math.min(1, Math.abs(x) / scale));
    d += `M${i + 0.12} ${x < 0 ? 20 : 20 - height}h.76v${height}h-.76z`;
  });
  const drawing = el("svg:svg", { viewBox: `0 0 ${values.length} 40`, preserveAspectRatio: "none", "aria-hidden": true },
    el("svg:path", { d: `M0 20H${values.length}`, class: "axis" }), el("svg:path", { d }));
  const node = readable(drawing, label, values.length, 1, (i) => [`number ${i + 1}: ${number(values[i], 4)}`], out);
  node.append(el("span", { class: "scale" }, `±${number(scale)}`));
  return node;
}

// Rows of vectors, all on one scale: what it is, the numbers, and what is to be said of them.
function vectors(...rows) {
  const scale = most(...rows.map((row) => row.values));
  return rows.map(({ name, values, facts = "", sign = "" }) => {
    const title = el("div", { class: "name" }, ...name), out = el("output", { class: "facts" }, facts);
    return el("div", { class: "vector" }, el("span", { class: "operator", "aria-hidden": "true" }, sign), title, bars(values, scale, title.textContent, out), out);
  });
}
const stream = (name, row, sign, t = state.token) => ({ name, sign, values: vector(row, t),
  facts: `mean ${number(a.mean[row * T + t], 3)}, σ ${number(a.deviation[row * T + t], 3)}, length ${number(sizeAt(row, t))}` });

// Columns from zero up, with labels below.
function columns(id, label, heights, text, labels = [], classes = []) {
  const highest = most(heights), out = el("output", { class: "facts" }, `The highest column is ${number(highest, highest < 100 ? 2 : 0)}.`);
  const all = Array.from(heights, (h, i) => el("span", { class: `step ${classes[i] ?? ""}` },
    el("span", { class: "column", "--h": h / highest }), el("span", { class: "label" }, labels[i] ?? "")));
  fill(id, readable(el("div", { class: "columns" }, ...all), label, heights.length, 1, text, out), out);
}

const row = (attributes, ...cells) => el("tr", attributes, ...cells.map((cell) => el("td", {}, cell)));
const table = (head, rows) => [el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name))), ...rows.map((cells) => Array.isArray(cells) ? row({}, ...cells) : cells)];
const bar = (share) => el("span", { class: "bar", "--w": Math.max(0, Math.min(1, share)) });
