"""What the README says of Python is what Python says."""

import re
from pathlib import Path

import numpy as np

import minigpt2

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(block, names)  # noqa: S102
    assert len(capsys.readouterr().out) > 40
    claims = re.findall(r"^(gpt2\..*?)  # ([\[(].*)$", block, re.MULTILINE)
    assert len(claims) == 2
    for code, claim in claims:
        assert eval(code, names) == eval(claim)
    assert isinstance(names["gpt2"].score("Once upon a time"), np.ndarray)


def test_every_room_is_in_the_reading_order():
    rooms = {path.name for path in Path(minigpt2.__file__).parent.glob("*.py")}
    assert rooms - {"__init__.py"} == set(
        re.findall(r"\(minigpt2/(\w+\.py)\) ?[|,]", README)
    )
