"""Files as people have them: marks, line breaks, several texts in one, and what is no text
to learn from."""

import os
import re

import numpy as np
import pytest

from minigpt2.files.text import (
    SPLITS,
    as_text,
    read_file,
    read_parts,
    split_texts,
    stream_texts,
)
from minigpt2.learning import corpus
from minigpt2.tokenizer import RELEASED_VOCABULARY, Tokenizer

TOKENIZER = Tokenizer.from_file(RELEASED_VOCABULARY, 300)
SHOWN = "one\ntwo ’\n"


@pytest.mark.parametrize(
    "data",
    [
        SHOWN.encode(),
        SHOWN.encode("utf-8-sig"),
        SHOWN.replace("\n", "\r\n").encode("utf-8-sig"),
        SHOWN.replace("\n", "\r").encode(),
    ],
)
def test_marks_and_line_breaks_are_no_part_of_a_text(tmp_path, data):
    (tmp_path / "text").write_bytes(data)
    assert read_file(tmp_path / "text") == as_text(data, "a name") == SHOWN


def test_only_what_is_a_mark_or_a_line_break_is_changed():
    text = "\n\n\ufeff \0\v\f\x1c\x85\u2028"  # one mark may follow another, as text
    assert as_text(("\ufeff\ufeff\r\r\n" + text).encode(), "") == "\ufeff\n\n" + text


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"caf\xe9", "not valid UTF-8 (byte 3)"),
        (b"\xef\xbb\xbfcaf\xe9", "not valid UTF-8 (byte 6)"),
        ("Once".encode("utf-16"), "this is UTF-16: save it as UTF-8"),
        ("Once".encode("utf-16-le"), "this is UTF-16: save it as UTF-8"),
        ("“Où?” said".encode("utf-16-be"), "this is UTF-16: save it as UTF-8"),
    ],
)
def test_what_is_not_utf8_is_refused_by_name(tmp_path, data, line):
    (tmp_path / "text").write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'text'}: {line}")):
        read_file(tmp_path / "text")
    with pytest.raises(ValueError, match=re.escape(f"a name: {line}")):
        as_text(data, "a name")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_merge_lists_may_have_marks_and_any_line_breaks(tmp_path, end, mark):
    lines = RELEASED_VOCABULARY.read_text(encoding="utf-8").split("\n")[:99]
    (tmp_path / "merges.txt").write_bytes((mark + end.join(lines) + end).encode())
    tokenizer = Tokenizer.from_file(tmp_path / "merges.txt")
    assert tokenizer.vocab == Tokenizer.from_file(n_vocab=257 + 98).vocab


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n", []),
        ("one", [("", "one")]),
        ("one<|endoftext|>two", [("", "one"), ("<|endoftext|>", "two")]),
        ("a\n <|endoftext|>\t\n\nb", [("", "a\n"), (" <|endoftext|>\t\n", "\nb")]),
        ("<|endoftext|>\na\n<|endoftext|>\n", [("<|endoftext|>\n", "a\n")]),
        (
            "a\n<|endoftext|>\n\n<|endoftext|>\nb",
            [("", "a\n"), ("<|endoftext|>\n\n<|endoftext|>\n", "b")],
        ),
        (
            "a<|endoftext|> <|endoftext|> b",
            [("", "a"), ("<|endoftext|> <|endoftext|> ", "b")],
        ),
    ],
)
def test_end_of_text_in_a_file_ends_a_text(text, expected):
    assert list(split_texts(text)) == expected


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("blank", ["one\n two", "<|endoftext|> three"]),
        ("line", ["one", " two", "<|endoftext|> three"]),
        ("file", ["\none\n two\n \n\n<|endoftext|> three\n"]),
        ("end", ["\none\n two\n \n\n", "three\n"]),
    ],
)
def test_texts_are_told_apart_as_it_is_said(split, expected):
    text = "\none\n two\n \n\n<|endoftext|> three\n"
    found = list(split_texts(text, split))
    assert [text for _, text in found] == expected
    assert text.startswith("".join(before + text for before, text in found))


def test_a_file_in_parts_is_the_same_as_whole():
    """Wherever it is cut: in a character, a line break, a mark, or in white space."""
    rng = np.random.default_rng(1)
    pieces = ["a", "’", " ", "\n", "\r\n", "\r", "\t", "<|endoftext|>", "<|end", "\n\n"]

    class Slowly:
        def __init__(self, data):
            self.data = data

        def read(self, size):
            n = min(len(self.data), int(rng.integers(1, 9)))
            data, self.data = self.data[:n], self.data[n:]
            return data

    for _ in range(500):
        data = "".join(rng.choice(pieces, rng.integers(15))).encode()
        parts = list(read_parts(Slowly(data), ""))
        assert "".join(parts) == as_text(data, "")
        for split in SPLITS:
            found = [(b, "".join(part)) for b, part in stream_texts(parts, split)]
            assert found == list(split_texts(as_text(data, ""), split))
            skipped = [before for before, _ in stream_texts(parts, split)]
            assert skipped == [before for before, _ in found]


def test_a_bad_byte_is_named_however_far_it_is(tmp_path):
    (tmp_path / "text").write_bytes("’".encode() * 50_000 + b"\xe2\x80")
    with pytest.raises(ValueError, match=r"not valid UTF-8 \(byte 150000\)"):
        read_file(tmp_path / "text")


def test_long_runs_of_spaces_are_read_at_once():
    text = " " * 200_000 + "a"  # minutes, if all the rest were tried after each one
    assert list(split_texts(text)) == [("", text)]


def test_joined_texts_are_learned_as_texts_of_their_own(tmp_path):
    texts = [f"Text {i}.\n" for i in range(600)]
    (tmp_path / "joined").write_text("<|endoftext|>\n".join(texts))
    for i, text in enumerate(texts):
        (tmp_path / f"{i:03}.txt").write_text(text)
    joined = corpus.read_tokens([tmp_path / "joined"], TOKENIZER)
    apart = corpus.read_tokens(sorted(tmp_path.glob("*.txt")), TOKENIZER)
    np.testing.assert_array_equal(joined, apart)
    assert (joined == TOKENIZER.eot).sum() == 600


@pytest.fixture
def books(tmp_path):
    """Two books, and beside them all that is no book."""
    books = tmp_path / "books"
    for name in (
        *("a.txt", "deep/b.txt", "deep/merges.txt", ".hidden.txt"),
        *(".ipynb_checkpoints/a.txt", "model/merges.txt", "mine/notes.txt"),
        *("mine/merges.txt", "not-read.md"),
    ):
        (books / name).parent.mkdir(parents=True, exist_ok=True)
        (books / name).write_text(name)
    for model in "model", "mine":
        (books / model / "config.json").write_text("{}")
    (books / "c.txt").symlink_to(books / "a.txt")
    os.link(books / "deep" / "b.txt", books / "deep" / "d.txt")
    return books


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_what_is_no_text_to_learn_from_is_left_out_by_name(books, capsys):
    def found(paths, out=books / "mine", **others):
        files = corpus.find_files([books / path for path in paths], out, **others)
        return [str(file.relative_to(books)) for file in files]

    read = ["a.txt", "deep/b.txt", "deep/merges.txt"]
    assert found([""]) == read
    told = capsys.readouterr().err
    left_out = ".hidden.txt .ipynb_checkpoints/a.txt c.txt deep/d.txt mine/merges.txt"
    for name in left_out.split() + ["mine/notes.txt", "model/merges.txt"]:
        assert f"{books / name}" in told, name
    assert told.count(", ") == 6 and told.count("\n") == 1
    # what is asked for by its name, or lies all in a hidden place, is read
    assert found([".hidden.txt", "mine/notes.txt"]) == [".hidden.txt", "mine/notes.txt"]
    assert found([".ipynb_checkpoints"]) == [".ipynb_checkpoints/a.txt"]
    assert found(["mine"]) == found([""], books)[-1:] == ["mine/notes.txt"]
    capsys.readouterr()
    assert found(["deep/b.txt", "a.txt"]) == ["deep/b.txt", "a.txt"]
    assert capsys.readouterr().err == ""
    assert found(["a.txt", "a.txt", "c.txt"]) == ["a.txt"]
    assert found([""], without=[books / "c.txt"]) == read[1:]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_what_is_validated_on_is_not_learned(books):
    everything = [books]
    train, valid, ratio = corpus.read_data(
        everything, [books / "deep"], books, TOKENIZER
    )
    assert ratio == 1  # no text is changed
    own = ["a.txt", "mine/notes.txt"]
    for tokens, names in (train, own), (valid, ["deep/b.txt", "deep/merges.txt"]):
        expected = [i for name in names for i in (299, *TOKENIZER.encode(name))]
        assert tokens.tolist() == expected
    with pytest.raises(ValueError, match="^the data: no text"):
        corpus.read_data(everything, everything, books, TOKENIZER)
