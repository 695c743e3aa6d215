"""Names, what the hub's own programs have left on this machine, and the hub itself."""

import json
import os
import shutil
from itertools import repeat
from pathlib import Path

import mirror
import numpy as np
import pytest
from helpers import SMALL
from mirror import behave, cut_after, edition, flipped, is_whole, ranges, status

import minigpt2
from minigpt2.files import download, layout, locate, progress
from minigpt2.files.transfer import DownloadError

pytestmark = pytest.mark.usefixtures("alone")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def each_name_is_mentioned_anew():
    locate._mention.cache_clear()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory; nobody answers in the network."""
    for name in "MINIGPT2_URL", "HF_ENDPOINT":
        monkeypatch.setenv(name, NOBODY)
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def write(directory, files=None):
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in (mirror.hub().files if files is None else files).items():
        (directory / name).write_bytes(data)
    return directory


def cached(cache, repository, files=None, commit="0123abcd", links=False):
    """A repository in the cache of the hub's own programs."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    write(place / "blobs" if links else snapshot, files)
    if links:
        snapshot.mkdir(parents=True)
        for blob in (place / "blobs").iterdir():
            (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return snapshot


# Names


@pytest.mark.parametrize(
    "name, size",
    [("124M", "124M"), ("124m", "124M"), ("117M", "124M"), ("345m", "355M")]
    + [("gpt2", "124M"), ("gpt2-medium", "355M"), ("gpt2-large", "774M")]
    + [("gpt2-xl", "1558M"), ("openai-community/gpt2-xl", "1558M"), ("GPT2", "124M")]
    + [("openai-community/gpt2", "124M"), ("1558m", "1558M")],
)
def test_a_released_model_has_several_names(here, tmp_path, name, size):
    openai = write(tmp_path / "weights" / size, mirror.openai().files)
    assert locate.find(name, tmp_path / "weights") == openai
    assert locate.find(name, tmp_path) is None
    assert download.download(name, tmp_path / "weights") == openai


@pytest.mark.parametrize(
    "name",
    ["nothing", "distilgpt2", "TINY2", "../a/b", "a/b/c", "/a/b", "a/", "/b", "a//b"]
    + ["-a/b", "a/.b", "a/b..c", "a--b/c", "a/b--c", "a\\b/c", "a b/c", "a/b\n", "a/b?"]
    + ["a/b%2e", "~/a", "~nobody/a", "a/\0", "\xe4/b", "http://a/b"],
)
def test_what_can_be_no_name_is_refused(here, hub, name):
    for ask in minigpt2.load, lambda name: download.download(name, here, hub.url):
        with pytest.raises(ValueError, match=r"OWNER/NAME|null"):
            ask(name)
    assert not hub.asked
    assert not os.listdir(here)


def test_a_directory_goes_before_a_repository(here, hub):
    directory = write(here / hub.model)
    assert locate.find(hub.model) == Path(hub.model)
    assert download.download(hub.model, here, hub.url) == Path(hub.model)
    assert minigpt2.load(hub.model).config.n_vocab == 1000
    assert not hub.asked
    shutil.rmtree(directory)
    assert locate.find(hub.model, here) is None
    with pytest.raises(ValueError, match="unknown model"):
        locate.find(Path(hub.model))


def test_a_name_goes_before_a_directory_which_is_mentioned(here, tmp_path, capsys):
    released = write(tmp_path / "weights" / "124M", mirror.openai().files)
    write(here / "gpt2")
    (here / "tiny").mkdir()
    assert locate.find("gpt2", tmp_path / "weights") == released
    assert locate.find("gpt2", tmp_path / "weights") == released
    said = "minigpt2: gpt2 is the model 124M; the directory of that name is ./gpt2\n"
    assert capsys.readouterr().err == said  # once
    assert locate.find("./gpt2") == Path("gpt2")
    assert locate.find("124M", tmp_path / "weights") == released
    os.chdir(tmp_path / "weights")  # the same directory
    assert locate.find("124M", tmp_path / "weights") == released
    assert capsys.readouterr().err == ""


# Paths


def test_a_file_of_a_model_is_its_directory(here):
    directory = write(here / "mine")
    for file in os.listdir(directory):
        assert locate.find(f"mine/{file}") == Path("mine")
        assert locate.find(directory / file) == directory
    os.chdir(directory)
    assert minigpt2.load("model.safetensors").config.n_vocab == 1000
    for file in layout.OPENAI_FILES:
        assert locate.find(SMALL / file) == SMALL


@pytest.mark.parametrize("file", ["other.gguf", "pytorch_model.bin", "old.safetensors"])
def test_a_file_that_would_not_be_read_is_refused(here, file):
    (write(here / "mine") / file).write_bytes(b"another model")
    with pytest.raises(ValueError, match=rf"mine/{file} is not read: .*model\.safe"):
        locate.find(f"mine/{file}")
    (here / "mine" / "model.safetensors").unlink()
    assert locate.find(f"mine/{file}") == Path("mine")  # what is there is refused later


def test_a_step_of_a_tensorflow_run_is_passed_on(here):
    for file in "model-1000.index", "model-1000.data-00000-of-00001":
        (here / file).touch()
        assert locate.find(file) == Path("model-1000.index")


def test_the_home_directory_is_expanded(here, tmp_path, monkeypatch):
    mine = write(tmp_path / "home" / "mine")
    for model in "~/mine", Path("~/mine"), "~/mine/model.safetensors":
        assert locate.find(model) == mine
    write(tmp_path / "home" / "all" / "124M", mirror.openai().files)
    assert locate.find("124M", "~/all") == tmp_path / "home" / "all" / "124M"
    snapshot = cached(tmp_path / "home" / "hub", "a/b")
    monkeypatch.setenv("HF_HUB_CACHE", "~/hub")
    assert locate.find("a/b") == snapshot


def test_directories_of_the_hub_s_cache_lead_to_their_model(here):
    snapshot = cached(here, "a/b")
    for path in "models--a--b", "models--a--b/snapshots", snapshot:
        assert locate.find(path).resolve() == snapshot
        assert minigpt2.load(path).config.n_vocab == 1000
    (here / "models--a--b" / "refs" / "main").write_text("../../..")
    assert locate.find("models--a--b") == Path("models--a--b")
    with pytest.raises(minigpt2.CheckpointError, match="no checkpoint"):
        minigpt2.load("models--a--b")


# The hub's cache


@pytest.mark.parametrize("links", [False, True], ids=["files", "links"])
@pytest.mark.parametrize(
    "variable, value, cache",
    [
        ("HF_HUB_CACHE", "{}/cache", "cache"),
        ("HF_HOME", "{}/huggingface", "huggingface/hub"),
        ("XDG_CACHE_HOME", "{}", "huggingface/hub"),
        ("HF_HOME", "", "home/.cache/huggingface/hub"),
    ],
)
def test_the_hub_s_cache_is_looked_through(
    here, tmp_path, monkeypatch, variable, value, cache, links
):
    monkeypatch.setenv(variable, value.format(tmp_path))
    snapshot = cached(tmp_path / cache, "a/b", links=links)
    assert locate.find("a/b") == snapshot
    assert minigpt2.load("a/b").config.n_vocab == 1000
    assert locate.find("a/c") is None
    large = cached(tmp_path / cache, "openai-community/gpt2-large", links=links)
    xl = cached(tmp_path / cache, "gpt2-xl", links=links)  # its name until 2024
    assert (locate.find("774M"), locate.find("gpt2-xl")) == (large, xl)
    download.verify(large)


def test_what_is_downloaded_goes_before_the_hub_s_cache(here, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, "a/b")
    assert locate.find("a/b", tmp_path / "all").is_relative_to(
        tmp_path / "models--a--b"
    )
    kept = write(tmp_path / "all" / "a--b")
    assert locate.find("a/b", tmp_path / "all") == kept


@pytest.mark.parametrize(
    "lacks, released",
    [
        (["config.json"], False),
        (["model.safetensors"], False),
        (["merges.txt"], True),  # whose vocabulary is known
        (["refs"], False),
        (["link"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_incomplete_snapshot_is_not_used(
    here, tmp_path, monkeypatch, lacks, released
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    files = mirror.hub().files
    files = {name: data for name, data in files.items() if name not in lacks}
    for model in "a/b", "openai-community/gpt2":
        snapshot = cached(tmp_path, model, files, links=True)
        place = snapshot.parents[1]
        if lacks == ["refs"]:
            (place / "refs" / "main").write_text("another")
        if lacks == ["link"]:
            (place / "blobs" / "model.safetensors").unlink()
    assert locate.find("a/b") is None
    assert locate.find("124M") == (snapshot if released else None)


def shards(kind, *names):
    weights = {f"h.{i}.attn.c_attn.weight": name for i, name in enumerate(names)}
    return {f"{kind}.index.json": json.dumps({"weight_map": weights}).encode()}


@pytest.mark.parametrize("kind", layout.WEIGHTS)
def test_all_shards_must_be_there(here, kind):
    one, two = (kind.replace(".", f"-0000{i}-of-00002.") for i in (1, 2))
    files = {"config.json": b"{}", one: b"1"} | shards(kind, two, one, two)
    write(here / "a", files)
    assert layout.weights_in(here / "a") == []
    (here / "a" / two).touch()
    assert layout.weights_in(here / "a") == [one, two]


@pytest.mark.parametrize(
    "index",
    [b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b"[" * 100_000]
    + [
        b'{"weight_map": {"a": %s}}' % b
        for b in (b"1", b"[]", b"null", b'"config.json"')
    ]
    + [b'{"weight_map": {"a": "%s"}}' % b for b in (b"../a.bin", b"/a.bin", b".bin")]
    + [
        b'{"weight_map": {"a": "a.bin", "b": "lock"}}',
        b"\xff",
        b" " * (1 << 20) + b'{"weight_map": {"a": "a.bin"}}',
    ],
)
def test_an_index_that_lists_no_files_is_refused(here, hub, index):
    (here / "index").write_bytes(index)
    with pytest.raises(
        ValueError, match="no list of tensors|not a? ?JSON|has 1048606 bytes"
    ):
        layout.shards(here / "index")
    del hub.files["model.safetensors"]
    hub.files["model.safetensors.index.json"] = index
    with pytest.raises(DownloadError, match="was deleted"):
        download.download(hub.model, here / "weights", hub.url)
    assert not os.listdir(here / "weights")


# The hub


@pytest.mark.parametrize(
    "code, words",
    [
        (401, "misspelt, private or gated; minigpt2 cannot log in"),
        (403, "gated"),
        (
            404,
            "config.json: 404 Not Found: it is misspelt, or not in transformers' format",
        ),
    ],
)
def test_what_the_hub_refuses_is_explained(here, hub, capsys, code, words):
    hub.gate["config.json"] = repeat(status(code))
    with pytest.raises(DownloadError) as caught:
        download.download(hub.model, here, hub.url)
    for word in f"there is no directory {hub.model}", hub.url, str(code), words:
        assert word in str(caught.value)
    said = capsys.readouterr().err
    asked = (
        f"there is no directory {hub.model}; downloading {hub.folder} from {hub.url}"
    )
    assert said.startswith(f"minigpt2: {asked} to {here}")
    assert said.count("\n") == 1
    assert not os.listdir(here)
    hub.gate.clear()
    download.download(hub.model, here, hub.url)
    assert is_whole(hub, here)


def test_a_repository_may_have_been_renamed(here, hub):
    for file in hub.files:
        path = hub.path.replace("someone", "someone.else")
        behave(hub, file, status(404))
        hub.gate[file] = iter([status(307, Location=path + file)])
    with pytest.raises(DownloadError, match="404"):
        download.download(hub.model, here, hub.url)
    for file in hub.files:
        hub.gate[file] = iter([status(307, Location=hub.path + file)])
    hub.behaviour.clear()
    download.download(hub.model, here, hub.url)
    assert is_whole(hub, here)


@pytest.mark.parametrize("next_run", [False, True], ids=["same run", "next run"])
@pytest.mark.parametrize("cut", [100_000, -1], ids=["half", "whole"])
def test_a_large_file_that_changes_is_noticed(here, hub, sleeps, next_run, cut):
    """Its host has no ETag, or one that says nothing: the hub's says it."""
    old = edition('"host"', bytes(len(hub.files[hub.data])), cut)
    stop = [status(400)] if next_run else []
    behave(hub, hub.data, old, *stop, always=edition('"host"'))
    hub.linked[hub.data] = iter([f'"{"0" * 64}"'] * (1 + next_run))
    for _ in range(next_run):
        with pytest.raises(DownloadError, match="400"):
            download.download(hub.model, here, hub.url)
    download.download(hub.model, here, hub.url)
    assert is_whole(hub, here)
    assert ranges(hub, hub.data)[-1] is None
    assert ranges(hub, hub.data)[-2].startswith("bytes=")


def test_a_small_file_that_changes_is_noticed(here, hub, sleeps):
    """It has come whole, and the run was broken off later."""
    new, files = hub.files["vocab.json"], dict(hub.files)
    hub.files |= {"vocab.json": b"{}", "added_tokens.json": b'{"gone": 1}'}
    hub.linked["vocab.json"] = iter(['"old"'])
    behave(hub, hub.data, status(400))
    with pytest.raises(DownloadError, match="400"):
        download.download(hub.model, here, hub.url)
    part = here / f"{hub.folder}.part"
    assert (part / "vocab.json").read_bytes() == b"{}"
    assert (part / "added_tokens.json").exists()
    hub.files.clear()
    hub.files |= files
    behave(hub, hub.data, status(400))
    with pytest.raises(DownloadError, match="400"):
        download.download(hub.model, here, hub.url)
    assert (part / "vocab.json").read_bytes() == new
    assert not (part / "added_tokens.json").exists()
    download.download(hub.model, here, hub.url)
    assert (here / hub.folder / "vocab.json").read_bytes() == new
    assert is_whole(hub, here)


def test_a_wrong_byte_of_a_large_file_is_found(here, hub):
    behave(hub, hub.data, flipped(200_000))  # in the middle of a tensor
    with pytest.raises(DownloadError, match="was deleted: .*SHA-256"):
        download.download(hub.model, here, hub.url)
    assert not os.listdir(here)


def test_a_mirror_need_not_state_the_sha256(here, hub):
    hub.linked[hub.data] = repeat("")
    download.download(hub.model, here, hub.url)
    assert is_whole(hub, here)
    download.verify(here / hub.folder)


def test_sums_are_those_that_sha256sum_reads(here, hub):
    directory = download.download(hub.model, here, hub.url)
    if shutil.which("sha256sum"):
        assert os.system(f"cd {directory} && sha256sum --quiet -c SHA256SUMS") == 0
    (directory / "merges.txt").unlink()
    with pytest.raises(minigpt2.CheckpointError, match="merges.txt: No such file"):
        download.verify(directory)
    (directory / "SHA256SUMS").write_bytes(b"damaged\xff\n")
    with pytest.raises(minigpt2.CheckpointError, match="SHA256SUMS: damaged"):
        download.verify(directory)


@pytest.mark.parametrize(
    "config, words",
    [
        (
            b'{"model_type": "bert"}',
            "config.json: model_type is 'bert', expected 'gpt2'",
        ),
        (b'{"model_type": ["a"]}', "model_type is ['a']"),
        (b"[]", "config.json: not a JSON object"),
        (b"{", "config.json is not JSON"),
        (b"[" * 100_000, "config.json is not JSON"),
    ],
)
def test_another_architecture_is_refused_before_its_weights_come(
    here, hub, config, words
):
    hub.files["config.json"] = config
    with pytest.raises(DownloadError) as caught:
        download.download(hub.model, here, hub.url)
    assert words in str(caught.value)
    assert {path.rpartition("/")[2] for _, path, _ in hub.asked} == {"config.json", ""}
    assert not os.listdir(here)


def test_weights_in_no_known_format_are_refused(here, hub):
    hub.files["tf_model.h5"] = hub.files.pop("model.safetensors")
    with pytest.raises(
        DownloadError, match="404 .*nor is there model.safetensors or pytorch"
    ):
        download.download(hub.model, here, hub.url)
    hub.files |= shards("pytorch_model.bin", "a.bin", "b.bin") | {"a.bin": b"1"}
    with pytest.raises(DownloadError, match="b.bin: 404 .*index.json lists it"):
        download.download(hub.model, here, hub.url)


def test_a_repository_without_a_tokenizer_is_mentioned(here, hub, capsys):
    for file in "vocab.json", "merges.txt":
        hub.files.pop(file)
    download.download(hub.model, here, hub.url)
    assert f"minigpt2: {hub.model} has no tokenizer" in capsys.readouterr().err


@pytest.mark.oracle
def test_the_hub_s_own_program_is_served_and_what_it_keeps_is_found(here, hub):
    """So the server is enough like the hub, and its cache is where we look."""
    theirs = pytest.importorskip("huggingface_hub")
    cache = here.parent / "home" / ".cache" / "huggingface" / "hub"
    come = set()
    for file in hub.files:
        theirs.hf_hub_download(hub.model, file, endpoint=hub.url, cache_dir=cache)
        found = locate.find(hub.model, here)
        come.add(file)
        whole = {"config.json", "model.safetensors", "vocab.json", "merges.txt"} <= come
        assert (found is not None) == whole, file
    download.verify(found)
    assert minigpt2.load(hub.model, here).config.n_vocab == 1000


# The released models, from the hub when OpenAI's bucket is gone


@pytest.fixture
def both(hub, monkeypatch):
    """OpenAI's bucket, and a hub that has a released model."""
    hub.path = "/openai-community/gpt2/resolve/main/"
    hub.folder = "openai-community--gpt2"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    with mirror.serving(mirror.openai()) as bucket:
        monkeypatch.setattr(download, "OPENAI", bucket.url)
        yield bucket, hub


def test_the_bucket_is_asked_first(tmp_path, both):
    bucket, hub = both
    assert download.download("gpt2", tmp_path / "all") == tmp_path / "all" / "124M"
    assert is_whole(bucket, tmp_path / "all")
    assert not hub.asked


@pytest.mark.parametrize("gone", [404, 403, 409, "no answer"])
def test_the_hub_has_what_the_bucket_has_no_more(
    tmp_path, both, monkeypatch, capsys, gone
):
    bucket, hub = both
    if gone == "no answer":
        monkeypatch.setattr(download, "OPENAI", NOBODY)
    for file in bucket.files:
        behave(bucket, file, always=status(gone))
    directory = tmp_path / "all" / hub.folder
    assert download.download("gpt2", tmp_path / "all") == directory
    assert is_whole(hub, tmp_path / "all")
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if hub.url in line)
    assert (NOBODY if gone == "no answer" else str(gone)) in line
    hub.asked.clear()
    for name in "124M", "gpt2", "openai-community/gpt2":
        assert minigpt2.load(name, tmp_path / "all").config.n_vocab == 1000
    assert not hub.asked


def test_a_fault_that_may_pass_does_not_change_the_source(tmp_path, both, sleeps):
    bucket, hub = both
    behave(bucket, mirror.DATA, always=cut_after(0))
    with pytest.raises(DownloadError, match="run the same command"):
        download.download("gpt2", tmp_path / "all")
    assert not hub.asked


def test_a_mirror_that_was_given_is_the_only_one(tmp_path, both, monkeypatch):
    _, hub = both
    with pytest.raises(DownloadError, match=NOBODY):
        download.download("gpt2", tmp_path / "all", NOBODY)
    monkeypatch.setenv("MINIGPT2_URL", NOBODY)
    with pytest.raises(DownloadError, match=NOBODY):
        download.download("gpt2", tmp_path / "all")
    assert not hub.asked


def test_without_a_network_both_are_named_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "OPENAI", f"{NOBODY}/openai")
    monkeypatch.setenv("HF_ENDPOINT", f"{NOBODY}/hub")
    with pytest.raises(DownloadError) as caught:
        download.download("gpt2", tmp_path / "all")
    assert f"{NOBODY}/openai: no connection" in str(caught.value)
    assert f"{NOBODY}/hub: no connection" in str(caught.value)
    assert capsys.readouterr().err == ""


# Progress where there is no terminal, as in a notebook


def test_progress_is_written_now_and_then(here, hub, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", -1)
    download.download(hub.model, here, hub.url)
    lines = capsys.readouterr().err.splitlines()
    data = [line for line in lines if line.startswith("model.safetensors: ")]
    assert len(data) > 3
    assert " 29 %" in data[0]
    assert " left" in data[0]


# Weights as other tools write them


def split(files):
    """model.safetensors in two shards."""
    data = files.pop("model.safetensors")
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    weight_map = {}
    for i, part in enumerate((names[:9], names[9:]), 1):
        start = header[part[0]]["data_offsets"][0]
        stop = header[part[-1]]["data_offsets"][1]
        shard = f"model-0000{i}-of-00002.safetensors"
        entries = {name: dict(header[name]) for name in part}
        for entry in entries.values():
            entry["data_offsets"] = [at - start for at in entry["data_offsets"]]
        described = json.dumps(entries).encode()
        files[shard] = (
            len(described).to_bytes(8, "little") + described + body[start:stop]
        )
        weight_map |= dict.fromkeys(part, shard)
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    files["model.safetensors.index.json"] = index.encode()


def test_shards_come_from_the_hub(here, hub):
    whole = write(here / "whole")
    split(hub.files)
    second = "model-00002-of-00002.safetensors"
    behave(hub, second, cut_after(70_000), status(400))
    with pytest.raises(DownloadError, match="400"):
        download.download(hub.model, here / "all", hub.url)
    assert locate.find(hub.model, here / "all") is None
    directory = download.download(hub.model, here / "all", hub.url)
    assert is_whole(hub, here / "all")
    download.verify(directory)
    logits = minigpt2.load(whole).logits([1, 2, 3])
    assert np.allclose(minigpt2.load(directory).logits([1, 2, 3]), logits, atol=1e-5)
    assert locate.find(directory / second) == directory
    os.rename(directory / second, here / "away")
    assert locate.find(hub.model, here / "all") is None


def test_a_repository_may_change_its_format(here, hub, sleeps):
    """From one file to shards: what has come of the one file is not in the way."""
    behave(hub, hub.data, cut_after(70_000), status(400))
    with pytest.raises(DownloadError, match="400"):
        download.download(hub.model, here / "all", hub.url)
    split(hub.files)
    download.download(hub.model, here / "all", hub.url)
    assert is_whole(hub, here / "all")


def test_pytorch_s_files_come_from_the_hub(here, hub):
    for file in "config.json", "pytorch_model.bin":
        hub.files[file] = SMALL.with_name("torch-small").joinpath(file).read_bytes()
    del hub.files["model.safetensors"]
    directory = download.download(hub.model, here / "all", hub.url)
    assert is_whole(hub, here / "all")
    minigpt2.load(directory)
    download.verify(directory)


def test_an_adapter_is_refused(here, hub):
    hub.files["adapter_config.json"] = b"{}"
    with pytest.raises(DownloadError, match="adapter"):
        download.download(hub.model, here / "all", hub.url)
    assert not os.listdir(here / "all")
