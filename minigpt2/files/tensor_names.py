"""OpenAI's name of a tensor ⇄ other tools' names, and which tensors a model does not use."""

import re
from collections.abc import Collection
from typing import TypeVar

T = TypeVar("T")
PREFIXES = re.compile(r"^((module|model|transformer)\.)+")  # of what wraps it
MASK = re.compile(r"h\d+/attn/(b|masked_bias)")  # attn.bias: which token sees which
MODEL = re.compile(r"h\d+/|(wte|wpe|ln_f|lm_head)(/|$)")


def openai_name(name: str) -> str:
    """model/h0/attn/c_attn/w, transformer.h.0.attn.c_attn.weight → h0/attn/c_attn/w"""
    if "." not in name:
        return name.removeprefix("model/")
    name = PREFIXES.sub("", name.replace("_orig_mod.", ""))  # of torch.compile
    name = re.sub(r"^h\.(\d+)", r"h\1", name)
    name = re.sub(r"^(wte|wpe)\.weight$", r"\1", name)
    name = re.sub(r"(ln_\w)\.weight$", r"\1.g", name)
    name = re.sub(r"\.weight$", ".w", name)
    return re.sub(r"\.bias$", ".b", name).replace(".", "/")


def huggingface_name(name: str) -> str:
    """OpenAI's name → Hugging Face's: h0/attn/c_attn/w becomes
    transformer.h.0.attn.c_attn.weight."""
    name = re.sub(r"^h(\d+)/", r"h/\1/", name).replace("/", ".")
    name = re.sub(r"^(wte|wpe)$|\.[gw]$", r"\1.weight", name)
    return "transformer." + re.sub(r"\.b$", ".bias", name)


def renamed(tensors: dict[str, T]) -> dict[str, T]:
    """The tensors under OpenAI's names. Raises ValueError if two get the same: which one
    would be meant?"""
    ours: dict[str, T] = {}
    for name, tensor in tensors.items():
        if ours.setdefault(openai_name(name), tensor) is not tensor:
            raise ValueError(f"tensor {name} is there under another name, too")
    return ours


def unused(names: Collection[str], used: Collection[str]) -> list[str]:
    """The tensors beside a model's own: an optimizer's, or a head's for another task.

    Raises ValueError for one that is part of the model, and would change its numbers.
    """
    others = [name for name in names if name not in used and not MASK.fullmatch(name)]
    for name in others:
        parameter, _, slot = name.rpartition("/")  # of an optimizer: h0/ln_1/g/Adam
        if MODEL.match(name) and not (parameter in used and slot[:1].isupper()):
            raise ValueError(f"tensor {name} is part of the model, and not of a GPT-2")
    return others
