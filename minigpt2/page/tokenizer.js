// Text → token ids, as in tokenizer.py.
"use strict";

// Python's \s is \p{White_Space}; JavaScript's is not.
const PIECE = /'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const longestToken = () => Math.max(...Array.from({ length: V }, (_, id) => bytesOf(id).length));

// Bytes → ids: the pair earliest in the list is merged, the leftmost first, until no pair is in the list.
// After each merge `step` gets the ids, the place of the new one, and the merge's place in the list.
function merge(bytes, step) {
  const tokens = Array.from(bytes, (byte) => written.byte_ids[byte]), rank = (i) => rankOf.get(tokens[i] * V + tokens[i + 1]) ?? Infinity;
  if (tokens.includes(V)) throw new RangeError(`This vocabulary has no token for the byte 0x${bytes[tokens.indexOf(V)].toString(16)}.`);
  const ranks = tokens.map((_, i) => rank(i));
  for (;;) {
    let at = 0;
    ranks.forEach((r, i) => { if (r < ranks[at]) at = i; });
    if (!(ranks[at] < Infinity)) return tokens;
    const found = ranks[at];
    tokens.splice(at, 2, written.merged[found]);
    step?.(tokens, at, found);
    ranks.splice(at, 1);
    for (const i of [at - 1, at]) if (i >= 0) ranks[i] = rank(i);
  }
}

// The ids of a text, and how many each piece has; an empty one is what a text begins after. A
// text is only text: `<|endoftext|>` in it is spelled out. A lone surrogate becomes U+FFFD.
function encode(text, most = Infinity) {
  const utf8 = new TextEncoder();
  if (!text) {
    if (!data.beginning) throw new RangeError("Type a text: this vocabulary has no token that a text begins after.");
    return { ids: data.beginning, pieces: [1] };
  }
  if (most < Infinity && utf8.encode(text).length > most * longestToken()) throw new RangeError(`The text is too long: this page reads at most ${big(most)} tokens.`);
  const pieces = text.match(PIECE).map((piece) => merge(utf8.encode(piece))), ids = pieces.flat();
  if (ids.length > most) throw new RangeError(`The text has ${big(ids.length)} tokens: this page reads at most ${big(most)}.`);
  return { ids, pieces: pieces.map(({ length }) => length) };
}
