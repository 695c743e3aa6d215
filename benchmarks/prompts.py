"""What texts to begin with: sixteen prompts, or the beginnings of one's own texts."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import minigpt2
from minigpt2.files.progress import notice
from minigpt2.files.text import file_parts, stream_texts

PROMPTS = (
    "Once upon a time there was a king who had three daughters, and the youngest",
    "The old sailor sat down by the fire and began to tell of the great storm",
    "In the middle of the forest stood a little house, in which there lived a witch",
    "The dragon had slept in his cave for a hundred years upon a heap of gold",
    "A poor tailor was sewing a coat when he heard somebody knock at the window",
    "The bear said to the fox that winter was coming and that he must find a den",
    "On the day of the wedding the prince rode to the castle on a white horse",
    "The boy climbed the mountain to bring back the water that would heal his mother",
    "The miller had an ass which had carried sacks of corn to the mill for years",
    "There was no bread left in the house, and the children were crying with hunger",
    "The frog came up out of the well with the golden ball in his wide mouth",
    "Three soldiers came home from the war, and in their pockets was not a penny",
    "The queen looked into the mirror every morning and asked it the same question",
    "An eagle seized the hen and flew with her over the sea to a rocky island",
    "The giant laughed so loud that the apples fell from all the trees in the garden",
    "When the ship was about to sink, the fisherman saw a light upon the shore",
)


def read_texts(gpt2: minigpt2.GPT2, file: Path, split: str) -> Iterator[list[int]]:
    """The texts of a file, as tokens; of long ones, as many as a window needs."""
    texts = stream_texts(file_parts(file), split)
    for _, parts in texts:
        tokens = chain.from_iterable(gpt2.tokenizer.encode_parts(parts))
        yield list(islice(tokens, gpt2.config.n_ctx + 1))


def cut_texts(
    texts: list[list[int]], cut: int | None, length: int
) -> tuple[list[list[int]], list[list[int]]]:
    """The prompts, whole texts or their beginnings, and for each the `length` tokens that
    follow there. Texts that are too short are left out, with a notice."""
    if cut is None:
        return texts, [[] for _ in texts]
    enough = [text for text in texts if len(text) >= cut + length]
    if len(enough) < len(texts):
        missing = f"{len(texts) - len(enough)} of {len(texts)} texts"
        notice(f"left out: {missing} have less than {cut + length} tokens")
    return [x[:cut] for x in enough], [x[cut : cut + length] for x in enough]
