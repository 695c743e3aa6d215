"""What Hugging Face's tokenizer files say → the parts of a byte-level tokenizer.

Every key of a `tokenizer.json` is done, or refused by name, if it may change an id: none
is passed over. `tokenizers` and transformers 4 do all that it says, transformers 5 only a
part of it if it is a GPT2Tokenizer's; here all of it counts. Truncation and padding do
not: transformers switches them off for a text. Every function raises ValueError.
"""

import reprlib
from typing import Any

from ..tokenizer import CHARACTERS
from .byte_level import NORMALIZERS, Added, Parts, Rules

Json = dict[str, Any]
CLASSES = ("GPT2Tokenizer", "PreTrainedTokenizer", "TokenizersBackend")  # and …Fast
CHANGES_IDS = ("add_bos_token", "add_eos_token", "do_lower_case", "auto_map")
BOTH = [False, True]
NO_TOKEN_MORE = [[{"Sequence": {"id": "A", "type_id": 0}}]]  # of a template
OFFSETS = "trim_offsets add_prefix_space use_regex"  # where they change no id


def _keys(names: str) -> Json:
    return dict.fromkeys(names.split())


KNOWN: dict[str, Json] = {  # part → its keys, and their values: None: any
    "tokenizer.json": _keys(
        "version truncation padding added_tokens normalizer pre_tokenizer "
        "post_processor decoder model"
    ),
    # the last three are for a byte that has no token: a text with one is refused
    "model": _keys("vocab merges unk_token fuse_unk byte_fallback")
    | {"type": [None, "BPE"], "dropout": [None, 0], "ignore_merges": [None, False]}
    | {"continuing_subword_prefix": [None, ""], "end_of_word_suffix": [None, ""]},
    "normalizer": {"type": [*NORMALIZERS]},
    "pre_tokenizer": _keys("trim_offsets add_prefix_space")
    | {"type": ["Digits", "ByteLevel"], "individual_digits": BOTH, "use_regex": [True]},
    "post_processor": _keys(f"pair special_tokens {OFFSETS}")
    | {"type": ["ByteLevel", "TemplateProcessing"], "single": NO_TOKEN_MORE},
    "decoder": _keys(OFFSETS) | {"type": ["ByteLevel"]},
    "an added token": _keys("id content __type")
    | dict.fromkeys(Added._fields[2:], BOTH),
}
SEQUENCES = {  # a part that may have several steps → the name of their list
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}


def as_tokenizer_json(
    vocab: Json, merges: list[str], added: Json, settings: Json
) -> Json:
    """What vocab.json, merges.txt and added_tokens.json say, as tokenizer.json says it.

    A name that no merge makes was added, even if no file says so: no text would lead to
    it. One with the characters of bytes, such as "Ġthe", is a sign of missing merges.
    """
    made = {merge.replace(" ", "") for merge in merges}.union(CHARACTERS)
    tokens = {n: i for n, i in vocab.items() if n not in made} | added
    for name in tokens.keys() - added.keys():
        if not name.isascii():
            problem = f"no merge makes {_short(name)} of vocab.json"
            raise ValueError(f"{problem}: is merges.txt whole?")
    words = added.keys() - {token["content"] for token in named(settings).values()}
    space = settings.get("add_prefix_space", False)
    return {
        "model": {"vocab": vocab, "merges": merges},
        "added_tokens": [
            {"id": i, "content": n, "special": n not in words}
            for n, i in tokens.items()
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": space},
    }


def read_parts(file: Json, settings: Json) -> Parts:
    """The parts that a tokenizer.json and the tokenizer_config.json beside it describe."""
    _only("tokenizer.json", file)
    model = _only("model", file.get("model"))
    steps = {part: _steps(part, file.get(part)) for part in SEQUENCES}
    *cuts, last = steps["pre_tokenizer"] or [{"type": None}]
    if any(cut["type"] != "Digits" for cut in cuts) or last["type"] != "ByteLevel":
        raise ValueError(f"pre_tokenizer is {last['type']}, expected ByteLevel")
    kind, space = settings.get("tokenizer_class"), last.get("add_prefix_space")
    if kind is not None and str(kind).removesuffix("Fast") not in CLASSES:
        raise ValueError(f"it is for a {_short(kind)}, expected a {CLASSES[0]}")
    for key in CHANGES_IDS:
        if settings.get(key):
            raise ValueError(f"tokenizer_config.json has {key}, which is not done here")
    unsaid = False if str(kind).startswith("GPT2") else space
    if space not in BOTH or settings.get("add_prefix_space", unsaid) != space:
        raise ValueError("add_prefix_space is not the same in tokenizer_config.json")
    cut = r"\p{N}+|\P{N}+" if cuts else None
    if any(step.get("individual_digits") for step in cuts):
        cut = r"\p{N}|\P{N}+"
    rules = Rules(tuple(step["type"] for step in steps["normalizer"]), cut, space)
    for name, kind in ("vocab", dict), ("merges", list), ("added_tokens", list):
        if type(found := (file | model).get(name)) is not kind:
            raise ValueError(f"{name} is {_short(found)}, expected a {kind.__name__}")
    added = _added(model["vocab"], file["added_tokens"], settings)
    return Parts(model["vocab"], model["merges"], added, rules)


def check_ids(parts: Parts, n_vocab: int) -> None:
    """See that each name has an id of its own, below n_vocab."""
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for name, i in [*parts.ids.items(), *((t.content, t.id) for t in parts.added)]:
        if type(i) is not int or not 0 <= i < n_vocab:
            size = f"n_vocab is {n_vocab}"
            raise ValueError(f"token {_short(name)} has id {_short(i)}, {size}")
        if names.setdefault(i, name) != name or ids.setdefault(name, i) != i:
            raise ValueError(f"token {_short(name)} shares the id {i}, or has another")


def named(settings: Json) -> dict[str, Json]:
    """The special tokens that have a name, {"eos_token": {"content": "</s>"}, …}, and
    those that have none."""
    tokens = {key: t for key, t in settings.items() if key.endswith("_token")}
    for key in "additional_special_tokens", "extra_special_tokens":
        more = settings.get(key) or []
        more = [*more.values()] if isinstance(more, dict) else more
        if type(more) is not list:
            raise ValueError(f"{key} is {_short(more)}, expected a list")
        tokens |= {f"{key} {n}": token for n, token in enumerate(more)}
    found = {k: {"content": t} if type(t) is str else t for k, t in tokens.items()}
    dicts = {key: t for key, t in found.items() if type(t) is dict}
    return {key: t for key, t in dicts.items() if type(t.get("content")) is str}


def _added(ids: Json, added: list[Any], settings: Json) -> list[Added]:
    """The added tokens of all files, each once. Where two say how a token is found in a
    text, the first counts: the second must be the same, or plain."""
    decoder = settings.get("added_tokens_decoder") or {}
    if type(decoder) is not dict:
        raise ValueError(f"added_tokens_decoder is {_short(decoder)}")
    found = [_token(fields) for fields in added]
    found += [_token(fields, int(number)) for number, fields in decoder.items()]
    tokens: dict[tuple[str, int], Added] = {}
    for token in found:
        tokens.setdefault((token.content, token.id), token)
    known = {token.content: token for token in reversed(found)}
    for fields in named(settings).values():
        name = fields["content"]
        if name not in known and name not in ids:
            continue
        token = _token(fields, known[name].id if name in known else ids[name])
        if known.get(name, token)[4:] != token[4:] and any(token[4:]):
            flags = ", ".join(Added._fields[4:])
            raise ValueError(f"{_short(name)} has other {flags} in another file")
        if name not in known and not name.isascii():
            raise ValueError(f"{_short(name)} is named as special, but made by merges")
        tokens.setdefault((name, token.id), token)
    return [*tokens.values()]


def _token(found: Any, i: int | None = None) -> Added:
    fields = _only("an added token", found)
    i, content = fields.get("id") if i is None else i, fields.get("content")
    if type(i) is not int or type(content) is not str or not content:
        raise ValueError(f"{_short(found)} is no token")
    flags = {flag: fields[flag] for flag in Added._fields[2:] if flag in fields}
    return Added(i, content, **flags)


def _steps(name: str, part: Any) -> list[Json]:
    """The steps of a part of tokenizer.json: none, one, or a sequence."""
    if isinstance(part, dict) and part.get("type") == "Sequence":
        several = SEQUENCES[name]
        part = _only(name, part, _keys(f"type {several}")).get(several)
    steps = part if isinstance(part, list) else [] if part is None else [part]
    return [_only(name, step) for step in steps]


def _only(what: str, part: Any, known: Json | None = None) -> Json:
    """A part of a file. Refused is one of a type, or with a key or a value, that is not
    known here."""
    known = known or KNOWN[what]
    kinds = known.get("type")
    kind = part.get("type") if isinstance(part, dict) else part
    if not isinstance(part, dict) or (kinds and kind not in kinds):
        expected = kinds[-1] if kinds else "an object"
        raise ValueError(f"{what} is {_short(kind)}, expected {expected}")
    for key, value in part.items():
        if key not in known or (known[key] and value not in known[key]):
            name = _short(key)[1:-1]
            raise ValueError(f"{what} has {name} {_short(value)}, not known here")
    return part


def _short(value: object) -> str:
    return reprlib.repr(value)
