"""Vocabularies that `tokenizers` and transformers write give their ids here."""

import json
import random
from pathlib import Path

import pytest

import minigpt2
from minigpt2.files.vocabulary import open_tokenizer
from minigpt2.model import Config

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("default"),  # other libraries' warnings are theirs
]

BOOK = Path(__file__).parent.parent / "README.md"
FRAGMENTS = """
 |  |   |\t|\n|\r\n|\u00a0|\u2003|\u3000|\x1c|\x85|a|A|the| the|The|ab|abc|don't|'LL|'s|x²|½|٣|Ⅳ|1|23|456|7890
Straße|İstanbul|ΟΔΟΣ|ſ|ﬁ|é|e\u0301|\u0301|\u0323\u0307|Å|Å|가|ᄀ|ᅡ|한글|你好|ｆｕｌｌ|①|😀|👩‍👩‍👧|\u200d|\ufeff|\x00|\x7f|_|-|.|,|...|!?
<|endoftext|>|<|end|<s>|</s>|<pad>|<mask>|[SEP]|<|user|>|New York|New|York|Hello|hello|HELLO|ello|cafe\u0301|CAFÉ|aaaa|aaaaaaaaaaaaaaaaaaaaaaaa
""".strip("\n").replace("\n", "|").split("|")  # fmt: skip
FRAGMENTS += ["|", "\n", "x" * 100, "ab" * 60, "ha" * 40, " " * 50, "=" * 70]


def texts(n=400):
    rng = random.Random(0)
    yield from ["", " ", *FRAGMENTS]
    for _ in range(n):
        yield "".join(rng.choices(FRAGMENTS, k=rng.randint(1, 12)))
        yield "".join(chr(rng.choice([32, 97, 233, 776, 8217, 128512]) + rng.randint(0, 20)) for _ in range(9))  # fmt: skip
    book = BOOK.read_text(encoding="utf-8")
    for _ in range(n // 4):
        start = rng.randrange(len(book) - 300)
        yield book[start : start + rng.randint(1, 300)]


@pytest.fixture
def tokenizers():
    return pytest.importorskip("tokenizers", reason="tokenizers is not installed")


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers", reason="transformers is not installed")


def trained(tokenizers, size=600, special=("<|endoftext|>",), **parts):
    """A byte-level vocabulary of the README."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, part in ({"pre_tokenizer": byte_level} | parts).items():
        setattr(tokenizer, name, part)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(BOOK)], trainer)
    return tokenizer


def numbered(tokenizers, tokenizer, order):
    """The same with its tokens in another order."""
    file = json.loads(tokenizer.to_str())
    names = order(list(file["model"]["vocab"]))
    file["model"]["vocab"] = {name: i for i, name in enumerate(names)}
    for token in file["added_tokens"]:
        token["id"] = names.index(token["content"])
    return tokenizers.Tokenizer.from_str(json.dumps(file))


def compare(directory, theirs, decode=True):
    """Whether ids are the same, with special tokens read as such and as text."""
    config = Config(theirs.get_vocab_size(), 48, 24, 3, 2)
    ours = open_tokenizer(directory, config)
    for allow_special in True, False:
        theirs.encode_special_tokens = not allow_special
        for text in texts():
            expected = theirs.encode(text, add_special_tokens=False).ids
            assert ours.encode(text, allow_special) == expected, (ascii(text), allow_special)  # fmt: skip
            if decode:
                text_of = theirs.decode(expected, skip_special_tokens=False)
                assert ours.decode(expected) == text_of
            parts = [text[i : i + 7] for i in range(0, len(text), 7)]
            if not allow_special:
                assert [i for p in ours.encode_parts(parts) for i in p] == expected
    return ours


def normalizer(tokenizers, *names):
    steps = [getattr(tokenizers.normalizers, name)() for name in names]
    return steps[0] if len(steps) == 1 else tokenizers.normalizers.Sequence(steps)


def digits(tokenizers, individual, **kwargs):
    pre = tokenizers.pre_tokenizers
    steps = [pre.Digits(individual_digits=individual), pre.ByteLevel(**kwargs)]
    return pre.Sequence(steps)


SIGNS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.mark.parametrize(
    "make",
    {
        "plain": lambda t: trained(t),
        "specials first": lambda t: trained(t, special=SIGNS),
        "no special": lambda t: trained(t, special=()),
        "large": lambda t: trained(t, size=2500),
        "prefix space": lambda t: trained(
            t, pre_tokenizer=t.pre_tokenizers.ByteLevel(add_prefix_space=True)
        ),
        "digits": lambda t: trained(t, pre_tokenizer=digits(t, True, add_prefix_space=False)),
        "numbers": lambda t: trained(t, pre_tokenizer=digits(t, False, add_prefix_space=True)),
        "lower-cased": lambda t: trained(t, normalizer=normalizer(t, "Lowercase")),
        "NFC": lambda t: trained(t, normalizer=normalizer(t, "NFC")),
        "NFKC, lower-cased": lambda t: trained(
            t, normalizer=normalizer(t, "NFKC", "Lowercase")
        ),
        "NFD": lambda t: trained(t, normalizer=normalizer(t, "NFD")),
        "NFKD": lambda t: trained(t, normalizer=normalizer(t, "NFKD")),
        "sorted by name": lambda t: numbered(
            t, trained(t), lambda names: names[:257] + sorted(names[257:])
        ),
        "all sorted": lambda t: numbered(t, trained(t, special=SIGNS), sorted),
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_ids_of_a_vocabulary(tokenizers, tmp_path, make):
    theirs = make[1](tokenizers)
    theirs.save(str(tmp_path / "tokenizer.json"))
    compare(tmp_path, theirs)


@pytest.mark.parametrize("normal", [(), ("Lowercase",), ("NFKC", "Lowercase")])
@pytest.mark.parametrize("prefix", [False, True])
def test_ids_with_added_tokens_of_all_kinds(tokenizers, tmp_path, normal, prefix):
    parts = {"normalizer": normalizer(tokenizers, *normal)} if normal else {}
    pre = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    theirs = trained(tokenizers, pre_tokenizer=pre, **parts)
    token = tokenizers.AddedToken
    theirs.add_special_tokens(["<|user|>", token("<mask>", lstrip=True, rstrip=True)])
    theirs.add_tokens(["New York", "New", "[SEP]", token("Hello", normalized=False)])
    theirs.add_tokens([token("ello", single_word=True), token("ab", lstrip=True)])
    theirs.add_tokens([token("CAFÉ", rstrip=True), token("the", single_word=True)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    with pytest.warns(UserWarning, match="New York"):
        compare(tmp_path, theirs, decode=False)  # here they are written as they are


@pytest.mark.parametrize("seed", range(40))
def test_ids_of_merge_lists_that_no_text_taught(tokenizers, tmp_path, seed):
    """In any order, with two merges for one token, and lines that are there twice."""
    rng = random.Random(seed)
    names, merges = ["a", "b", "c", "Ġ"], []
    for _ in range(rng.randint(1, 25)):
        a, b = rng.choice(names), rng.choice(names)
        merges.append((a, b))
        if len(a + b) < 12:
            names.append(a + b)
        else:
            merges.pop()
    if seed % 2:
        rng.shuffle(merges)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    order = list(dict.fromkeys([*alphabet, *names]))
    rng.shuffle(order)
    bpe = tokenizers.models.BPE({name: i for i, name in enumerate(order)}, merges)
    theirs = tokenizers.Tokenizer(bpe)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = open_tokenizer(tmp_path, Config(len(order), 48, 24, 3, 2))
    for n in [*range(1, 40), 100, 1000]:
        text = "".join(rng.choices("abc ", [9, 9, 9, 1], k=n))
        assert ours.encode(text) == theirs.encode(text).ids, text


def test_ids_of_vocab_json_and_merges_txt(tokenizers, tmp_path):
    theirs = trained(tokenizers, special=SIGNS)
    theirs.model.save(str(tmp_path))
    with pytest.warns(UserWarning, match="<mask>"):
        compare(tmp_path, theirs)


def test_ids_of_what_transformers_saves(transformers, tokenizers, tmp_path):
    backend = trained(tokenizers, special=SIGNS)
    first = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    first.add_tokens(["New York"])
    first.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    first.save_pretrained(tmp_path / "first")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "first" / "tokenizer.json"))
    ours = compare(tmp_path / "first", theirs)
    assert (ours.eot, ours.ends) == (0, {2})

    learned = first.train_new_from_iterator([BOOK.read_text(encoding="utf-8")], 700)
    learned.save_pretrained(tmp_path / "learned")
    theirs = tokenizers.Tokenizer.from_file(
        str(tmp_path / "learned" / "tokenizer.json")
    )
    compare(tmp_path / "learned", theirs)


def test_ids_of_gpt2_tokenizer_with_a_space_before(transformers, tokenizers, tmp_path):
    trained(tokenizers).model.save(str(tmp_path))
    theirs = transformers.GPT2TokenizerFast.from_pretrained(
        tmp_path, add_prefix_space=True
    )
    theirs.save_pretrained(tmp_path / "saved")
    ours = open_tokenizer(tmp_path / "saved", Config(600, 48, 24, 3, 2))
    for text in texts():
        if "<|endoftext|>" not in text:
            assert ours.encode(text) == theirs.encode(text), ascii(text)


def test_truncation_and_padding_are_not_for_a_single_text(
    transformers, tokenizers, tmp_path
):
    backend = trained(tokenizers)
    backend.enable_truncation(4)
    backend.enable_padding(length=7)
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(
        tmp_path
    )
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = open_tokenizer(tmp_path, Config(600, 48, 24, 3, 2))
    for text in "the whole of this text, 12345", "x":
        assert ours.encode(text) == theirs.encode(text)


@pytest.mark.parametrize("saved_in", ["config", "generation_config"])
def test_a_text_ends_where_it_does_in_transformers(
    transformers, tokenizers, tmp_path, saved_in
):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    backend = trained(tokenizers, special=SIGNS)
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(
        tmp_path
    )
    sizes = {"n_positions": 64, "n_embd": 24, "n_head": 3, "n_layer": 2}
    config = transformers.GPT2Config(
        vocab_size=600, bos_token_id=0, eos_token_id=None, **sizes
    )
    config.initializer_range = 0.5  # it does not repeat itself so soon
    model = transformers.GPT2LMHeadModel(config).eval()
    prompt = "<s>The model"
    ids = torch.tensor([backend.encode(prompt).ids])
    options = {"max_new_tokens": 40, "do_sample": False, "pad_token_id": 1}
    written = model.generate(ids, **options)[0, ids.shape[1] :].tolist()
    before = max(written.index(token) for token in set(written) - {2})
    ends = [written[before], 2]
    getattr(model, saved_in).eos_token_id = ends
    if saved_in == "config":
        model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(tmp_path)
    assert before > 0 and 2 not in written[:before]
    gpt2 = minigpt2.load(tmp_path)
    assert (gpt2.tokenizer.eot, gpt2.tokenizer.ends) == (0, frozenset(ends))
    text = "".join(gpt2.generate(prompt, 40, temperature=0, allow_special=True))
    assert text == backend.decode(written[:before], skip_special_tokens=False)
