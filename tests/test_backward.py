"""The gradients of backward.py against finite differences in float64 and, where it is
installed, against PyTorch."""

import numpy as np
import pytest
from helpers import transformers_model

from minigpt2 import model
from minigpt2.files.tensor_names import huggingface_name
from minigpt2.learning import backward, optimizer

CONFIG = model.Config(n_vocab=23, n_ctx=9, n_embd=12, n_head=3, n_layer=2)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces smaller than the arrays of these tests, so that each loop over pieces runs
    more than once."""
    monkeypatch.setattr(backward, "QUERIES_AT_ONCE", 4)
    monkeypatch.setattr(backward, "ROWS_AT_ONCE", 5)


def random_params(config, rng, dtype=np.float64):
    """Flat and nested parameters, large enough that every part of the model matters,
    and gains that are not one."""
    buffer, params = optimizer.flat(config, dtype)
    buffer[:] = rng.normal(0, 0.3, buffer.shape)
    for name, array in params.items():
        if name.endswith("/g"):
            array += 1
    return params, model.nest(params)


def slope(function, array, index, step=1e-6):
    """The central finite difference of function() with respect to one element."""
    before = array[index]
    array[index] = before + step
    above = function()
    array[index] = before - step
    below = function()
    array[index] = before
    return (above - below) / (2 * step)


def nested(flat):
    tree = {}
    for path, array in flat.items():
        *parents, name = path.split("/")
        level = tree
        for parent in parents:
            level = level.setdefault(parent, {})
        level[name] = array
    return tree


def zeros(flat):
    return {name: np.zeros_like(array) for name, array in flat.items()}


BOXES = {
    "layer_norm": (
        {"g": (12,), "b": (12,)},
        lambda x, p, g: backward.layer_norm(x, p, g),
    ),
    "linear": ({"w": (12, 5), "b": (5,)}, lambda x, p, g: backward.linear(x, p, g)),
    "gelu": ({}, lambda x, p, g: backward.gelu(x)),
    "attn": (
        {
            "c_attn/w": (12, 36),
            "c_attn/b": (36,),
            "c_proj/w": (12, 12),
            "c_proj/b": (12,),
        },
        lambda x, p, g: backward.attn(x, p, g, n_head=3),
    ),
    "mlp": (
        {"c_fc/w": (12, 48), "c_fc/b": (48,), "c_proj/w": (48, 12), "c_proj/b": (12,)},
        lambda x, p, g: backward.mlp(x, p, g),
    ),
}


@pytest.mark.parametrize("name", BOXES)
def test_gradients_of_a_box_are_its_slopes(name):
    shapes, box = BOXES[name]
    rng = np.random.default_rng(1)
    flat = {path: rng.normal(0, 0.5, shape) for path, shape in shapes.items()}
    x, grads = rng.normal(size=(2, 9, 12)), zeros(flat)
    y, back = box(x, nested(flat), nested(grads))
    dy = rng.normal(size=y.shape)
    dx = back(dy.copy())

    def total():
        return np.sum(box(x, nested(flat), nested(zeros(flat)))[0] * dy)

    arrays, gradients = {"x": x, **flat}, {"x": dx, **grads}
    for what, array in arrays.items():
        numeric = [slope(total, array, index) for index in np.ndindex(array.shape)]
        found = gradients[what].ravel()
        np.testing.assert_allclose(found, numeric, 1e-6, 1e-7, err_msg=what)


@pytest.mark.parametrize("name", BOXES)
def test_a_box_computes_what_the_model_computes(name):
    """One transformer, not two: forward of the training path is that of model.py."""
    shapes, box = BOXES[name]
    rng = np.random.default_rng(2)
    flat = {
        path: rng.normal(0, 0.5, shape).astype(np.float32)
        for path, shape in shapes.items()
    }
    x = rng.normal(size=(2, 9, 12)).astype(np.float32)
    y, _ = box(x, nested(flat), nested(zeros(flat)))
    if name == "attn":
        expected = model.attn(
            x, **nested(flat), kv=np.empty((2, 2, 3, 9, 4), np.float32), n_past=0
        )
    else:
        expected = getattr(model, name)(x, **nested(flat))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert y.dtype == np.float32


def test_gradients_of_the_whole_model_are_its_slopes():
    rng = np.random.default_rng(3)
    params, tree = random_params(CONFIG, rng)
    # T = 8 of 9 positions; some tokens twice, three never
    tokens = rng.integers(0, CONFIG.n_vocab - 3, (2, 9))
    grads = zeros(params)
    scale = 1 / tokens[:, 1:].size
    backward.loss_and_gradient(tree, tokens, model.nest(grads), CONFIG.n_head, scale)

    def loss():
        return backward.loss_and_gradient(
            tree, tokens, model.nest(zeros(params)), CONFIG.n_head, scale
        )

    for name, array in params.items():
        places = rng.choice(array.size, min(12, array.size), replace=False)
        chosen = [np.unravel_index(i, array.shape) for i in places]
        numeric = [slope(loss, array, index) for index in chosen]
        found = [grads[name][index] for index in chosen]
        np.testing.assert_allclose(found, numeric, 1e-5, 1e-8, err_msg=name)
    assert not grads["wpe"][8].any()  # a position that was not used


def test_the_loss_is_that_of_the_models_own_logits():
    rng = np.random.default_rng(4)
    params, tree = random_params(CONFIG, rng, np.float32)
    tokens = rng.integers(0, CONFIG.n_vocab, (3, 10))
    grads = model.nest(zeros(params))
    loss = backward.loss_and_gradient(tree, tokens, grads, CONFIG.n_head, 1 / 27)
    x = model.forward(tree, tokens[:, :-1], model.Cache(CONFIG, 3))
    p = model.softmax(model.unembed(tree, x))
    expected = -np.log(np.take_along_axis(p, tokens[:, 1:, None], -1)).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_parts_of_a_batch_add_up_to_the_batch():
    rng = np.random.default_rng(5)
    params, tree = random_params(CONFIG, rng)
    tokens = rng.integers(0, CONFIG.n_vocab, (4, 10))
    whole, parts = zeros(params), zeros(params)
    loss = backward.loss_and_gradient(tree, tokens, model.nest(whole), 3, 1 / 36)
    part_losses = [
        backward.loss_and_gradient(tree, part, model.nest(parts), 3, 1 / 36)
        for part in np.split(tokens, 2)
    ]
    assert sum(part_losses) == pytest.approx(loss, rel=1e-12)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], 1e-9, 1e-14, err_msg=name)


def test_large_logits_do_not_overflow():
    rng = np.random.default_rng(6)
    params, tree = random_params(CONFIG, rng, np.float32)
    params["wte"] *= 1000
    grads = zeros(params)
    tokens = rng.integers(0, 23, (1, 10))
    loss = backward.loss_and_gradient(tree, tokens, model.nest(grads), 3, 1 / 9)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in grads.values())


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("shape", "n_windows"),
    [
        ((4096, 256, 192, 6, 2), 3),
        ((101, 33, 48, 4, 3), 3),
        ((50257, 1024, 768, 12, 12), 1),
    ],
    ids=["tiny's width", "odd sizes", "124M"],
)
def test_gradients_are_those_of_pytorch(shape, n_windows, monkeypatch):
    monkeypatch.undo()  # the real sizes of pieces
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    config = model.Config(*shape)
    rng = np.random.default_rng(8)
    params, tree = random_params(config, rng, np.float32)
    for array in params.values():
        array *= 0.3 if array.ndim > 1 else 1
    tokens = rng.integers(0, config.n_vocab, (n_windows, config.n_ctx + 1))
    grads = zeros(params)
    loss = backward.loss_and_gradient(
        tree, tokens, model.nest(grads), config.n_head, 1 / tokens[:, 1:].size
    )

    theirs = transformers_model(config, params)
    ids = torch.tensor(tokens)
    their_loss = torch.nn.functional.cross_entropy(
        theirs(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten()
    )
    their_loss.backward()
    assert loss == pytest.approx(their_loss.item(), rel=1e-5)
    gradients = dict(theirs.named_parameters())
    for name, ours in grads.items():
        expected = gradients[huggingface_name(name)].grad.numpy()
        assert np.linalg.norm(ours - expected) <= 1e-4 * np.linalg.norm(expected), name
