"""A file of the released 124M's size and shapes, empty on disk: opened, it takes no
memory, and to generate takes that of the weights and little more."""

import math
import sys

import pytest
from checkpoints import DATA, HEADER, HPARAMS, INDEX, block, entry, hparams, table
from helpers import run

from minigpt2.model import Config, shapes

CONFIG = Config(n_vocab=50257, n_ctx=1024, n_embd=768, n_head=12, n_layer=12)
DATA_BYTES = 497_759_232  # of the file that OpenAI released

MEASURE = """
import re, sys
import minigpt2
status = lambda: open("/proc/self/status").read()
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", status())[1]) * 1024
gpt2 = minigpt2.load(sys.argv[1])
print(peak())
prompt = " the" * int(sys.argv[2])
print(len(list(gpt2.generate(prompt, max_tokens=1, temperature=0))))
print(peak())
"""


@pytest.fixture
def zeros(tmp_path):
    """The checkpoint, all its parameters zero. The data file is a hole: it takes no disk."""
    offset, records = 0, [HEADER]
    for name, shape in shapes(CONFIG):
        size = 4 * math.prod(shape)
        stored = (1, *shape) if name.endswith("/w") else shape
        key = f"model/{name}".encode()
        records.append((key, entry(shape=stored, offset=offset, size=size)))
        offset += size
    (tmp_path / HPARAMS).write_text(hparams(**vars(CONFIG)))
    (tmp_path / INDEX).write_bytes(table(block(records)))
    with open(tmp_path / DATA, "wb") as data:
        data.truncate(offset)
    return tmp_path


def test_the_parameters_fill_the_released_file(zeros):
    assert (zeros / DATA).stat().st_size == DATA_BYTES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("prompt", "more"), [(100, 150e6), (1023, 250e6)])
def test_memory_is_that_of_the_weights_and_little_more(zeros, prompt, more):
    _, out, _ = run(zeros, prompt, program=("-c", MEASURE))
    opened, tokens, generated = map(int, out.split())
    assert opened < 80e6
    assert tokens == 1
    assert generated <= DATA_BYTES + more
