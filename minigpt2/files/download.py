"""The network → a model: OpenAI's released checkpoints, and repositories of the hub.

A model is fetched into `NAME.part/` beside its later place. Its files move to `NAME/`
when all of them are whole and verified, the largest one last, so that what is there is a
model. How a broken transfer goes on is in transfer.py.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..model import Config
from . import layout, locate, lock
from .checkpoint import Checkpoint, CheckpointError, read_model, read_settings
from .progress import Progress, notice
from .transfer import DownloadError, fetch, reach

OPENAI = "https://openaipublic.blob.core.windows.net/gpt-2/models"
HUB = "https://huggingface.co"
FILES = ("vocab.bpe", *layout.OPENAI_FILES)  # the tensors, by far the largest, last
OTHER_TOKENIZERS = ("vocab.txt", "spiece.model", "tokenizer.model")  # refused by name
SUMS = "SHA256SUMS"  # of a repository's files, as the program sha256sum reads them
LOG_IN = "minigpt2 cannot log in; it finds what the hub's own program has fetched"
ANSWERS = {401: f"misspelt, private or gated; {LOG_IN}", 403: f"gated; {LOG_IN}"}
VOCABULARY_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def download(
    model: str, weights: str | Path | None = None, url: str | None = None
) -> Path:
    """Fetch a model, unless it is there already, and return its directory.

    A released one comes from `url`, or else $MINIGPT2_URL, or else OpenAI's bucket, or
    else the hub; OWNER/NAME from `url`, or else $HF_ENDPOINT, or else the hub. Raises
    ValueError for another name, DownloadError if no server answers, each within 5 seconds,
    or none gives the model, OSError if the disk does not take it.
    """
    name = locate.canonical(model)
    repository = locate.REPOSITORIES.get(name, name)
    if not locate.is_repository(repository):
        known = f"{', '.join(locate.RELEASED)} and OWNER/NAME"
        raise ValueError(f"{model!r} cannot be downloaded: {known} can")
    if there := locate.find(model, weights):
        Checkpoint(there)
        return there
    directory = locate.download_directory(weights)
    hub = os.environ.get("HF_ENDPOINT") or HUB
    if name == repository:
        hub, why = url or hub, f"there is no directory {name}"
    else:
        given = url or os.environ.get("MINIGPT2_URL")
        url = (given or OPENAI).rstrip("/")
        get = partial(_from_openai, f"{url}/{name}")
        try:
            return _download(directory / name, url, get)
        except DownloadError as error:
            if given or error.status is None:
                raise
            why = str(error)
    hub, final = hub.rstrip("/"), directory / locate.kept_as(repository)
    try:
        return _download(final, hub, partial(_from_hub, hub, repository), f"{why}; ")
    except DownloadError as error:
        raise DownloadError(f"{why}, and {error}") from None


def _download(
    final: Path, url: str, get: Callable[[Path], list[str]], why: str = ""
) -> Path:
    """Let `get` fetch the files into a directory beside `final`, and move them there."""
    part = final.with_name(f"{final.name}.part")
    clear = partial(shutil.rmtree, part, ignore_errors=True)
    reach(url)
    mine = lock.take(part)
    if mine is None:
        raise DownloadError(f"another process is downloading to {part}")
    with mine:
        try:
            if not layout.weights_in(final):  # unless another process was faster
                notice(f"{why}downloading {final.name} from {url} to {final}")
                files = get(part)
                verify(part)
                final.mkdir(exist_ok=True)
                for file in files:
                    os.replace(part / file, final / file)
            clear()
        except CheckpointError as error:
            clear()
            problem = f"what came from {url} is not the model, and was deleted: {error}"
            raise DownloadError(problem) from None
        finally:
            if all(p.name == "lock" or p.suffix == ".etag" for p in part.glob("*")):
                clear()  # nothing has come
    return final


def _from_openai(url: str, part: Path) -> list[str]:
    for file in FILES:
        fetch(f"{url}/{file}", part / file)
    return list(FILES)


def _from_hub(hub: str, repository: str, part: Path) -> list[str]:
    """Fetch what a repository has of a model's files, and note their SHA-256. Raises
    CheckpointError if it is no GPT-2."""
    sums: dict[str, str] = {}

    def get(file: str, if_not: str = "") -> bool:
        path = part / file
        try:
            sha256 = fetch(f"{hub}/{repository}/resolve/main/{file}", path)
        except DownloadError as error:
            if error.status == 404 and not if_not:
                path.unlink(missing_ok=True)  # an earlier version had it
                return False
            meaning = ANSWERS | {404: if_not}
            if error.status in meaning:
                problem = f"{error}: {meaning[error.status]}"
                raise DownloadError(problem) from None
            raise
        if file.endswith(".json"):
            try:
                json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{file} is not JSON: {error}") from None
        sums[file] = sha256 or _sha256(path)
        return True

    get("config.json", "it is misspelt, or not in transformers' format")
    read_settings(part / "config.json")  # before the weights come
    here = [get(file) for file in (*layout.TOKENIZER_FILES, *OTHER_TOKENIZERS)]
    if not any(here):
        notice(f"{repository} has no tokenizer under a known name")
    for file in (*layout.SETTINGS_FILES, "adapter_config.json"):
        get(file)
    weights, other = layout.WEIGHTS
    if not get(weights) and not get(f"{weights}.index.json") and not get(other):
        get(f"{other}.index.json", f"nor is there {weights} or {other}")
    for index in [file for file in sums if file.endswith(".index.json")]:
        try:
            shards = {*layout.shards(part / index).values()}
        except ValueError as error:
            raise CheckpointError(f"{index}: {error}") from None
        for shard in sorted(shards):
            get(shard, f"{index} lists it")
    lines = [f"{sha256}  {file}\n" for file, sha256 in sums.items()]
    (part / SUMS).write_text("".join(lines), "latin-1", newline="\n")
    return [SUMS, *sums]


def verify(directory: Path) -> Config:
    """Check a model on disk: that its sizes, which it returns, fit its tensors; by SHA-256
    what came from the hub; in OpenAI's layout the vocabulary by SHA-256, index and tensors
    by their CRCs. Raises CheckpointError at the first difference."""
    config, _ = read_model(directory)
    checkpoint, sums, noted = Checkpoint(directory), {}, directory / SUMS
    if noted.is_file():
        lines = noted.read_text("latin-1").splitlines()
        sums = {line[66:]: line[:64] for line in lines}
        if not all(re.fullmatch(layout.NAME, file) for file in sums):
            raise CheckpointError(f"{noted}: damaged")
    elif all((directory / file).is_file() for file in FILES):
        sums = {FILES[0]: VOCABULARY_SHA256}
    paths = {checkpoint.path, *(directory / file for file in sums)}
    size = sum(path.stat().st_size for path in paths if path.is_file())
    progress = Progress("verifying", size)
    try:
        for file, expected in sums.items():
            if (found := _sha256(directory / file, progress.add)) != expected:
                problem = f"SHA-256 {found}, expected {expected}"
                raise CheckpointError(f"{directory / file}: {problem}")
        if not noted.is_file() and checkpoint.verify(progress.add) == 0:
            notice(f"{checkpoint.path}: no checksums, only the structure was checked")
    except OSError as error:
        raise CheckpointError(f"{error.filename}: {error.strerror}") from None
    finally:
        if progress.done:
            progress.close()
    return config


def _sha256(path: Path, progress: Callable[[int], object] = lambda size: None) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
            progress(len(piece))
    return sha256.hexdigest()
