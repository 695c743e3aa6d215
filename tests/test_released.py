"""The released 124M model gives the numbers and texts that others published for it."""

import json
from pathlib import Path

import numpy as np
import pytest

import minigpt2
from minigpt2.files.locate import find
from minigpt2.score import log_probabilities
from minigpt2.tokenizer import Tokenizer

OFFICIAL = Path(__file__).with_name("official-124M")
PUBLISHED = json.loads((OFFICIAL / "published.json").read_bytes())
GREEDY = {case["prompt"]: case for case in PUBLISHED["greedy"]}
ROLLING = PUBLISHED["rolling_logprobs"]
LIKELIHOODS = PUBLISHED["loglikelihood"]["cases"]
CLOSE = 0.01  # to logits, and to sums of log-probabilities
N_VOCAB = 50257
PROMPTS = range(3)


@pytest.fixture(scope="module")
def gpt2():
    directory = find("124M")
    if directory is None:
        pytest.skip("no released model here: python -m minigpt2.download 124M")
    return minigpt2.load(directory)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file()


@pytest.fixture(scope="module")
def official():
    with np.load(OFFICIAL / "logits.npz") as arrays:
        return dict(arrays)


def greedy_text(case):
    """What the model wrote after the prompt, in whichever way it was published."""
    if "full_ids" in case:
        ids = case["full_ids"][len(case["prompt_ids"]) :]
        return Tokenizer.from_file().decode(ids)
    if "tokens" in case:  # as the merge list writes them
        return case["tokens"].replace(" ", "").replace("Ġ", " ").replace("Ċ", "\n")
    return case["text"].removeprefix(case["prompt"])


def joined(tokenizer, context, continuation):
    """Two texts, each encoded by itself, and the place of the second."""
    ids = tokenizer.encode(context)
    return ids + tokenizer.encode(continuation), len(ids)


def log_p(gpt2, ids):
    return log_probabilities(gpt2.params, gpt2.config, ids)


def after_end_of_text(tokenizer, text):
    return [tokenizer.eot, *tokenizer.encode(text)]


# The tables themselves, wherever the tests run --------------------------------------


def test_the_published_ids_are_those_of_their_prompts(tokenizer, official):
    for i in PROMPTS:
        ids = tokenizer.encode(str(official[f"prompt_{i}"]))
        assert ids == official[f"ids_{i}"].tolist()
        assert official[f"logits_{i}"].shape == (N_VOCAB,)
    case = GREEDY["The dog"]
    assert tokenizer.encode("The dog") == case["prompt_ids"] == case["full_ids"][:2]
    assert len(ROLLING["lp"]) == len(tokenizer.encode(ROLLING["text"]))
    assert all(greedy_text(case) for case in GREEDY.values())
    assert len(GREEDY) == len(PUBLISHED["greedy"])


def test_the_texts_of_likelihoods_may_be_encoded_apart_or_together(tokenizer):
    for context, continuation, _ in LIKELIHOODS:
        ids, _ = joined(tokenizer, context, continuation)
        assert ids == tokenizer.encode(context + continuation)


# The model ---------------------------------------------------------------------------


@pytest.mark.released
def test_it_is_the_released_model(gpt2):
    assert gpt2.config == minigpt2.Config(N_VOCAB, 1024, 768, 12, 12)


@pytest.mark.released
@pytest.mark.parametrize("i", PROMPTS)
def test_all_logits_after_a_prompt(gpt2, official, i):
    logits = gpt2.logits(official[f"ids_{i}"])[-1]
    expected = official[f"logits_{i}"]
    difference = np.abs(logits - expected).max()
    print(f"max |difference| {difference:.2e}")
    assert difference <= CLOSE
    assert logits.argmax() == expected.argmax()


@pytest.mark.released
@pytest.mark.parametrize("case", PUBLISHED["logits"], ids=lambda case: case["slice"])
def test_logits_in_the_middle(gpt2, case):
    assert case["slice"] == "[0,1:4,1:4]"
    logits = gpt2.logits(case["ids"])[1:4, 1:4]
    np.testing.assert_allclose(logits, case["v"], rtol=0, atol=CLOSE)


@pytest.mark.released
@pytest.mark.parametrize("prompt", GREEDY)
def test_greedy_text(gpt2, prompt):
    case = GREEDY[prompt]
    expected = greedy_text(case)
    options = {"temperature": 0, "max_tokens": 40, "stop": case.get("stop", ())}
    if prompt == "<|endoftext|>":  # as text it would be spelled out
        prompt = ""
    text = "".join(gpt2.generate(prompt, **options))
    if "stop" in case or case.get("new") == 40:
        assert text == expected
    else:
        assert text[: len(expected)] == expected


@pytest.mark.released
@pytest.mark.parametrize("i", range(len(LIKELIHOODS)))
def test_log_likelihood(gpt2, i):
    context, continuation, expected = LIKELIHOODS[i]
    ids, start = joined(gpt2.tokenizer, context, continuation)
    assert log_p(gpt2, ids)[start - 1 :].sum() == pytest.approx(expected, abs=CLOSE)


@pytest.mark.released
def test_rolling_log_probabilities(gpt2):
    assert ROLLING["bos_prepended"]
    ids = after_end_of_text(gpt2.tokenizer, ROLLING["text"])
    np.testing.assert_allclose(log_p(gpt2, ids), ROLLING["lp"], rtol=0, atol=1e-3)


@pytest.mark.released
@pytest.mark.parametrize("case", PUBLISHED["loss"], ids=lambda case: case["text"])
def test_loss(gpt2, case):
    assert case["bos_prepended"]
    ids = after_end_of_text(gpt2.tokenizer, case["text"])
    loss = -log_p(gpt2, ids).mean()
    assert loss == pytest.approx(case["mean_ce"], abs=1e-3)
