"""Whose ids are these? A model's own files say it, or its tokenizer is refused.

kinds/tokenizer.json is as transformers 5 writes it: 600 tokens, <|endoftext|> the last;
kinds/ids.json has what it makes of some texts. The other files are made from these two.
tests/test_vocabulary_oracles.py compares more kinds with the tools themselves.
"""

import copy
import hashlib
import json
import re
import shutil
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import run

import minigpt2
from minigpt2 import CheckpointError, Tokenizer
from minigpt2.files import save
from minigpt2.files.byte_level import ByteLevelTokenizer
from minigpt2.files.vocabulary import open_tokenizer
from minigpt2.generate import TextStream
from minigpt2.learning import corpus
from minigpt2.learning.optimizer import initialise
from minigpt2.learning.training import Training
from minigpt2.model import Config, shapes
from minigpt2.page import explain

KINDS = Path(__file__).with_name("kinds")
FILE = json.loads((KINDS / "tokenizer.json").read_text(encoding="utf-8"))
IDS = json.loads((KINDS / "ids.json").read_text(encoding="utf-8"))
RELEASED = Path(minigpt2.__file__).with_name("vocab.bpe")
SIGNS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def config(n_vocab=600):
    return Config(n_vocab, n_ctx=48, n_embd=24, n_head=3, n_layer=2)


def write(directory, **files):
    """Write files of JSON, or of lines: tokenizer_config={…} is tokenizer_config.json."""
    for name, content in files.items():
        if isinstance(content, list):
            path, text = directory / f"{name}.txt", "\n".join(content) + "\n"
        else:
            path, text = directory / f"{name}.json", json.dumps(content)
        path.write_text(text, encoding="utf-8")
    return directory


def changed(**parts):
    """The tokenizer.json with other parts: of the model, if they are the model's."""
    file = copy.deepcopy(FILE)
    for name, part in parts.items():
        (file["model"] if name in file["model"] else file)[name] = part
    return file


def added(i, content, special=True, **flags):
    token = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return token | {"id": i, "content": content, "special": special} | flags


def quietly(directory, n_vocab=600):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_tokenizer(directory, config(n_vocab))


def numbered(order):
    """The vocabulary and the merges, with the names in another order."""
    vocab = {name: i for i, name in enumerate(order)}
    return {"vocab": vocab, "merges": [" ".join(m) for m in FILE["model"]["merges"]]}


NAMES = list(FILE["model"]["vocab"])
ORDERS = {
    "as learned": NAMES,
    "signs first": [*SIGNS, *NAMES[:-1]],
    "signs in the middle": [*NAMES[:300], *SIGNS, *NAMES[300:]],
    "sorted by name": [*NAMES[:256], *sorted(NAMES[256:])],
    "no sign": NAMES[:-1],
}


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_ids_are_those_of_the_files_in_any_order(tmp_path, order, files):
    parts = numbered(order)
    if files == "tokenizer.json":
        write(tmp_path, tokenizer=changed(**parts, added_tokens=[]))
    else:
        write(
            tmp_path, vocab=parts["vocab"], merges=["#version: 0.2", *parts["merges"]]
        )
    tokenizer = quietly(tmp_path, 640)  # 640: with padding
    for text, ids in IDS.items():
        expected = [order.index(NAMES[i]) for i in ids]
        assert tokenizer.encode(text) == expected, text
        assert [i for part in tokenizer.encode_parts(text) for i in part] == expected
        assert tokenizer.decode(expected) == text
    assert tokenizer.decode([620]) == ""
    assert len(tokenizer.vocab) == tokenizer.n_vocab == 640


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    directory = tmp_path_factory.mktemp("released")
    save.write_description(directory, config(50257), Tokenizer.from_file())
    return directory


def test_the_released_vocabulary_is_written_byte_for_byte(released):
    """As OpenAI's encoder.json and vocab.bpe are: tiktoken has their SHA-256, too."""
    for name, digest in {
        "vocab.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        "merges.txt": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    }.items():
        data = (released / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, name


@pytest.mark.parametrize(
    ("n_vocab", "beside", "is_plain"),
    [
        (50257, {}, True),
        (50304, {}, True),
        (50400, {}, False),  # wider than padding
        (50256, {}, None),  # the model lacks <|endoftext|>
        (50258, {"added_tokens": {"<pad>": 50257}}, False),
        (50257, {"tokenizer_config": {"add_prefix_space": True}}, False),
        (50257, {"tokenizer_config": {"add_bos_token": True}}, None),
        (50257, {"special_tokens_map": {"pad_token": "!"}}, False),
        (50257, {"tokenizer_config": {"pad_token": "!"}}, False),
        (50257, {"special_tokens_map": {"pad_token": "<pad>"}}, True),  # not there
    ],
)
def test_what_stands_beside_the_released_files_counts(
    released, tmp_path, n_vocab, beside, is_plain
):
    """The files themselves need not be parsed; parsed, they give the same."""
    directory = shutil.copytree(released, tmp_path / "model")
    write(directory, **beside)
    parsed = shutil.copytree(directory, tmp_path / "parsed")
    with open(parsed / "vocab.json", "a") as file:
        file.write("\n")  # other bytes of the same meaning
    if is_plain is None:
        for path in directory, parsed:
            with pytest.raises(CheckpointError, match="vocab.json and merges.txt: "):
                quietly(path, n_vocab)
        return
    ours, theirs = quietly(directory, n_vocab), quietly(parsed, n_vocab)
    assert type(ours) is type(theirs)
    assert isinstance(ours, ByteLevelTokenizer) == (not is_plain)
    for name in "n_vocab", "vocab", "names", "special", "eot", "ends":
        assert getattr(ours, name) == getattr(theirs, name), name
    for text in "Hello world!", " Hello", "<pad><|endoftext|>":
        for allowed in False, True:
            assert ours.encode(text, allowed) == theirs.encode(text, allowed)


@pytest.mark.parametrize("file", ["vocab.json", "merges.txt"])
def test_released_files_with_two_tokens_exchanged_are_others(released, tmp_path, file):
    directory = shutil.copytree(released, tmp_path / "model")
    text = (directory / file).read_text(encoding="utf-8")
    a, b = {"vocab.json": (": 256,", ": 257,"), "merges.txt": ("Ġ t\n", "Ġ a\n")}[file]
    other = text.replace(a, "\0").replace(b, a).replace("\0", b)
    assert len(other) == len(text) and other != text
    (directory / file).write_text(other, encoding="utf-8")
    tokenizer = quietly(directory, 50257)
    assert isinstance(tokenizer, ByteLevelTokenizer)
    assert (tokenizer.encode(" t") == [256]) == (file == "merges.txt")


def test_merges_of_both_forms_give_the_same(tmp_path):
    merges = [" ".join(pair) for pair in FILE["model"]["merges"]]
    write(tmp_path, tokenizer=changed(merges=merges))
    tokenizer = open_tokenizer(tmp_path, config())
    assert [tokenizer.encode(text) for text in IDS] == list(IDS.values())


def test_the_tokenizer_json_counts_where_both_are_there(tmp_path):
    write(tmp_path, tokenizer=FILE, vocab={"!": 0}, merges=["! !"])
    assert (
        open_tokenizer(tmp_path, config()).encode("Hello world") == IDS["Hello world"]
    )


def test_two_merges_may_make_one_token_and_pieces_are_merged_by_rank(tmp_path):
    """What is a token is not always reached: `abc` is, by neither merge, in `abc`."""
    merges = ["b c", "a b", "ab c", "a bc", "x y", "xy z", "y z", "x yz", "abc abc"]
    names = [*NAMES[:256], "abcabc", "xyz", "yz", "xy", "abc", "ab", "bc"]
    write(tmp_path, tokenizer=changed(vocab=numbered(names)["vocab"], merges=merges, added_tokens=[]))  # fmt: skip
    tokenizer = open_tokenizer(tmp_path, config())
    for text, tokens in {
        "abc": ["abc"],
        "abcabc": ["abcabc"],
        "xyz": ["xyz"],
        "abab": ["ab", "ab"],
        "abc" * 50: ["abcabc"] * 25,
    }.items():
        assert tokenizer.encode(text) == [names.index(token) for token in tokens]
    merges = ["b c", "a b", "ab c"]  # in `abc`, `bc` comes first and leaves `a` alone
    write(tmp_path, tokenizer=changed(vocab=numbered(names)["vocab"], merges=merges, added_tokens=[]))  # fmt: skip
    tokenizer = open_tokenizer(tmp_path, config())
    assert tokenizer.encode("abc") == [names.index("a"), names.index("bc")]


def test_of_a_merge_that_is_there_twice_the_last_counts(tmp_path):
    names = [*NAMES[:256], "ab", "bc"]
    merges = ["a b", "b c", "a b"]
    write(tmp_path, tokenizer=changed(vocab=numbered(names)["vocab"], merges=merges, added_tokens=[]))  # fmt: skip
    tokenizer = open_tokenizer(tmp_path, config())
    assert tokenizer.encode("abc") == [names.index("a"), names.index("bc")]
    assert list(tokenizer.merges.values()) == [names.index("bc"), names.index("ab")]


def test_a_byte_without_a_token_is_refused_in_a_text(tmp_path):
    names = [name for name in NAMES if name != "Ñ" and "Ñ" not in name]
    merges = [m for m in FILE["model"]["merges"] if "Ñ" not in "".join(m)]
    parts = {"vocab": numbered(names)["vocab"], "merges": merges, "unk_token": "<unk>"}
    write(tmp_path, tokenizer=changed(**parts, added_tokens=[]))
    tokenizer = open_tokenizer(tmp_path, config())
    assert tokenizer.decode(tokenizer.encode("Hello")) == "Hello"
    with pytest.raises(ValueError, match=r"no token for byte 0xd1, in '.*я'"):
        tokenizer.encode("Hello я")


# What is done to a text


def rules(*normalizers, digits=None, space=False):
    byte_level = FILE["pre_tokenizer"] | {"add_prefix_space": space}
    cut = {"type": "Digits", "individual_digits": digits}
    steps = [{"type": name} for name in normalizers]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": byte_level
        if digits is None
        else {"type": "Sequence", "pretokenizers": [cut, byte_level]},
    }


@pytest.mark.parametrize(
    "parts, text, same",
    [
        (rules("Lowercase"), "HELLO ΟΔΟΣ Straße", ["hello οδοσ straße"]),
        (rules("NFC"), "cafe\u0301", ["café"]),
        (rules("NFKC", "Lowercase"), "ＦＵＬＬ ﬁ", ["full fi"]),
        (rules(space=True), "Hello", [" Hello"]),
        (rules(space=True), " Hello", [" Hello"]),
        (rules(space=True), "\nHello", [" \nHello"]),
        (rules(digits=True), "a 123²", ["a", " ", "1", "2", "3", "²"]),
        (rules(digits=False), "a 123²", ["a", " ", "123²"]),
        (rules(digits=False, space=True), "a12", [" a", " 12"]),
    ],
)
def test_what_is_done_to_a_text(tmp_path, parts, text, same):
    plain = open_tokenizer(KINDS, config())
    write(tmp_path, tokenizer=changed(**parts))
    tokenizer = open_tokenizer(tmp_path, config())
    expected = [i for part in same for i in plain.encode(part)]
    assert tokenizer.encode(text) == expected
    assert [i for part in tokenizer.encode_parts(text) for i in part] == expected
    assert tokenizer.encode("") == []


# Added tokens


def test_special_tokens_are_read_where_they_are_allowed_and_words_always(tmp_path):
    tokens = [
        *FILE["added_tokens"],
        added(600, "<|user|>"),
        added(601, "New York", False),
    ]
    write(tmp_path, tokenizer=changed(added_tokens=tokens))
    with pytest.warns(UserWarning, match=r"'<\|user\|>', 'New York'"):
        tokenizer = open_tokenizer(tmp_path, config(602))
    plain = open_tokenizer(KINDS, config())
    assert tokenizer.special == {"<|endoftext|>": 599, "<|user|>": 600}
    text = "<|user|>New York<|endoftext|>New"
    encode = plain.encode
    assert tokenizer.encode(text, allow_special=True) == [600, 601, 599, *encode("New")]
    expected = [*encode("<|user|>"), 601, *encode("<|endoftext|>New")]
    assert tokenizer.encode(text) == expected
    assert tokenizer.decode([600, 601, 599]) == "<|user|>New York<|endoftext|>"
    parts = [text[i : i + 3] for i in range(0, len(text), 3)]
    assert [i for part in tokenizer.encode_parts(parts) for i in part] == expected


@pytest.mark.parametrize(
    "flags, text, expected",
    [
        ({}, "a tok b", ["a ", 600, " b"]),
        ({"lstrip": True}, "a  tok b", ["a", 600, " b"]),
        ({"rstrip": True}, "a tok \n b", ["a ", 600, "b"]),
        ({"single_word": True}, "tok tokk étok tok.", [600, " tokk étok ", 600, "."]),
        ({"normalized": True}, "TOK Tok", [600, " ", 600]),
        ({"normalized": False}, "TOK tok", ["tok ", 600]),
    ],
)
def test_how_an_added_token_is_found(tmp_path, flags, text, expected):
    tokens = [*FILE["added_tokens"], added(600, "tok", **flags)]
    lower = {"type": "Lowercase"} if "normalized" in flags else None
    write(tmp_path, tokenizer=changed(added_tokens=tokens, normalizer=lower))
    tokenizer, plain = quietly(tmp_path, 601), open_tokenizer(KINDS, config())
    parts = [[e] if isinstance(e, int) else plain.encode(e) for e in expected]
    assert tokenizer.encode(text, allow_special=True) == [
        i for ids in parts for i in ids
    ]


def test_the_longest_of_the_tokens_that_begin_together_is_found(tmp_path):
    tokens = [added(600 + i, text) for i, text in enumerate(["<a", "<a>", "a>b"])]
    write(tmp_path, tokenizer=changed(added_tokens=tokens))
    tokenizer = quietly(tmp_path, 603)
    ids = tokenizer.encode("<a>b<a", allow_special=True)
    assert ids == [601, NAMES.index("b"), 600]


def test_added_tokens_of_all_files_are_known(tmp_path):
    parts = numbered([*NAMES[:-1], "<s>", "[X]"])
    write(
        tmp_path,
        vocab=parts["vocab"],
        merges=parts["merges"],
        added_tokens={"<|user|>": 601, "covid": 602},
        special_tokens_map={"additional_special_tokens": ["<|user|>"]},
        tokenizer_config={
            "bos_token": {"content": "<s>", "__type": "AddedToken", "lstrip": False},
            "added_tokens_decoder": {"603": {"content": "<pad>", "special": True}},
        },
    )
    tokenizer = quietly(tmp_path, 604)
    expected = {"<s>": 599, "[X]": 600, "<|user|>": 601, "<pad>": 603}
    assert (tokenizer.special, tokenizer.words) == (expected, {"covid": 602})
    assert tokenizer.eot == 599


def test_a_model_that_was_not_made_larger_for_a_token_says_so(tmp_path):
    tokens = [*FILE["added_tokens"], added(600, "<pad>")]
    write(tmp_path, tokenizer=changed(added_tokens=tokens))
    with pytest.warns(
        UserWarning, match=r"lacks the added tokens '<pad>' \(n_vocab is 600\)"
    ):
        tokenizer = open_tokenizer(tmp_path, config())
    plain = open_tokenizer(KINDS, config())
    assert tokenizer.encode("<pad>", allow_special=True) == plain.encode("<pad>")


# The beginning and the end of a text

DEFAULTS = {"bos_token_id": 50256, "eos_token_id": 50256}  # of a config.json


@pytest.mark.parametrize(
    "files, eot, ends",
    [
        ({}, 0, {0}),
        ({"config": DEFAULTS}, 0, {0}),
        ({"config": {"eos_token_id": 3}}, 0, {3}),
        ({"config": {"eos_token_id": [3, 198]}}, 0, {3, 198}),
        ({"config": {"eos_token_id": 3}, "generation_config": {"eos_token_id": 4}}, 0, {4}),
        ({"config": {"eos_token_id": 3}, "generation_config": {"eos_token_id": None}}, 0, {3}),
        ({"config": {"bos_token_id": 1, "eos_token_id": None}}, 1, {0}),
        ({"tokenizer_config": {"bos_token": "<s>", "eos_token": "</s>"}}, 1, {3}),
        ({"tokenizer_config": {"eos_token": {"content": "</s>"}}}, 0, {3}),
        ({"config": {"bos_token_id": 50, "eos_token_id": 50}}, 0, {50}),  # 50 is a byte
        ({"config": {"eos_token_id": True, "bos_token_id": "<s>"}}, 0, {0}),
    ],
)  # fmt: skip
def test_what_a_text_begins_after_and_ends_at(tmp_path, files, eot, ends):
    parts = numbered(["<|endoftext|>", *SIGNS, *NAMES[:-1]])
    write(tmp_path, vocab=parts["vocab"], merges=parts["merges"], **files)
    tokenizer = quietly(tmp_path, 605)
    assert (tokenizer.eot, tokenizer.ends) == (eot, ends)
    for end in ends:
        stream = TextStream(tokenizer, [])
        assert stream.feed(5) + stream.feed(10) == "<mask>%"
        assert stream.feed(end) == "" and stream.ended


@pytest.fixture
def model(tmp_path):
    """A model of random parameters, as transformers would lay it out."""
    write(tmp_path, config={"model_type": "gpt2", "vocab_size": 604, "n_positions": 48, "n_embd": 24, "n_head": 3, "n_layer": 2, "eos_token_id": 602})  # fmt: skip
    params = {name: np.zeros(shape, np.float32) for name, shape in shapes(config(604))}
    initialise(params, np.random.default_rng(0))
    save.write_model(tmp_path, params)
    return tmp_path


def test_a_text_needs_something_to_start_from(model):
    parts = numbered(NAMES[:-1])
    write(model, vocab=parts["vocab"], merges=parts["merges"])
    gpt2 = minigpt2.load(model)
    assert gpt2.tokenizer.eot is None
    assert "".join(gpt2.generate("Hello", max_tokens=3, seed=0))
    for start in lambda: list(gpt2.generate("")), lambda: explain.explain(gpt2, ""):
        with pytest.raises(ValueError, match="no token that a text begins after"):
            start()


def test_a_model_with_added_tokens_generates_scores_and_explains(model):
    tokens = [*FILE["added_tokens"], added(600, "<|user|>"), added(601, "word", False)]
    tokens += [added(602, "<|done|>"), added(603, "<|more|>")]
    write(model, tokenizer=changed(added_tokens=tokens))
    gpt2 = minigpt2.load(model)
    with pytest.warns(UserWarning, match=r"<\|user\|>"):
        tokenizer = gpt2.tokenizer
    assert (tokenizer.eot, tokenizer.ends) == (599, {602})
    first, second = (
        "".join(gpt2.generate("<|user|>", 4, temperature=0, allow_special=allow))
        for allow in (True, False)
    )
    ids = tokenizer.encode("<|user|>", allow_special=True)
    assert ids == [600]
    for _ in range(4):
        ids.append(int(gpt2.logits(ids)[-1].argmax()))
    assert first == tokenizer.decode(ids[1:])
    assert first != second
    assert len(gpt2.score("Hello word")) == len(tokenizer.encode("Hello word")) - 1
    for prompt in "", "<|user|>", "Hello <|user|><|endoftext|> word":
        data = explain.explain(gpt2, prompt, allow_special=True)
        expected = tokenizer.encode(prompt, allow_special=True)
        assert sum(data["pieces"]) == max(1, len(expected))
    data = explain.explain(gpt2, "Hello word 12")
    assert sum(data["pieces"]) == len(tokenizer.encode("Hello word 12"))
    assert data["special"] == {599: "<|endoftext|>", 600: "<|user|>", 601: "word", 602: "<|done|>", 603: "<|more|>"}  # fmt: skip


def test_the_command_names_added_tokens_once_and_reads_them_if_asked(model):
    tokens = [*FILE["added_tokens"], added(600, "<|user|>"), added(602, "<|done|>")]
    write(model, tokenizer=changed(added_tokens=tokens))
    options = "<|user|>", "--model", model, "--max-tokens", "4", "--greedy"
    gpt2 = minigpt2.load(model)
    for special in [], ["--special"]:
        status, out, err = run(*options, *special)
        assert (status, err.count("\n"), err.count("'<|user|>', '<|done|>'")) == (
            0,
            1,
            1,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = gpt2.generate("<|user|>", 4, 0, allow_special=bool(special))
        assert out == "".join(expected) + "\n"


def test_the_command_refuses_a_tokenizer_of_another_kind_in_one_line(model):
    (model / "vocab.txt").write_text("[UNK]")
    status, out, err = run("Hello", "--model", model)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "vocab.txt is the vocabulary of a WordPiece tokenizer" in err


def test_a_model_is_whole_though_its_tokenizer_is_refused(model):
    """Both are said, in one line."""
    (model / "vocab.txt").write_text("[UNK]")
    status, _, err = run(model, "--verify", module="minigpt2.download")
    assert status == 0
    line = err.splitlines()[-1]
    assert f"{model} is whole, but {model}: no tokenizer for this model: " in line
    assert "WordPiece" in line


def test_the_page_reads_special_tokens_if_asked(model, tmp_path):
    write(model, tokenizer=changed(added_tokens=[added(600, "<|user|>")]))
    pages = []
    for special in [], ["--special"]:
        out = tmp_path / f"{len(special)}.html"
        command = "<|user|>", "--model", model, "-o", out, *special
        status, _, err = run(*command, module="minigpt2.explain")
        assert status == 0, err
        pages.append(out.read_text(encoding="utf-8"))
    assert ['"pieces":[1],' in page for page in pages] == [False, True]


@pytest.mark.parametrize("normalizer, n_bytes", [("Lowercase", 3), ("NFD", 3)])
def test_bits_per_byte_are_of_the_file_not_of_what_a_normalizer_makes_of_it(
    tmp_path, normalizer, n_bytes
):
    """İ has 2 bytes, and becomes i and a combining dot, which have 3, or I and the dot."""
    write(tmp_path, tokenizer=changed(**rules(normalizer)))
    tokenizer = open_tokenizer(tmp_path, config())
    (tmp_path / "data.txt").write_text("İ" * 100, encoding="utf-8")
    tokens, _, ratio = corpus.read_data(
        [tmp_path / "data.txt"], None, tmp_path / "out", tokenizer
    )
    assert ratio == pytest.approx(2 / n_bytes)
    settings = {"weight_decay": 0.1, "threads": 1}
    run = Training(config(), tokenizer, settings, tmp_path)  # all parameters are zero
    plain = run.bits_per_byte(tokens)
    run.bytes_per_byte = ratio
    assert run.bits_per_byte(tokens) == pytest.approx(plain / ratio)


def test_what_is_no_text_and_no_name_of_a_model_is_named():
    with pytest.raises(TypeError, match="^text is 5, expected a str$"):
        Tokenizer.from_file().encode(5)
    for given in 5, None, b"tiny":
        with pytest.raises(TypeError, match=f"^model is {given}, expected a str or"):
            minigpt2.load(given)
    with pytest.raises(TypeError, match="^weights is 5, expected a str or"):
        minigpt2.load("tiny", weights=5)


def test_what_training_writes_has_the_same_ids(tmp_path):
    tokens = [*FILE["added_tokens"], added(600, "<|user|>")]
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir(), out.mkdir()
    lower = {"type": "Lowercase"}
    write(source, tokenizer=changed(added_tokens=tokens, normalizer=lower))
    write(source, config={"eos_token_id": [599, 600]})
    first = quietly(source, 602)
    save.write_description(out, config(602), first)
    again = quietly(out, 602)
    for text in [*IDS, "<|user|>"]:
        for allow in True, False:
            assert again.encode(text, allow) == first.encode(text, allow)
    assert (again.eot, again.ends) == (first.eot, first.ends) == (599, {599, 600})


def test_a_run_that_begins_with_such_a_model_keeps_its_vocabulary(model, tmp_path):
    tokens = [*FILE["added_tokens"], added(600, "<|user|>")]
    text = changed(added_tokens=tokens, **rules("Lowercase", space=True))
    write(model, tokenizer=text)
    data, out = tmp_path / "data.txt", tmp_path / "out"
    data.write_text("The CAT sat on the mat. " * 60)
    options = ["--data", data, "--out", out, "--steps", "2", "--threads", "1"]
    status, _, err = run(*options, "--init", model, module="minigpt2.train")
    assert status == 0, err
    assert (out / "tokenizer.json").read_bytes() == (
        model / "tokenizer.json"
    ).read_bytes()
    gpt2 = minigpt2.load(out)
    with pytest.warns(UserWarning, match=r"<\|user\|>"):
        tokenizer = gpt2.tokenizer
    assert tokenizer.encode("CAT") == quietly(model, 604).encode("CAT")
    assert (tokenizer.eot, tokenizer.ends) == (599, {602})
    resumed = run(*options, "--resume", module="minigpt2.train")
    assert resumed[0] == 0, resumed[2]


def test_a_text_is_scored_from_its_second_token_if_nothing_comes_before(
    model, tmp_path
):
    parts = numbered(NAMES[:-1])
    write(model, vocab=parts["vocab"], merges=parts["merges"])
    text = tmp_path / "text.txt"
    text.write_text("Hello world")
    command = text, "--model", model, "--json"
    status, out, err = run(*command, module="minigpt2.score")
    assert (status, err) == (0, "")
    gpt2 = minigpt2.load(model)
    log_p = gpt2.score("Hello world")
    figures = json.loads(out)
    assert figures["tokens"] == len(log_p) == len(IDS["Hello world"]) - 1
    assert figures["log_probability"] == pytest.approx(log_p.sum())
    text.write_text("H")
    status, out, err = run(*command, module="minigpt2.score")
    assert (status, out, err.count("\n")) == (2, "", 1)


# OpenAI's list


def test_openais_list_is_for_its_size_alone_where_there_is_no_other_file(tmp_path):
    for n_vocab in 50257, 50304:
        tokenizer = open_tokenizer(tmp_path, config(n_vocab))
        assert type(tokenizer) is Tokenizer
        assert (tokenizer.eot, tokenizer.ends) == (50256, {50256})
    refused(tmp_path, "n_vocab is 600", "tokenizer.json, or vocab.json and merges.txt")
    write(tmp_path, special_tokens_map={})
    refused(tmp_path, "special_tokens_map.json", n_vocab=50257)


@pytest.mark.parametrize("n_vocab", [257, 1000, 50257, 50304])
def test_openais_ids_are_the_plain_tokenizers(tmp_path, n_vocab):
    """It has fewer steps to do, and its page may show that a merge's place is its id."""
    plain = Tokenizer.from_file(n_vocab=n_vocab)
    save.write_description(tmp_path, config(n_vocab), plain)
    tokenizer = open_tokenizer(tmp_path, config(n_vocab))
    assert type(tokenizer) is Tokenizer
    assert (tokenizer.vocab, tokenizer.merges) == (plain.vocab, plain.merges)
    text = "Hello, world: <|endoftext|> ünïcödé"
    assert tokenizer.encode(text, True) == plain.encode(text, True)


def test_openais_merges_in_another_order_are_not(tmp_path):
    """A list that no text taught: its tokens are not always those of their merges."""
    save.write_description(tmp_path, config(1000), Tokenizer.from_file(n_vocab=1000))
    path = tmp_path / "merges.txt"
    lines = path.read_text(encoding="utf-8").split("\n")
    swapped, split = [*lines], [*lines]
    swapped[1:3] = lines[2:0:-1]
    split[split.index("Ġt he")] = "Ġth e"  # the same token, from others
    for other in swapped, split:
        path.write_text("\n".join(other), encoding="utf-8")
        assert type(open_tokenizer(tmp_path, config(1000))) is ByteLevelTokenizer


def test_ids_of_openais_names_in_openais_layout(tmp_path):
    """encoder.json and vocab.bpe, as OpenAI's own code reads them."""
    parts = numbered(ORDERS["sorted by name"])
    write(tmp_path, encoder=parts["vocab"])
    (tmp_path / "vocab.bpe").write_text("\n".join(["#version: 0.2", *parts["merges"], ""]), encoding="utf-8")  # fmt: skip
    (tmp_path / "hparams.json").write_text("{}")
    tokenizer = open_tokenizer(tmp_path, config())
    expected = [ORDERS["sorted by name"].index(NAMES[i]) for i in IDS["Hello world"]]
    assert tokenizer.encode("Hello world") == expected


# Refused


def refused(directory, *words, n_vocab=600):
    with pytest.raises(CheckpointError) as error:
        open_tokenizer(directory, config(n_vocab))
    message = str(error.value)
    assert message.startswith(f"{directory}: no tokenizer for this model: ")
    for word in words:
        assert word in message, message
    assert "\n" not in message and not re.search("delete|fetch it again", message)
    assert len(message) < 400


@pytest.mark.parametrize("n_vocab", [600, 50257])
@pytest.mark.parametrize(
    "name, kind",
    [
        ("vocab.txt", "WordPiece"),
        ("spiece.model", "sentencepiece"),
        ("tokenizer.model", "sentencepiece"),
        ("gpt2.tokenizer.json", "another name"),
        ("gpt2.tiktoken", "tiktoken"),
        ("vocab.json", "without merges.txt"),
        ("merges.txt", "without vocab.json"),
        ("tokenizer_config.json", "not there"),
    ],
)
def test_other_kinds_are_refused_by_the_name_of_their_file(
    tmp_path, name, kind, n_vocab
):
    (tmp_path / name).write_text("{}")
    refused(tmp_path, name, kind, n_vocab=n_vocab)


DEEP = json.loads("[" * 90 + "]" * 90)
TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
BOS = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]  # fmt: skip


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"model": {"type": "Unigram", "vocab": []}}, "'Unigram', expected BPE"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "'WordPiece', expected BPE"),
        ({"model": {"type": "WordLevel", "vocab": {}}}, "'WordLevel', expected BPE"),
        ({"model": DEEP}, "model is [[["),
        ({"dropout": 0.1}, "dropout 0.1"),
        ({"ignore_merges": True}, "ignore_merges True"),
        ({"continuing_subword_prefix": "##"}, "continuing_subword_prefix '##'"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix '</w>'"),
        ({"surprise": 1}, "tokenizer.json has surprise 1"),
        ({"normalizer": {"type": "StripAccents"}}, "normalizer is 'StripAccents'"),
        ({"normalizer": {"type": "Lowercase", "x": 1}}, "normalizer has x 1"),
        ({"normalizer": {"type": "Sequence", "normalizers": [[]]}}, "normalizer is []"),
        ({"normalizer": {"type": "Sequence", "normalizers": [], "x": 1}}, "has x 1"),
        ({"pre_tokenizer": None}, "pre_tokenizer is None"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer is 'Whitespace'"),
        ({"pre_tokenizer": FILE["pre_tokenizer"] | {"use_regex": False}}, "use_regex False"),
        ({"pre_tokenizer": {"type": "ByteLevel"}}, "add_prefix_space"),
        ({"post_processor": TEMPLATE | {"single": BOS}}, "post_processor has single"),
        ({"post_processor": {"type": "RobertaProcessing"}}, "'RobertaProcessing'"),
        ({"decoder": {"type": "WordPiece"}}, "decoder is 'WordPiece'"),
        ({"vocab": []}, "vocab is []"),
        ({"merges": {}}, "merges is {}, expected a list"),
        ({"a\nb": 1}, r"has a\nb 1"),
        ({"x" * 999: 1}, "has xxx"),
        ({"merges": ["a b c"]}, "merge 1 is 'a b c'"),
        ({"merges": [["h", "e"], ["a", 1]]}, "merge 2 is ['a', 1]"),
        ({"merges": [["h", "e"], ["h", "he"]]}, "merge 2 needs 'hhe', no token"),
        ({"vocab": FILE["model"]["vocab"] | {"x y": 7}}, "shares the id 7"),
        ({"vocab": FILE["model"]["vocab"] | {"x y": 600}}, "'x y' has id 600"),
        ({"vocab": FILE["model"]["vocab"] | {"x y": True}}, "'x y' has id True"),
        ({"vocab": FILE["model"]["vocab"] | {"x y": "1"}}, "'x y' has id '1'"),
        ({"vocab": {"\ud800": 0}, "merges": [], "added_tokens": []}, "surrogates"),
        ({"added_tokens": [added(5, "<a>")]}, "shares the id 5"),
        ({"added_tokens": [added(5, "<|endoftext|>")]}, "'<|endoftext|>'"),
        ({"added_tokens": [added(600, "word", False)]}, "'word' has id 600"),
        ({"added_tokens": [added(-1, "<a>")]}, "has id -1"),
        ({"added_tokens": [added(0.5, "<a>")]}, "is no token"),
        ({"added_tokens": [added(7, "")]}, "is no token"),
        ({"added_tokens": [added(7, "<a>", lstrip=2)]}, "lstrip 2"),
        ({"added_tokens": [added(7, "<a>", fuzzy=True)]}, "fuzzy True"),
        ({"added_tokens": [1]}, "an added token is 1"),
    ],
)  # fmt: skip
def test_what_a_tokenizer_json_says_that_is_not_known_is_refused(
    tmp_path, parts, words
):
    write(tmp_path, tokenizer=FILE | parts if "model" in parts else changed(**parts))
    refused(tmp_path, "tokenizer.json: ", words)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"tokenizer_class": "BertTokenizer"}, "'BertTokenizer'"),
        ({"tokenizer_class": ["x"]}, "['x']"),
        ({"add_prefix_space": True}, "add_prefix_space"),
        ({"add_bos_token": True}, "add_bos_token"),
        ({"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "auto_map"),
        ({"added_tokens_decoder": {"599": added(599, "<x>")}}, "shares the id 599"),
        (
            {"added_tokens_decoder": {"600": added(600, "<|endoftext|>")}},
            "id 600, or has another",
        ),
        ({"added_tokens_decoder": {"x": added(600, "<x>")}}, "'x'"),
        ({"added_tokens_decoder": [1]}, "[1]"),
        ({"additional_special_tokens": 5}, "5, expected a list"),
        ({"eos_token": {"content": "<|endoftext|>", "lstrip": True}}, "lstrip"),
    ],
)
def test_what_a_tokenizer_config_says_that_changes_ids_is_refused(
    tmp_path, settings, words
):
    write(tmp_path, tokenizer=FILE, tokenizer_config=settings)
    refused(tmp_path, words, n_vocab=601)


@pytest.mark.parametrize(
    "text, words",
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("<html>", "not JSON"),
        ("[" * 60_000, "nested"),
        ('{"a":' * 60_000, "nested"),
        ("[[[[]]]]," * 30_000, "too many brackets"),
        ("[" + "0," * 90_000, "too large for 600 tokens"),
        (" " * 2_000_000, "has 2000000 bytes"),
        ('{"a": 0, "a": 0}', "twice"),
        ("{}", "model is None"),
    ],
)
@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "config.json"]
)
def test_a_file_that_no_one_wrote_is_refused_in_little_memory(
    tmp_path, name, text, words
):
    write(tmp_path, tokenizer=FILE)
    (tmp_path / name).write_text(text)
    if (name, text) in [("tokenizer_config.json", "{}"), ("config.json", "{}")]:
        return
    tracemalloc.start()
    refused(tmp_path, name, words)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_a_vocabulary_of_escaped_cyrillic_is_not_too_large(tmp_path):
    """50,257 tokens of 12 letters, each spelled \\u00d0\\u00b0, and merges in lists."""
    alphabet = [name for name in NAMES[:256]]
    names, merges, front = dict.fromkeys(alphabet), [], ["Ð°", "Ð±", "Ð²"]
    merges += [["Ð", letter[1]] for letter in front]
    letters, grown = [*front], [*front]
    while len(names) + len(grown) < 50_000:
        pairs = [[word, letter] for word in grown[-12_000:] for letter in letters]
        pairs = pairs[: 50_000 - len(names) - len(grown)]
        merges += pairs
        grown += [a + b for a, b in pairs]
    names |= dict.fromkeys(grown)
    file = changed(vocab={n: i for i, n in enumerate(names)}, merges=merges)
    text = json.dumps(file | {"added_tokens": []}, indent=2)
    (tmp_path / "tokenizer.json").write_text(text)
    assert len(text) > 6_000_000
    tokenizer = open_tokenizer(tmp_path, config(50257))
    assert tokenizer.decode(tokenizer.encode("абвг")) == "абвг"
    assert len(tokenizer.encode("абвг")) < 4


def test_a_merge_list_that_was_cut_is_refused(model):
    parts = numbered(NAMES)
    write(model, vocab=parts["vocab"], merges=parts["merges"][:40])
    refused(model, "no merge makes", "merges.txt")


def test_ids_that_are_not_those_of_the_list_are_not_shown(model):
    parts = numbered(sorted(NAMES))
    write(model, vocab=parts["vocab"], merges=parts["merges"])
    command = "Hello world", "--vocab", model / "merges.txt"
    status, out, err = run(*command, module="minigpt2.tokenizer")
    assert (status, out, err.count("\n")) == (2, "", 1)
