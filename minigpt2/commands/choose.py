"""python -m minigpt2.score --choices: JSON lines in and out, each a prompt and answers."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

from ..files.progress import notice
from ..files.text import stream_texts
from ..gpt2 import GPT2
from ..tokenizer import whole_characters
from .compare import parts_of, read_once

KEYS = '{"prompt": text, "choices": [text, …]}, and perhaps "instead": text'


def lines(file: str, held: list[str]) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, or of `held`, what can be read only once:
    each after the file's name and its number."""
    name, number = "standard input" if file == "-" else file, 1
    for before, line in stream_texts(held or parts_of(file), "line"):
        number += before.count("\n")
        yield f"{name}, line {number}", "".join(line)


def parse(line: str, where: str) -> dict[str, Any]:
    """The object of a line. Raises ValueError, with where it is, if it is no question."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        given = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    if not is_question(given):
        raise ValueError(f"{where}: expected {KEYS}")
    if "ranked" in given:
        raise ValueError(f'{where}: "ranked" is where the figures go, and is taken')
    return dict(given)


def is_question(given: object) -> bool:
    if not isinstance(given, dict) or not isinstance(given.get("choices"), list):
        return False
    texts = [given.get("prompt"), given.get("instead", ""), *given["choices"]]
    return all(isinstance(text, str) for text in texts)


def answer(gpt2: GPT2, line: str, where: str, by: str) -> dict[str, Any]:
    given = parse(line, where)
    instead = given.get("instead", "")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ranked = gpt2.choose(given["prompt"], given["choices"], by, instead)
    for warning in caught:
        notice(f"{where}: {warning.message}")
    return given | {"ranked": [choice._asdict() for choice in ranked]}


def check(gpt2: GPT2, line: str, where: str) -> None:
    """Raise ValueError, with where it is, for a line that cannot be answered."""
    given = parse(line, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for prompt in given["prompt"], given.get("instead", ""):
                gpt2.answers(prompt, given["choices"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def choose_all(gpt2: GPT2, file: str, by: str) -> None:
    """Answer all lines. They are all checked first, so that a bad one is refused before
    anything is printed: a file is read twice, and what can be read only once is held."""
    held = list(parts_of(file)) if read_once(file) else []
    found = False
    for where, line in lines(file, held):
        check(gpt2, line, where)
        found = True
    if not found:
        raise ValueError(f"there is no question: expected lines {KEYS}")
    for where, line in lines(file, held):
        given = answer(gpt2, line, where, by)
        text = json.dumps(given, ensure_ascii=False)
        if whole_characters(text) != text:  # half a character is JSON, but not UTF-8
            text = json.dumps(given)
        print(text, flush=True)
