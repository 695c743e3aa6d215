"""What Hugging Face's tokenizer files say → the parts of a byte-level tokenizer.

Every key of a `tokenizer.json` is done, or refused by name, if it may change an id: none
is passed over. `tokenizers` and transformers 4 do all that it says, transformers 5 only a
part of it if it is a GPT2Tokenizer's; here all of it counts. Truncation and padding do
not: transformers switches them off for a text. Every function raises ValueError.
"""

import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..tokenizer import CHARACTERS
from .byte_level import NORMALIZERS, Added, Rules

Json = dict[str, Any]
CLASSES = ("GPT2Tokenizer", "PreTrainedTokenizer", "TokenizersBackend")  # and …Fast
CHANGES_IDS = ("add_bos_token", "add_eos_token", "do_lower_case", "auto_map")
NO_TOKEN_MORE = [[{"Sequence": {"id": "A", "type_id": 0}}]]  # of a template
OFFSETS = "trim_offsets add_prefix_space use_regex"  # where they change no id
BOTH = [False, True]


class Parts(NamedTuple):
    """See ByteLevelTokenizer."""

    ids: dict[str, int]
    merges: list[tuple[str, str]]
    added: list[Added]
    rules: Rules


def parts_of_tokenizer_json(file: Json, settings: Json) -> Parts:
    _only(
        "tokenizer.json",
        file,
        "version truncation padding added_tokens normalizer pre_tokenizer "
        "post_processor decoder model",
    )
    model = _only(
        "model",
        file.get("model"),
        # the last three are for a byte that has no token: a text with one is refused
        "vocab merges unk_token fuse_unk byte_fallback",
        type=[None, "BPE"],
        dropout=[None, 0],
        continuing_subword_prefix=[None, ""],
        end_of_word_suffix=[None, ""],
        ignore_merges=[None, False],
    )
    normalizers = _steps(file, "normalizer", "normalizers")
    for step in normalizers:
        _only("normalizer", step, type=[*NORMALIZERS])
    *cuts, last = _steps(file, "pre_tokenizer", "pretokenizers") or [None]
    for step in cuts:
        _only("pre_tokenizer", step, type=["Digits"], individual_digits=BOTH)
    values: Json = {"type": ["ByteLevel"], "use_regex": [True]}
    last = _only("pre_tokenizer", last, "trim_offsets add_prefix_space", **values)
    for step in _steps(file, "post_processor", "processors"):
        keys = f"pair special_tokens {OFFSETS}"
        values = {"type": ["ByteLevel", "TemplateProcessing"], "single": NO_TOKEN_MORE}
        _only("post_processor", step, keys, **values)
    for step in _steps(file, "decoder", "decoders"):
        _only("decoder", step, OFFSETS, type=["ByteLevel"])

    space, kind = last.get("add_prefix_space"), settings.get("tokenizer_class")
    is_gpt2 = str(kind).startswith("GPT2")  # without add_prefix_space, that is false
    if (
        space not in BOTH
        or settings.get("add_prefix_space", False if is_gpt2 else space) != space
    ):
        raise ValueError("add_prefix_space is not the same in tokenizer_config.json")
    cut = r"\p{N}+|\P{N}+" if cuts else None
    if any(step.get("individual_digits") for step in cuts):
        cut = r"\p{N}|\P{N}+"
    rules = Rules(tuple(step["type"] for step in normalizers), cut, bool(space))
    merges, added = model.get("merges"), file.get("added_tokens")
    if type(merges) is not list or type(added) is not list:
        raise ValueError("no lists of merges and added_tokens")
    tokens = [_added(token) for token in added]
    return Parts(_ids(model.get("vocab")), _pairs(merges), tokens, rules)


def parts_of_vocab_json(
    vocab: Json, merges: list[Any], added: Json, settings: Json
) -> Parts:
    """The same of vocab.json, merges.txt and added_tokens.json. A name that no merge
    makes was added, even if no file says so: no text would lead to it. One with the
    characters of bytes, such as "Ġthe", is a sign of merges that are missing."""
    ids, pairs = _ids(vocab), _pairs(merges)
    made = {a + b for a, b in pairs}.union(CHARACTERS)
    unmade = {n: i for n, i in ids.items() if n not in made}
    for name in unmade:
        if not name.isascii() and name not in added:
            problem = f"no merge makes {_short(name)} of vocab.json"
            raise ValueError(f"{problem}: is merges.txt whole?")
    words = added.keys() - named(settings).values()
    tokens = (unmade | added).items()
    space = settings.get("add_prefix_space", False)
    if space not in BOTH:
        raise ValueError(f"add_prefix_space is {_short(space)}")
    special = [_added({"content": n, "special": n not in words}, i) for n, i in tokens]
    return Parts(ids, pairs, special, Rules(prefix_space=space))


def with_settings(parts: Parts, settings: Json) -> Parts:
    """The parts with the tokens that tokenizer_config.json adds. What else it says is
    refused if it changes ids."""
    kind = settings.get("tokenizer_class")
    if kind is not None and str(kind).removesuffix("Fast") not in CLASSES:
        raise ValueError(f"it is for a {_short(kind)}, expected a {CLASSES[0]}")
    for key in CHANGES_IDS:
        if settings.get(key):
            raise ValueError(f"tokenizer_config.json has {key}, which is not done here")
    tokens = {token.id: token for token in parts.added}
    if len(tokens) < len(parts.added):
        raise ValueError("two added tokens have one id")
    decoder = settings.get("added_tokens_decoder") or {}
    if type(decoder) is not dict:
        raise ValueError(f"added_tokens_decoder is {_short(decoder)}")
    for number, fields in decoder.items():
        token = _added(fields, int(number))
        if tokens.setdefault(token.id, token).content != token.content:
            raise ValueError(f"tokenizer_config.json has another token {number}")
    added = {token.content: token for token in tokens.values()}
    if len(added) < len(tokens):
        raise ValueError("a token was added twice")
    for name in named(settings).values():
        if name in parts.ids and name not in added:
            if not name.isascii():
                raise ValueError(
                    f"{_short(name)} is named as special, but made by merges"
                )
            added[name] = Added(parts.ids[name], name)
    for _, fields in _named(settings):
        if isinstance(fields, dict) and (
            known := added.get(str(fields.get("content")))
        ):
            for flag in "single_word", "lstrip", "rstrip":
                if fields.get(flag, False) not in (False, getattr(known, flag)):
                    raise ValueError(f"{_short(known.content)} has {flag} in one file")
    return parts._replace(added=[*added.values()])


def check_ids(parts: Parts, n_vocab: int) -> None:
    """See that each name has an id of its own, below n_vocab."""
    names: dict[int, str] = {}
    for name, i in [*parts.ids.items(), *((t.content, t.id) for t in parts.added)]:
        if not 0 <= i < n_vocab:
            size = f"n_vocab is {n_vocab}"
            raise ValueError(f"token {_short(name)} has id {_short(i)}, {size}")
        if names.setdefault(i, name) != name or parts.ids.get(name, i) != i:
            raise ValueError(f"token {_short(name)} shares the id {i}, or has another")


def named(settings: Json) -> dict[str, str]:
    """The special tokens: {"eos_token": "</s>", …}, and those that have no name."""
    texts = {k: t.get("content") if type(t) is dict else t for k, t in _named(settings)}
    return {key: text for key, text in texts.items() if type(text) is str}


def _named(settings: Json) -> Iterator[tuple[str, Any]]:
    yield from (item for item in settings.items() if item[0].endswith("_token"))
    for key in "additional_special_tokens", "extra_special_tokens":
        more = settings.get(key) or []
        tokens = [*more.values()] if isinstance(more, dict) else more
        if type(tokens) is not list:
            raise ValueError(f"{key} is {_short(more)}, expected a list")
        yield from ((f"{key} {n}", token) for n, token in enumerate(tokens))


def _added(found: Any, i: int | None = None) -> Added:
    flags = dict.fromkeys(Added._fields[2:], BOTH)
    token = _only("an added token", found, "id content __type", **flags)
    i = token.get("id") if i is None else i
    content = token.get("content")
    if type(i) is not int or type(content) is not str or not content:
        raise ValueError(f"{_short(found)} is no token")
    return Added(i, content, **{flag: token[flag] for flag in flags if flag in token})


def _ids(vocab: Any) -> dict[str, int]:
    if type(vocab) is not dict:
        raise ValueError(f"vocab is {_short(vocab)}, expected ids by names")
    for name, i in vocab.items():
        if type(i) is not int:
            raise ValueError(f"token {_short(name)} has id {_short(i)}")
    return vocab


def _pairs(merges: list[Any]) -> list[tuple[str, str]]:
    """The merges, as "a b" or as ["a", "b"]."""
    pairs = [merge.split(" ") if type(merge) is str else merge for merge in merges]
    for number, pair in enumerate(pairs, start=1):
        if type(pair) is not list or [type(part) for part in pair] != [str, str]:
            raise ValueError(f"merge {number} is {_short(merges[number - 1])}")
    return [(a, b) for a, b in pairs]


def _steps(file: Json, name: str, several: str) -> list[Any]:
    """The steps of a part of tokenizer.json: none, one, or a sequence."""
    part = file.get(name)
    if isinstance(part, dict) and part.get("type") == "Sequence":
        part = _only(name, part, f"type {several}").get(several)
    return part if isinstance(part, list) else [] if part is None else [part]


def _only(what: str, part: Any, keys: str = "", **values: list[Any]) -> Json:
    """A part of a file. Refused is one that is not of the types in `values`, or has keys
    or values that are not known here."""
    kinds = values.get("type", [None])
    kind = part.get("type") if isinstance(part, dict) else part
    if not isinstance(part, dict) or ("type" in values and kind not in kinds):
        raise ValueError(
            f"{what} is {_short(kind)}, expected {kinds[-1] or 'an object'}"
        )
    for key, value in part.items():
        if key not in keys.split() and value not in values.get(key, []):
            name = _short(key)[1:-1]
            raise ValueError(f"{what} has {name} {_short(value)}, not known here")
    return part


def _short(value: object) -> str:
    return reprlib.repr(value)
