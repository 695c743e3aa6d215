"""The zero-shot benchmark: its readings of a text, its sums, and how it goes on."""

import http.server
import io
import json
import os
import re
import signal
import sys
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import ROOT, log_softmax, run, start

from minigpt2.files.locate import weights_directories
from minigpt2.files.transfer import DownloadError
from minigpt2.score import log_probabilities

BENCHMARKS = ROOT / "benchmarks"
SHARED = ROOT.parent / "shared" / "eval"
if not BENCHMARKS.is_dir():
    pytest.skip("there are no benchmarks here", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
import corpora
import zero_shot

# in the form of the Penn Treebank
PTB = """ no it was n't a good day for the king 's men
 the <unk> paid $ N million or about us$ N for two # N notes
 the sisters ' brothers said they 'd go and/or <unk> but we 're sure he ca n't
""".replace("/", "\\/")

# in WikiText's form, as its authors give it: headings between blank lines
WIKITEXT = """
 = The Fox and the Bear =

 The fox ( born c. 1 @,@ 200 ) , a " clever " animal , had 3 @.@ 5 wives ; he didn 't care .
 The bears ' well @-@ known den cost $ 5 , or 10 % of it ! [ sic ]

 = = Life = =

 The fox said : " Who is there ? " It 's a question .

 = The King =

 There was a king . He had a daughter . It was long ago .
"""
PASSAGES = [
    "The king had a daughter. When he came home he kissed his daughter",
    "Once upon a time there was a little girl, and everybody loved the little girl",
    "“Who is there?” asked the wolf.\n\n“It is I,” said the Encyclopaedia",
] * 2


def ptb_again(line):
    """The inverse of detokenize_ptb."""
    line = re.sub(r"([$#])(?=N)", r"\1 ", line.replace("/", "\\/"))
    return re.sub(r"(?<=\S)(n't|'s|'re|'ve|'ll|'d|'m|')(?= |$)", r" \1", line)


def wikitext_again(line):
    """The inverse of detokenize_wikitext, which takes all full stops for the ends of
    sentences."""
    line = re.sub(r"=(?==)", "= ", line)
    line = re.sub(r'(?<! )"', ' "', line)
    line = re.sub(r'"(?! |$)', '" ', line)
    line = re.sub(r"(?<=s)'(?= |$)", " '", line)
    line = re.sub(r"(?<=\S)('(?:s|t|re|ve|ll|d|m)\b)", r" \1", line)
    line = re.sub(r"([(\[$£])(?=\S)", r"\1 ", line)
    line = re.sub(r"(?<=\S)([,.;:!?%)\]])(?=[ ,.;:!?%)\]]|$)", r" \1", line)
    return re.sub(r"(?<=\S)([-,.])(?=\S)", r" @\1@ ", line)


@pytest.fixture
def texts(tmp_path):
    """Small files in the forms of the real ones."""
    lambada = "".join(json.dumps({"text": text}) + "\n" for text in PASSAGES)
    written = {
        "ptb": PTB * 9,
        "wikitext2": WIKITEXT * 5,
        "text8": "once upon a time there was a king who had a daughter " * 40,
        "lambada": lambada,
    }
    for name, text in written.items():
        (tmp_path / name).write_bytes(text.encode())
    return {name: tmp_path / name for name in written}


def test_the_de_tokenizers():
    lines = [corpora.detokenize_ptb(line) for line in PTB.splitlines()]
    assert lines == [
        "no it wasn't a good day for the king's men",
        "the <unk> paid $N million or about us$N for two #N notes",
        "the sisters' brothers said they'd go and/or <unk> but we're sure he can't",
    ]
    lines = [corpora.detokenize_wikitext(line) for line in WIKITEXT.splitlines()]
    assert lines[3:8] == [
        'The fox (born c. 1,200), a "clever" animal, had 3.5 wives; he didn\'t care.',
        "The bears' well-known den cost $5, or 10% of it! [sic]",
        "",
        "== Life ==",
        "",
    ]
    assert lines[8] == 'The fox said: "Who is there?" It\'s a question.'


DETOKENIZERS = {
    "ptb": (corpora.detokenize_ptb, ptb_again, PTB),
    "wikitext2": (
        corpora.detokenize_wikitext,
        wikitext_again,
        WIKITEXT.replace("born c.", "born"),
    ),
}


@pytest.mark.parametrize("corpus", DETOKENIZERS)
def test_the_de_tokenizers_are_invertible(corpus):
    forward, again, text = DETOKENIZERS[corpus]
    for line in text.splitlines():
        assert again(forward(line)) == line.strip()


@pytest.mark.parametrize(
    ("corpus", "shared", "right", "total"),
    [
        ("ptb", "ptb_test.txt", 3761, 3761),
        ("wikitext2", "wikitext2_raw_test.txt", 2555, 2891),
    ],
)
def test_how_many_lines_of_the_real_texts_come_back(corpus, shared, right, total):
    forward, again, _ = DETOKENIZERS[corpus]
    downloaded = weights_directories()[-1] / "texts" / corpora.SOURCES[corpus].file
    for path in downloaded, SHARED / shared:
        if path.is_file():
            lines = [line.strip() for line in corpora.lines(path, corpora.Read())]
            came_back = sum(again(forward(line)) == line for line in lines)
            assert (came_back, len(lines)) == (right, total)
            return
    pytest.skip(
        f"{corpus} is not here; python benchmarks/zero_shot.py {corpus} gets it"
    )


def test_both_forms_of_wikitext_are_one_text(texts, tmp_path):
    rows = [f"{line}\n" if line else "" for line in WIKITEXT.splitlines()]
    joined = tmp_path / "joined"
    joined.write_bytes("\n\n".join(rows).replace("\n", "\r\n").encode())
    given = tmp_path / "given"
    given.write_bytes(WIKITEXT.encode())
    for path in given, joined:
        documents = corpora.documents("wikitext2", path, corpora.Read())
        articles = ["".join(parts) for parts in documents]
        assert len(articles) == 2
        assert articles[0].startswith("\n= The Fox and the Bear =\n\nThe fox (born")
        assert articles[0].endswith(
            '\n\n== Life ==\n\nThe fox said: "Who is there?" It\'s a question.\n'
        )
        assert "".join(corpora.plain("wikitext2", path, corpora.Read())) == "\n\n".join(
            rows
        )


def test_words_lines_and_bytes_are_those_of_the_text_before(texts):
    read = corpora.Read()
    for document in corpora.documents("ptb", texts["ptb"], read):
        "".join(document)
    expected = len(PTB.encode()) * 9, len(PTB.split()) * 9, 27
    assert (read.bytes, read.words, read.lines) == expected
    read = corpora.Read()
    "".join(corpora.plain("ptb", texts["ptb"], read, limit=100))
    assert read.lines == 2  # until 100 bytes are read


def test_enwik8_and_text8_are_the_last_bytes(tmp_path):
    path = tmp_path / "text8"
    path.write_bytes(b"nothing of this, " + "ä king €".encode())
    read = corpora.Read()
    text = "".join(corpora.blocks(path, read, last=10))
    assert (text, read.bytes) == ("\ufffd king €", 10)


def measured(gpt2, corpus, reading, path, state, **options):
    result = zero_shot.total(gpt2, corpus, reading, path, state, **options)
    return {
        (kind, name): value
        for kind, name, value in zero_shot.figures(corpus, reading, *result)
    }


def test_the_papers_reading(tiny, texts, tmp_path):
    text = "".join(corpora.detokenize_ptb(line) + "\n" for line in PTB.splitlines()) * 9
    ids = [tiny.tokenizer.eot, *tiny.tokenizer.encode(text)]
    assert len(ids) > 256
    scores = log_probabilities(tiny.params, tiny.config, ids, stride=255)
    found = measured(tiny, "ptb", "paper", texts["ptb"], tmp_path / "state")
    words = 9 * (len(PTB.split()) + 3)
    assert np.isclose(found["paper", "perplexity per token"], np.exp(-scores.mean()))
    assert np.isclose(
        found["paper", "perplexity per word"], np.exp(-scores.sum() / words)
    )


def test_the_plain_readings(tiny, texts, tmp_path):
    text = texts["text8"].read_text(encoding="utf-8")
    ids = tiny.tokenizer.encode(text)
    model = tiny.params, tiny.config
    plain = sum(
        log_probabilities(*model, ids[i : i + 256]).sum()
        for i in range(0, len(ids), 256)
    )
    sliding = log_probabilities(*model, ids, stride=64).sum()
    for reading, expected in ("plain", plain), ("sliding", sliding):
        state = tmp_path / reading
        found = measured(tiny, "text8", reading, texts["text8"], state, stride=64)
        bits = -expected / np.log(2) / len(text)
        assert np.isclose(found[reading, "bits per byte"], bits)


def test_lambada(tiny, texts, tmp_path):
    log_p, right, last = [], [], []
    for passage in PASSAGES:
        context, _, word = passage.rpartition(" ")
        before = tiny.tokenizer.encode(context)
        after = tiny.tokenizer.encode(" " + word)
        logits = tiny.logits(before + after[:-1])[len(before) - 1 :]
        log_p.append(log_softmax(logits)[np.arange(len(after)), after])
        right.append((logits.argmax(-1) == after).all())
        last.append(logits[-1].argmax() == after[-1])
    assert 0 < sum(right) < len(PASSAGES)
    assert max(map(len, log_p)) > 1
    found = measured(tiny, "lambada", "lambada", texts["lambada"], tmp_path / "state")
    expected = {
        ("last word", "perplexity"): np.exp(-np.mean([x.sum() for x in log_p])),
        ("last word", "accuracy, %"): 100 * np.mean(right),
        ("last token", "perplexity"): np.exp(-np.mean([x[-1] for x in log_p])),
        ("last token", "accuracy, %"): 100 * np.mean(last),
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert np.isclose(found[key], value), key


PROGRAM = {
    "program": [BENCHMARKS / "zero_shot.py"],
    "env": {"MINIGPT2_URL": "http://127.0.0.1:9"},  # where nobody is
}


def command(*arguments):
    """What it writes to standard output and to standard error."""
    return run(*arguments, **PROGRAM)[1:]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills the POSIX way")
def test_a_killed_run_goes_on_where_it_was(texts, tmp_path):
    text = f"text8={texts['text8']}"
    options = [text, "--model=tiny", "--readings=sliding", "--stride=2"]
    whole, err = command(*options, f"--data={tmp_path / 'whole'}")
    assert whole.count("\n") == 3, err
    data = tmp_path / "killed"
    process = start(*options, f"--data={data}", "--save-every=0", **PROGRAM)
    while not list(data.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (state,) = data.glob("*.json")
    (finished,) = (tmp_path / "whole").glob("*.json")
    done = json.loads(state.read_bytes())["items"]
    assert 0 < done < json.loads(finished.read_bytes())["items"]
    again, _ = command(*options, f"--data={data}")
    assert again == whole
    assert state.read_bytes() == finished.read_bytes()  # to the last bit


def test_the_table(texts, tmp_path):
    arguments = [f"{name}={path}" for name, path in texts.items()]
    out, err = command(*arguments, "--model=tiny", f"--data={tmp_path}", "--limit=900")
    lines = out.splitlines()
    assert len({line.count("|") for line in lines}) == 1, err
    (line,) = (line for line in lines if "last token | accuracy" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    value = float(cells[3])
    assert cells[4:] == [
        "45.99",
        f"{value - 45.99:+.2f}",
        "46.67",
        f"{value - 46.67:+.2f}",
        "transformers#13761",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["wikitext3"], "unknown text 'wikitext3', expected wikitext2, ptb"),
        (["ptb", "--readings=fast"], "unknown reading 'fast', expected paper"),
        (["ptb=/there/is/nothing"], "/there/is/nothing"),
        (["ptb={ptb}", "--readings=sliding", "--stride=256"], "expected 1 to 255"),
    ],
)
def test_mistakes_get_one_line(texts, tmp_path, arguments, line):
    arguments = [argument.format(ptb=texts["ptb"]) for argument in arguments]
    out, err = command(*arguments, "--model=tiny", f"--data={tmp_path}")
    assert [line for line in out.splitlines() if "ptb" in line] == []
    assert err.count("\n") == 1
    assert line in err


def test_memory_does_not_grow_with_the_text(tiny, tmp_path):
    """All windows of a text, one after the other, in less memory than a tenth of it."""
    path = tmp_path / "text8"
    path.write_bytes(texts_of(1_000_000))
    for reading in "paper", "sliding", "plain":
        read = corpora.Read()
        list(
            zero_shot.items(tiny, "text8", reading, path, read, 100_000)
        )  # warm caches
        tracemalloc.start()
        for _ in zero_shot.items(tiny, "text8", reading, path, corpora.Read()):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3e6, (
            reading
        )  # a block of 64 kB, and its tokens as Python's integers


def texts_of(size):
    words = b"once upon a time there was a king who had a daughter and a fox "
    return words * (size // len(words))


# Downloads, from a server on this machine ------------------------------------------


@pytest.fixture
def server(monkeypatch):
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            body = files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", files
        running.shutdown()


def zipped(**contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"folder/{name}", content)
    return buffer.getvalue()


def test_texts_are_downloaded_once_and_taken_out_of_archives(server, tmp_path):
    url, files = server
    files |= {"/a.txt": b"a text", "/b.zip": zipped(other="no", text8="another text")}
    data = tmp_path / "new"
    plain = corpora.Source(f"{url}/a.txt", "a.txt")
    packed = corpora.Source(f"{url}/b.zip", "text8")
    for _ in range(2):
        assert corpora.fetch(plain, data).read_bytes() == b"a text"
        assert corpora.fetch(packed, data).read_bytes() == b"another text"
        files.clear()  # it is not asked again
    assert sorted(path.name for path in data.iterdir()) == ["a.txt", "text8"]


def test_what_is_not_the_text_is_refused_and_deleted(server, tmp_path):
    url, files = server
    name, data = (bytearray(zipped(text8="a text " * 100)) for _ in range(2))
    name[40] ^= 255
    data[44] ^= 255
    files |= {"/a": b"changed", "/b.zip": bytes(name), "/d.zip": bytes(data)}
    files |= {"/c.zip": zipped(text9="x"), "/e.zip": b"<html>"}
    for name, sha256, words in (
        ("a", "0" * 64, "SHA-256"),
        ("b.zip", "", "b.zip: "),
        ("c.zip", "", "c.zip: "),
        ("d.zip", "", "d.zip: "),
        ("e.zip", "", "e.zip: "),
    ):
        source = corpora.Source(f"{url}/{name}", "text8", sha256)
        with pytest.raises(DownloadError, match=words):
            corpora.fetch(source, tmp_path)
        assert list(tmp_path.iterdir()) == []
