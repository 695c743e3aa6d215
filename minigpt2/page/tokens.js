// A token → something readable. The vocabulary is bytes and the merge list.
"use strict";

const special = (id) => data.special[id];
const byteOf = new Map([...written.byte_ids].map((id, byte) => [id, byte]));
const rankOf = new Map(), pairOf = new Map();  // of two ids; of what they make
for (let rank = written.merged.length - 1; rank >= 0; rank--) {
  const [left, right] = written.merges.subarray(2 * rank, 2 * rank + 2);
  rankOf.set(left * V + right, rank);
  pairOf.set(written.merged[rank], [left, right]);
}

function bytesOf(id) {
  if (special(id)) return [...new TextEncoder().encode(special(id))];
  return byteOf.has(id) ? [byteOf.get(id)] : (pairOf.get(id) ?? []).flatMap(bytesOf);
}

// The tokens after each merge of these bytes.
function mergesOf(bytes) {
  const steps = [{ tokens: bytes.map((byte) => written.byte_ids[byte]), merged: -1 }];
  merge(bytes, (tokens, at, rank) => steps.push({ tokens: [...tokens], merged: at, merge: rank + 1 }));
  return steps;
}

// bytes → characters, and single bytes where these are no UTF-8
function characters(bytes) {
  const found = [], utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (let i = 0; i < bytes.length;) {
    const first = bytes[i];
    const size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      if (first >= 0x80 && first < 0xc0 || i + size > bytes.length) throw 0;
      found.push(utf8.decode(Uint8Array.from(bytes.slice(i, i + size))));
      i += size;
    } catch {
      found.push(first);
      i += 1;
    }
  }
  return found;
}

// Spaces, line breaks, control characters and lone bytes are made visible.
const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };
function visible(bytes) {
  const nodes = [];
  for (const c of characters(bytes)) {
    if (typeof c === "number") {
      nodes.push(el("span", { class: "byte", title: "a byte that is no character by itself" }, c.toString(16).padStart(2, "0")));
    } else if (SIGNS[c]) {
      nodes.push(el("wbr"), el("span", { class: "sign" }, SIGNS[c]));
    } else if (/[\p{C}\p{Z}]/u.test(c)) {
      nodes.push(el("span", { class: "byte" }, "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")));
    } else {
      nodes.push((/^\p{M}/u.test(c) && !nodes.length ? "◌" : "") + c);
    }
  }
  return nodes.length ? nodes : [el("span", { class: "sign" }, "unused")];
}
const showToken = (id) => special(id) ? [el("span", { class: "sign" }, special(id))] : visible(bytesOf(id));
const plain = (id) => el("i", {}, ...showToken(id)).textContent;
const quoted = (id) => el("bdi", { class: "tok" }, ...showToken(id));
const count = (n, what) => `${big(n)} ${what}${n === 1 ? "" : "s"}`;
