"""Imports run one way through the house, and nothing goes round in a circle."""

import ast
import graphlib
from pathlib import Path

import pytest

import minigpt2

HOUSE = Path(minigpt2.__file__).parent
# Each line may import from the lines before it, and a folder from itself.
PLAN = """
speed.product speed.memory
model
tokenizer sampling speed.prefill speed.lookup
files
generate score
page
gpt2
learning
__init__
commands
__main__ train explain download
"""
LEVELS = {room: n for n, line in enumerate(PLAN.split("\n")) for room in line.split()}
ROOMS = {
    ".".join(path.relative_to(HOUSE).with_suffix("").parts): path
    for path in HOUSE.rglob("*.py")
    if path.parent == HOUSE or path.name != "__init__.py"
}


def level(room):
    return LEVELS.get(room, LEVELS.get(room.partition(".")[0]))


def imports(room):
    """The rooms that this one imports, inside functions too; not in the tail that makes
    a room a command."""
    tree = ast.parse(ROOMS[room].read_text(encoding="utf-8"))
    tails = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
    ]
    left_out = {id(n) for tail in tails for n in ast.walk(tail)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in left_out:
            folder = room.split(".")[: -node.level]
            for alias in node.names:
                module = [*folder, *(node.module or "").split("."), alias.name]
                names = [".".join(filter(None, module[:n])) for n in range(5)]
                found = [name for name in names if name in ROOMS]
                yield found[-1] if found else "__init__"


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "__init__"])
def test_imports_run_one_way(room):
    for other in imports(room):
        same_folder = "." in room and room.partition(".")[0] == other.partition(".")[0]
        assert level(other) < level(room) or same_folder, f"{room} imports {other}"


def test_there_is_no_circle():
    graph = {room: set(imports(room)) - {"__init__"} for room in ROOMS}
    with_no_circle = graphlib.TopologicalSorter(graph).static_order()
    assert set(with_no_circle) == set(ROOMS)  # a circle raises CycleError
