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
    assert claims
    for code, claim in claims:
        assert eval(code, names) == eval(claim)
    assert isinstance(names["gpt2"].score("Once upon a time"), np.ndarray)


def test_every_room_is_in_the_reading_order():
    house = Path(minigpt2.__file__).parent
    rooms = {path.relative_to(house.parent).as_posix() for path in house.rglob("*.py")}
    doors = {
        f"minigpt2/{name}.py" for name in ("__main__", "train", "explain", "download")
    }
    named = re.findall(r"\((minigpt2/[\w/]+\.py)\)", README)
    assert {room for room in rooms - doors if not room.endswith("__init__.py")} == set(
        named
    )
