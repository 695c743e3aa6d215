"""Choosing among given answers: gpt2.choose and python -m minigpt2.score --choices."""

import json

import pytest
from helpers import TINY, log_softmax, run

import minigpt2
from minigpt2.gpt2 import Choice

PROMPT = "Once upon a time there was a"
CHOICES = [" refrigerator", " king", " queen who had no child", " king"]


def slowly(gpt2, context, answer):
    """The log-probability of tokens after a context, one forward pass for each."""
    tokens, total = list(context), 0.0
    for token in answer:
        total += log_softmax(gpt2.logits(tokens)[-1])[token]
        tokens.append(token)
    return total


def expected(gpt2, prompt, text, instead=""):
    encode = gpt2.tokenizer.encode
    context, whole = encode(prompt), encode(prompt + text)
    answer = whole[len(context) :]
    without = encode(instead) or [gpt2.tokenizer.eot]
    log_p = slowly(gpt2, context or [gpt2.tokenizer.eot], answer)
    n = len(answer)
    return Choice(text, log_p, log_p / n, log_p - slowly(gpt2, without, answer), n)


def assert_same(found, wanted):
    assert found.text == wanted.text and found.tokens == wanted.tokens
    assert found[1:4] == pytest.approx(wanted[1:4], abs=2e-5)


@pytest.mark.parametrize("by", ["log_probability", "per_token", "gain"])
@pytest.mark.parametrize(
    ("prompt", "instead"), [(PROMPT, ""), (PROMPT, "Here is a"), ("", "")]
)
def test_figures_are_those_of_a_plain_reference_the_best_first(
    tiny, by, prompt, instead
):
    found = tiny.choose(prompt, CHOICES, by, instead)
    wanted = [expected(tiny, prompt, text, instead) for text in CHOICES]
    wanted.sort(key=lambda choice: -round(getattr(choice, by), 4))
    for ours, theirs in zip(found, wanted, strict=True):
        assert_same(ours, theirs)
    if prompt == "":
        assert all(abs(choice.gain) < 1e-5 for choice in found)


def test_the_gain_takes_off_what_is_likely_anyway(tiny):
    """After "princess", a comma is likelier than a wedding, as it is everywhere."""
    prompt = "The prince loved the princess, and they had a great"
    common, apt = tiny.choose(prompt, [" man", " wedding"], "gain")[::-1]
    assert (common.text, apt.text) == (" man", " wedding")


def test_a_long_prompt_keeps_its_end_with_a_warning(tiny):
    prompt = "and the king went away " * 60 + PROMPT
    ids = tiny.tokenizer.encode(prompt)
    with pytest.warns(UserWarning, match=f"{len(ids)} tokens.*reads its last 24[0-9]"):
        found = tiny.choose(prompt, CHOICES[1:3])
    whole = tiny.tokenizer.encode(prompt + CHOICES[2])
    n = len(whole) - len(ids)
    context = ids[-(256 - n) :]
    wanted = slowly(tiny, context, whole[len(ids) :])
    (ours,) = (choice for choice in found if choice.text == CHOICES[2])
    assert ours.log_probability == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize(
    ("prompt", "choices", "line"),
    [
        ("There was a ", ["king"], "'king' merges with the end of the prompt"),
        ("There was a ki", ["ng"], "'ng' merges with the end of the prompt"),
        ("a", [" b", ""], "an answer is empty"),
        ("a", [], "choices is empty"),
        ("a", [" b" * 256], "an answer has 256 tokens, the window has 256"),
    ],
)
def test_what_cannot_be_answered_is_refused(tiny, prompt, choices, line):
    with pytest.raises(ValueError, match=line):
        tiny.choose(prompt, choices)


def test_what_is_no_text_and_no_figure(tiny):
    with pytest.raises(TypeError, match="choices is ' king', expected several"):
        tiny.choose("a", " king")
    with pytest.raises(TypeError, match="an answer is 7, expected a str"):
        tiny.choose("a", [7])
    with pytest.raises(ValueError, match="by is 'best', expected one of log_prob"):
        tiny.choose("a", [" b"], by="best")


def test_a_vocabulary_without_an_end_needs_something_instead(without_end):
    gpt2 = minigpt2.load(without_end)
    with pytest.raises(ValueError, match="no token that a text begins after"):
        gpt2.choose(PROMPT, [" king"])
    assert gpt2.choose(PROMPT, [" king"], instead="Here is a")[0].tokens > 0


def command(*arguments, text=None):
    options = ("--choices", *TINY, *arguments)
    return run(*options, module="minigpt2.score", stdin=text)


LINES = [
    {"prompt": PROMPT, "choices": CHOICES, "id": 7, "more": ["Où", None]},
    {"choices": [" a", " b c"], "prompt": "It was", "instead": "He is"},
]


def test_lines_come_back_with_figures(tiny, tmp_path):
    text = "\n\n".join(json.dumps(line) for line in LINES)
    (tmp_path / "lines").write_text(text)
    status, out, err = command(str(tmp_path / "lines"), "--by=gain")
    assert (status, err) == (0, "")
    assert command("--by=gain", text=text.encode())[1] == out
    for line, shown in zip(LINES, out.splitlines(), strict=True):
        found = json.loads(shown)
        ranked = found.pop("ranked")
        assert found == line
        instead = line.get("instead", "")
        wanted = tiny.choose(line["prompt"], line["choices"], "gain", instead)
        assert ranked == [choice._asdict() for choice in wanted]
    assert "Où" in out


def test_half_a_character_is_written_as_it_came():
    line = json.dumps({"prompt": "a\ud800", "choices": [" b"]})
    status, out, _ = command(text=line.encode())
    assert status == 0
    assert json.loads(out)["prompt"] == "a\ud800"


def test_a_long_prompt_is_named_by_its_line():
    text = json.dumps({"prompt": " a" * 999, "choices": [" b"]})
    status, out, err = command(text=f"\n{text}\n".encode())
    assert status == 0 and out.count("\n") == 1
    assert err.count("\n") == 1
    assert "standard input, line 2: the prompt has 999 tokens" in err


GOOD = json.dumps(LINES[1])


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ("{", "not JSON (Expecting property name"),
        ("[" * 99_999, "not JSON (maximum recursion"),
        ('{"prompt": NaN}', "not JSON (NaN is no number)"),
        ("[]", 'expected {"prompt": text, "choices": [text, …]}'),
        ('{"prompt": "a"}', "expected {"),
        ('{"prompt": 1, "choices": [" b"]}', "expected {"),
        ('{"prompt": "a", "choices": [1]}', "expected {"),
        ('{"prompt": "a", "choices": [" b"], "instead": 1}', "expected {"),
        ('{"prompt": "a", "choices": [" b"], "ranked": 1}', '"ranked" is where'),
        ('{"prompt": "a", "choices": []}', "choices is empty"),
        ('{"prompt": "a ", "choices": ["king"]}', "'king' merges with the end"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_printed(bad, line):
    status, out, err = command(text=f"{GOOD}\n\n{bad}\n{GOOD}\n".encode())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "standard input, line 3: " in err and line in err
    assert command(text=b"\n")[2].startswith("minigpt2: there is no question")


def test_the_prompt_is_read_once(tiny, monkeypatch):
    """Its keys and values serve all answers."""
    from minigpt2 import score

    read, prefill = [], score.prefill
    monkeypatch.setattr(
        score, "prefill", lambda p, t, c: read.append(t.size) or prefill(p, t, c)
    )
    tiny.choose(PROMPT, CHOICES[:3])
    # all but its last token, which is read with the answers
    assert sum(read) == len(tiny.tokenizer.encode(PROMPT)) - 1
