"""Arrays → files: a checkpoint in Hugging Face's layout, no file in it half written.

transformers opens such a directory as it is, and so does minigpt2. A file is written
under a temporary name, brought to the disk, and renamed: whatever happens in between,
the file before it stays whole.
"""

import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..model import Array, Config
from ..tokenizer import END_OF_TEXT, Tokenizer
from .byte_level import ByteLevelTokenizer
from .tensor_names import huggingface_name


def replace(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write the parts to a file, in the place of the one before it: all of them or, if
    it fails with OSError, none. A link stays a link, and what is no file (a terminal, a
    pipe, /dev/null) is written to as it is."""
    if path.exists() and not path.is_file():
        with open(path, "wb") as device:
            device.writelines(parts)
        return
    path = path.resolve()
    temporary = path.with_name(path.name + ".partial")
    try:
        with open(temporary, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name, too, is to reach the disk
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_safetensors(
    path: Path, tensors: dict[str, Array], metadata: dict[str, str]
) -> None:
    """A safetensors file of float32 arrays: the header's length in eight bytes, the
    header in JSON, the arrays."""
    header: dict[str, dict[str, Any]] = {"__metadata__": {**metadata}}
    parts, start = [], 0
    for name, array in tensors.items():
        stop = start + 4 * array.size
        offsets = [start, stop]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": offsets}
        parts.append(np.ascontiguousarray(array, "<f4").reshape(-1).data.cast("B"))
        start = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned in a mapped file
    replace(path, [struct.pack("<Q", len(text)), text, *parts])


def write_model(directory: Path, params: dict[str, Array]) -> None:
    """model.safetensors, from parameters under OpenAI's names. The output projection is
    wte, and is not repeated."""
    tensors = {huggingface_name(name): array for name, array in params.items()}
    write_safetensors(directory / "model.safetensors", tensors, {"format": "pt"})


def write_description(directory: Path, config: Config, tokenizer: Tokenizer) -> None:
    """All files of the layout but the parameters: config.json, and the tokenizer's own
    files or, of OpenAI's list, tokenizer_config.json, merges.txt and vocab.json."""
    ends = sorted(tokenizer.ends)
    model = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "vocab_size": config.n_vocab,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.eot,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }
    tokenizing = {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": config.n_ctx,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
    }
    replace(directory / "config.json", [f"{json.dumps(model, indent=1)}\n".encode()])
    if isinstance(tokenizer, ByteLevelTokenizer):
        standard = {"encoder.json": "vocab.json", "vocab.bpe": "merges.txt"}
        for path in tokenizer.files:
            name = standard.get(path.name, path.name)
            replace(directory / name, [path.read_bytes()])
        return
    names = [*tokenizer.names]
    merges = [f"{names[left]} {names[right]}\n" for left, right in tokenizer.merges]
    ids = tokenizer.names | tokenizer.special
    for name, text in (
        ("tokenizer_config.json", json.dumps(tokenizing, indent=1) + "\n"),
        ("merges.txt", "#version: 0.2\n" + "".join(merges)),
        ("vocab.json", json.dumps(ids)),
    ):
        replace(directory / name, [text.encode()])
