"""Text goes on and on: greedy, sampled, in batches, past the window, up to a stop."""

import copy
import inspect
import re
import warnings

import numpy as np
import pytest
import textbook
from helpers import SMALL

import minigpt2
from minigpt2.generate import Options, TextStream, generate_text, generate_tokens
from minigpt2.sampling import Sampling

PROMPT = "Once upon a time"


def tokens_of(gpt2, prompt, n, sampling, seeds=(None,)):
    """n tokens (n, B) that continue the prompt."""
    rngs = [np.random.default_rng(seed) for seed in seeds]
    steps = generate_tokens(gpt2.params, gpt2.config, prompt, sampling, rngs)
    return np.array([step for _, step in zip(range(n), steps)])


def texts_of(gpt2, prompt, **options):
    options = Options(Sampling(top_k=40), **options)
    texts = [""] * options.num_samples
    model = gpt2.params, gpt2.config, gpt2.tokenizer
    for i, text in generate_text(*model, prompt, options):
        texts[i] += text
    return texts


def textbook_text(gpt2, prompt, n):
    """Greedy tokens, each from a fresh pass over all that the window is said to hold."""
    n_ctx = gpt2.config.n_ctx
    window, text = list(prompt), []
    for _ in range(n):
        logits = textbook.gpt2(window, gpt2.params, gpt2.config.n_head)
        text.append(int(logits[-1].argmax()))
        window.append(text[-1])
        if len(window) > n_ctx:
            window = window[-(n_ctx // 2) :]
    return text


@pytest.mark.parametrize("length", [1, 39, 40])
def test_greedy_is_the_textbooks_text(small, length):
    """On the random model no text repeats, and n_ctx 40 slides several times."""
    prompt = np.random.default_rng(length).integers(0, 1000, length).tolist()
    tokens = tokens_of(small, prompt, 100, Sampling(0))[:, 0].tolist()
    assert tokens == textbook_text(small, prompt, 100)


def test_greedy_text_is_the_same_every_time(tiny):
    first = "".join(tiny.generate(PROMPT, 40, temperature=0))
    assert first == "".join(tiny.generate(PROMPT, 40, temperature=0, seed=5))
    assert len(tiny.tokenizer.encode(first)) > 20


def test_a_seed_makes_the_text_reproducible(tiny):
    texts = {"".join(tiny.generate(PROMPT, 20, seed=seed)) for seed in (1, 1, 2, 3)}
    assert len(texts) == 3
    assert len({"".join(tiny.generate(PROMPT, 20)) for _ in range(3)}) == 3


def test_samples_of_a_batch_are_those_of_single_runs(tiny):
    """The i-th sample does not depend on how many there are."""
    three = texts_of(tiny, PROMPT, seed=1, num_samples=3, max_tokens=20)
    assert len(set(three)) == 3
    assert texts_of(tiny, PROMPT, seed=1, num_samples=2, max_tokens=20) == three[:2]
    assert "".join(tiny.generate(PROMPT, seed=1, max_tokens=20)) == three[0]


def test_a_greedy_batch_past_the_window_is_its_rows(small):
    prompt = [7, 8, 9]
    one = tokens_of(small, prompt, 90, Sampling(0))
    three = tokens_of(small, prompt, 90, Sampling(0), [1, 2, 3])
    assert (three == one).all()


def test_text_goes_on_past_the_context_window(tiny):
    text = "".join(tiny.generate(PROMPT, max_tokens=400, seed=3))
    assert len(tiny.tokenizer.encode(text)) > 300


def test_pieces_come_one_by_one(tiny):
    pieces = tiny.generate(PROMPT, max_tokens=10, seed=1)
    assert iter(pieces) is pieces
    first = next(pieces)
    assert first + "".join(pieces) == "".join(
        tiny.generate(PROMPT, max_tokens=10, seed=1)
    )


def test_an_empty_prompt_begins_a_text(tiny):
    eot = tiny.tokenizer.eot
    greedy = tokens_of(tiny, [eot], 12, Sampling(0))[:, 0]
    text = "".join(tiny.generate("", max_tokens=12, temperature=0))
    assert text == tiny.tokenizer.decode(greedy)


def test_no_tokens_no_text(tiny):
    assert list(tiny.generate(PROMPT, max_tokens=0)) == []


def test_a_prompt_longer_than_the_window_keeps_its_end(tiny):
    words = " and then".join(str(i) for i in range(200))
    ids = tiny.tokenizer.encode(words)
    assert len(ids) > 256
    expected = tiny.tokenizer.decode(tokens_of(tiny, ids[-256:], 8, Sampling(0))[:, 0])
    with pytest.warns(UserWarning, match=f"the prompt has {len(ids)} tokens.*last 256"):
        assert "".join(tiny.generate(words, max_tokens=8, temperature=0)) == expected


def test_a_prompt_of_exactly_the_window_is_read_whole(tiny):
    ids = np.random.default_rng(0).integers(300, 4000, 400).tolist()
    text = tiny.tokenizer.decode(ids)
    while len(ids := tiny.tokenizer.encode(text)) != 256:
        text = text[:-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "".join(tiny.generate(text, max_tokens=3))


def test_text_ends_before_a_stop_text(tiny):
    whole = "".join(tiny.generate(PROMPT, max_tokens=60, seed=4))
    for stop in whole[30:33], whole[50:51], whole[10:60], ["zzz", whole[40:45]]:
        text = "".join(tiny.generate(PROMPT, max_tokens=60, seed=4, stop=stop))
        end = whole.find(stop if isinstance(stop, str) else stop[1])
        assert text == whole[:end]


def test_text_ends_before_end_of_text(tiny):
    stream = TextStream(tiny.tokenizer, ["the end"])
    ids = tiny.tokenizer.encode("and the<|endoftext|>", allow_special=True)
    assert "".join(stream.feed(i) for i in ids) == "and the"
    assert stream.ended


def test_end_of_text_ends_generation(small):
    """The last layer norm is bent so that `<|endoftext|>` is always the likeliest."""
    eot = small.params["wte"][small.tokenizer.eot]
    bent = {**small.params, "ln_f": {"g": 0 * eot, "b": 100 * eot}}
    model = bent, small.config, small.tokenizer
    assert list(generate_text(*model, "a", Options(Sampling(), 50))) == [(0, "")]


def test_no_character_is_cut(tiny):
    stream = TextStream(tiny.tokenizer, [])
    ids = tiny.tokenizer.encode("é🙂漢")
    assert len(ids) > 3
    pieces = [stream.feed(i) for i in ids]
    assert "".join(pieces) == "é🙂漢"
    assert "" in pieces
    assert stream.close() == ""


def test_a_character_that_never_completes_becomes_one_replacement(tiny):
    stream = TextStream(tiny.tokenizer, [])
    assert [stream.feed(i) for i in tiny.tokenizer.encode("🙂")[:-1]][-1] == ""
    assert stream.close() == "\ufffd"


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one END two", ["END"], "one "),
        ("one EN", ["END"], "one EN"),
        ("aaab", ["aab"], "a"),
        ("x. y", ["\n", "."], "x"),
        ("ab", ["abc", "b"], "a"),
        ("abc", [], "abc"),
    ],
)
def test_stop_texts_over_any_pieces(tiny, text, stops, expected):
    stream = TextStream(tiny.tokenizer, stops)
    byte_ids = [tiny.tokenizer.vocab.index(bytes([byte])) for byte in text.encode()]
    out = ""
    for i in byte_ids:
        if not stream.ended:
            out += stream.feed(i)
            assert expected.startswith(out)
    assert out + stream.close() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": [""]}, "stop is empty"),
        ({"stop": ""}, "stop is empty"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 2.0}, "top_p is 2.0"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_at_once(tiny, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        tiny.generate(PROMPT, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": [1, 2]}, r"prompt is \[1, 2\], expected a str"),
        ({"prompt": b"bytes"}, "prompt is b'bytes', expected a str"),
        ({"max_tokens": 4.0}, "max_tokens is 4.0, expected an int"),
        ({"max_tokens": None}, "max_tokens is None, expected an int"),
        ({"temperature": "hot"}, "temperature is 'hot', expected a number"),
        ({"temperature": None}, "temperature is None, expected a number"),
        ({"top_k": 40.0}, "top_k is 40.0, expected an int"),
        ({"top_p": "0.9"}, "top_p is '0.9', expected a number"),
        ({"seed": 1.5}, "seed is 1.5, expected an int"),
        ({"stop": None}, "stop is None, expected a str"),
        ({"stop": 5}, "stop is 5, expected a str"),
        ({"stop": [".", None]}, "stop is None, expected a str"),
    ],
    ids=str,
)
def test_options_of_another_type_are_refused_by_name(tiny, options, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        tiny.generate(**{"prompt": PROMPT} | options)


def test_numbers_of_numpy_are_numbers(tiny):
    plain = {"temperature": 0.5, "top_k": 9, "top_p": 0.5, "seed": 3, "max_tokens": 5}
    theirs = {name: np.array(value)[()] for name, value in plain.items()}
    expected = "".join(tiny.generate(PROMPT, **plain))
    assert "".join(tiny.generate(PROMPT, **theirs, stop=iter(["#"]))) == expected


def test_help_explains_every_option():
    explained = minigpt2.GPT2.generate.__doc__
    for name in inspect.signature(minigpt2.GPT2.generate).parameters:
        assert name == "self" or re.search(f"\n        {name}  ", explained), name


def test_a_model_tells_its_sizes_and_where_it_came_from(small):
    sizes = "n_vocab=1000, n_ctx=40, n_embd=24, n_head=3, n_layer=4"
    assert repr(small) == f"<GPT2 {sizes}, from {SMALL}>"
    assert repr(minigpt2.GPT2(small.config, small.params)).endswith("from memory>")


def test_a_copy_of_the_parameters_can_be_written(small):
    gpt2 = minigpt2.GPT2(small.config, small.params)
    before = gpt2.logits([1, 2])
    with pytest.raises(ValueError, match="read-only"):
        gpt2.params["wpe"][0] = 0
    assert "gpt2.params = copy.deepcopy(gpt2.params)" in minigpt2.GPT2.__doc__
    gpt2.params = copy.deepcopy(gpt2.params)
    gpt2.params["wpe"][0] = 0
    assert (gpt2.logits([1, 2]) != before).any()
    assert (small.logits([1, 2]) == before).all()
