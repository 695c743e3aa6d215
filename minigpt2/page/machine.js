// The whole machine in one picture, with the magnitudes of this pass for the chosen token.
"use strict";

{  // its short names are its own
const s = (tag, properties, ...children) => el(`svg:${tag}`, properties, ...children);
const part = (view, label, ...children) => s("a", { href: `#${new URLSearchParams(view)}`, "aria-label": label, class: "part" }, ...children);
const label = (x, y, text, kind = "", anchor = "middle") => s("text", { x, y, class: kind, "text-anchor": anchor }, ...[text].flat());
const short = (id, most = 11) => { const text = plain(id); return text.length > most ? text.slice(0, most - 1) + "…" : text; };

// Where things are, in units of a sixteenth of the page's font size.
let at;
function places() {
  const width = Math.max(300, $("machine").clientWidth / parseFloat(getComputedStyle(document.documentElement).fontSize) * 16);
  const narrow = width < 700, left = narrow ? 76 : 122, right = narrow ? 84 : 186, embedding = narrow ? 16 : 50;
  const block = (width - left - right - embedding) / L, row = Math.min(22, Math.max(1.2, 312 / T)), top = 44;
  const perRow = Math.min(H, Math.max(1, Math.floor(block * 0.66 / 12))), pitch = Math.min(22, block * 0.66 / perRow, 130 / Math.ceil(H / perRow));
  const heads = top + row * T + 46, river = heads + Math.ceil(H / perRow) * pitch + 70, mlp = river + 74;
  at = { width, narrow, left, right, block, row, top, heads, river, mlp, perRow, pitch, height: mlp + 36,
    x: (layer) => left + embedding + layer * block, y: (t) => top + (t + 0.5) * row };
}
const xOf = (step) => step === 0 ? at.x(0) - 6 : at.x(blockOf(step)) + at.block * (step % 2 ? 0.72 : 0.98);

// A stream: as thick as the vector is long, from step to step.
function ribbon(t, y, thick) {
  const edge = (sign) => steps.map(([row], i) => [xOf(i), y + sign * Math.max(0.3, thick * sizeAt(row, t) / 2)]);
  const curve = (points) => points.slice(1).map(([x, v], i) => { const [u, w] = points[i]; return `C${(u + x) / 2} ${w} ${(u + x) / 2} ${v} ${x} ${v}`; }).join("");
  const above = edge(-1), below = edge(1).reverse();
  return `M${above[0]}${curve(above)}L${below[0]}${curve(below)}Z`;
}

on("pass size", "machine", () => {
  places();
  const every = Math.ceil(11.5 / at.row);  // of how many tokens one is drawn
  at.thick = Math.min(9, at.row * every * 0.8);
  const longest = most(...steps.map(([row]) => nth(a.size, row, T)));
  const bands = Array.from({ length: L }, (_, i) => s("rect", { x: at.x(i) + 2, y: 26, width: at.block - 4, height: at.height - 30, rx: 6, class: "band" }));
  const rows = Array.from(ids, (id, t) => t % every ? "" : part({ token: t + 1 }, `token ${t + 1}: ${plain(id)}`,
    s("rect", { x: 0, y: at.y(t) - at.row / 2, width: at.width - at.right, height: at.row * every, class: "target" }),
    label(at.left - 8, at.y(t) + 4, short(id, at.narrow ? 8 : 11), "token", "end"),
    s("path", { d: ribbon(t, at.y(t), at.thick / longest), class: "other" })));
  $("machine").replaceChildren(s("svg", { viewBox: `0 0 ${at.width} ${at.height}`, role: "group", "aria-label": "The machine at a glance. Arrow keys walk through its parts, Enter leads to one." },
    s("g", {}, ...bands), s("g", {}, ...rows), s("g", { id: "flow" })));
});

on("pass size token layer head key", "machine", () => {
  const t = state.token, { x, y, river, block, narrow } = at, scale = 52 / most(steps.map(([row]) => sizeAt(row)));
  const numbered = (station, text) => [s("tspan", { class: "number" }, `${station} `), text];
  const lengths = Array.from({ length: L }, (_, i) => Array.from({ length: H }, (_, h) => added(i, h, t)));
  const largest = most(...lengths);
  const radius = (length) => Math.max(0.8, at.pitch * 0.5 * Math.sqrt(length / largest));  // areas are lengths
  const place = (i, h) => [x(i) + block * 0.04 + (h % at.perRow + 0.5) * at.pitch, at.heads + (Math.floor(h / at.perRow) + 0.5) * at.pitch];
  const title = (station, x, text, view) => part({ station, ...view }, `station ${station}: ${text}`, label(x, 16, numbered(station, narrow ? "" : text), "title"));
  const nodes = [
    s("rect", { x: 0, y: y(t) + at.row / 2, width: at.width - at.right, height: Math.max(0, (T - 1 - t) * at.row), class: "later" }),
    s("rect", { x: x(state.layer) + 2, y: 26, width: block - 4, height: at.height - 30, rx: 6, class: "band chosen" }),
    title(1, at.left / 2, "tokens"), title(2, narrow ? at.left + 12 : at.left + 24, "vectors"), title(8, at.width - at.right / 2, narrow ? "" : "next token"),
    ...[looked(t), t].map((k) => label(at.left - 8, y(k) + 4, short(ids[k], narrow ? 8 : 11), "token chosen", "end")),
    s("path", { d: ribbon(t, y(t), at.thick / 52 * scale), class: "mine" }),
    ...[[at.heads + at.pitch / 2, "heads", 4], [at.heads + 36, narrow ? "values" : "bring back", 5], [river, short(ids[t], narrow ? 6 : 10), 7], [river + 36, narrow ? "norm" : "LayerNorm", 3], [at.mlp, "MLPs", 6]].map(([v, text, station]) =>
      part({ station }, `station ${station}`, label(at.left - 8, v + 4, numbered(station, text), station === 7 ? "token chosen" : "lane", "end")))];
  for (let i = 0; i < L; i++) {
    if (i % Math.ceil(24 / block) === 0) nodes.push(part({ block: i + 1, station: 7 }, `block ${i + 1}`, label(x(i) + block / 2, 16, narrow || block < 50 ? String(i + 1) : `block ${i + 1}`, i === state.layer ? "title chosen" : "title")));
    lengths[i].forEach((length, h) => {
      const [u, v] = place(i, h), chosen = i === state.layer && h === state.head, weights = weightsOf(t, i, h), end = xOf(2 * i + 1);
      for (const k of strongest(weights, chosen ? 6 : 1)) if (k < t && weights[k] > (chosen ? 0.02 : 0.1)) {
        nodes.push(s("path", { d: `M${x(i) - 8} ${y(k)}C${x(i) + block * 0.2} ${y(k)} ${u} ${y(k) + 10} ${u} ${v - radius(length)}`, class: chosen ? "look chosen" : "look", "stroke-width": (chosen ? 1 : 0.6) + (chosen ? 5 : 1.6) * weights[k] }));
      }
      nodes.push(s("path", { d: `M${u} ${v}C${u} ${river - 40} ${u} ${river} ${end} ${river}`, class: chosen ? "brings chosen" : "brings", "stroke-width": Math.max(0.5, length * scale) }));
      nodes.push(part({ block: i + 1, head: h + 1, station: 4 }, `block ${i + 1}, head ${h + 1}: adds ${number(length)}, looks most at ${plain(ids[strongest(weights, 1)[0]])}`,
        s("circle", { cx: u, cy: v, r: at.pitch / 2, class: "target" }), s("circle", { cx: u, cy: v, r: radius(length), class: chosen ? "head-dot chosen" : "head-dot" })));
    });
    const size = sizeAt(inBlock(i, MLP)), side = Math.max(2, radius(size) * Math.sqrt(Math.PI)), u = x(i) + block * 0.82;
    nodes.push(s("path", { d: `M${u} ${at.mlp}C${u} ${river + 30} ${u} ${river} ${xOf(2 * i + 2)} ${river}`, class: "brings", "stroke-width": Math.max(0.5, size * scale) }),
      part({ block: i + 1, station: 6 }, `block ${i + 1}, MLP: adds ${number(size)}`, s("rect", { x: u - 12, y: at.mlp - 12, width: 24, height: 24, class: "target" }),
        s("rect", { x: u - side / 2, y: at.mlp - side / 2, width: side, height: side, rx: 2, class: "mlp-dot" })));
  }
  nodes.push(part({ station: 7 }, "the residual stream", s("path", { d: ribbon(t, river, scale), class: "river" })));
  for (let i = 0; i < L; i++) for (const [u, text] of [[x(i) + block * 0.02, "attention"], [x(i) + block * 0.74, "the MLP"]]) {
    nodes.push(part({ block: i + 1, station: 3 }, `block ${i + 1}, LayerNorm before ${text}`, s("rect", { x: u - 4, y: river - 30, width: 8, height: 60, class: "target" }), s("path", { d: `M${u} ${river - 30}V${river + 36}`, class: "norm" })));
  }
  const end = xOf(2 * L), names = at.width - at.right + (narrow ? 18 : 64), height = scale * sizeAt(inBlock(L - 1, OUT));
  let from = river - height / 2;  // the end of the stream is shared out by probability
  lens(L - 1, t).forEach(([id, p], k) => {
    const v = river + (k - 2) * 24, size = height * p, middle = (end + names) / 2;
    const edge = (y, to) => `C${middle} ${y} ${middle} ${to}`;
    nodes.push(s("path", { d: `M${end} ${from}${edge(from, v - size / 2)} ${names} ${v - size / 2}V${v + size / 2}${edge(v + size / 2, from + size)} ${end} ${from + size}Z`, class: "share" }),
      part({ station: 8 }, `next token ${plain(id)}: ${percentText(p)}`, s("rect", { x: names, y: v - 12, width: at.width - names, height: 24, class: "target" }),
        label(names + 6, v + 4, short(id, narrow ? 7 : 9), "token", "start"), narrow ? "" : label(at.width - 2, v + 4, percentText(p), "lane", "end")));
    from += size;
  });
  fill("flow", ...nodes);
  walk($("machine"), "a");
  fill("machine-read", "The stream of ", quoted(ids[t]), `, as thick as its vector is long: ${number(sizeAt(SUM))} at first, ${number(sizeAt(inBlock(L - 1, OUT)))} at the end.`);
});
const readPart = (event) => { const to = event.target.closest("a"); if (to) fill("machine-read", to.getAttribute("aria-label")); };
$("machine").addEventListener("pointerover", readPart);
$("machine").addEventListener("focusin", readPart);
new ResizeObserver(([{ contentRect }]) => set({ size: contentRect.width })).observe($("machine"));
}
