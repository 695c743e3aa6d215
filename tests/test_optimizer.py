"""AdamW, the schedule, the initialisation and the step against hand computations and,
where installed, PyTorch."""

import math

import numpy as np
import pytest
from helpers import transformers_model

from minigpt2 import model
from minigpt2.learning import optimizer

CONFIG = model.Config(n_vocab=31, n_ctx=8, n_embd=12, n_head=3, n_layer=2)


def new(threads, seed=0, decay=0.1, config=CONFIG):
    buffer, params = optimizer.flat(config)
    optimizer.initialise(params, np.random.default_rng(seed))
    adam = optimizer.AdamW(buffer, optimizer.n_matrix(config), decay)
    return buffer, params, optimizer.Stepper(config, model.nest(params), adam, threads)


def test_two_steps_of_adamw_by_hand():
    params = np.array([1.0, -2.0], np.float64)  # the first decays, the second does not
    adam = optimizer.AdamW(params, 1, decay=0.5, betas=(0.9, 0.95), eps=1e-8)
    adam.update(np.array([3.0, -4.0]), rate=0.1)
    # m / (1 - β1) = g and v / (1 - β2) = g², so the first step is rate · sign(g)
    np.testing.assert_allclose(params, [1 * (1 - 0.05) - 0.1, -2 + 0.1], rtol=1e-7)
    adam.update(np.array([1.0, 2.0]), rate=0.1, scale=0.5)
    m = np.array([0.9 * 0.3 + 0.1 * 0.5, 0.9 * -0.4 + 0.1 * 1.0])
    v = np.array([0.95 * 0.45 + 0.05 * 0.25, 0.95 * 0.8 + 0.05 * 1.0])
    step = 0.1 * (m / (1 - 0.81)) / (np.sqrt(v / (1 - 0.9025)) + 1e-8)
    expected = [0.85 * 0.95 - step[0], -1.9 - step[1]]
    np.testing.assert_allclose(params, expected, rtol=1e-7)


def test_slices_cover_all_and_do_not_cross_the_boundary():
    spans = [(span.start, span.stop) for span in optimizer.slices(11, 6, size=4)]
    assert spans == [(0, 4), (4, 6), (6, 10), (10, 11)]


def test_parameters_are_views_of_one_buffer_matrices_first():
    buffer, params = optimizer.flat(CONFIG)
    assert {name: array.shape for name, array in params.items()} == dict(
        model.shapes(CONFIG)
    )
    assert sum(array.size for array in params.values()) == buffer.size
    for array in params.values():
        array += 1
    assert (buffer == 1).all()
    for array in params.values():
        array[...] = array.ndim
    n = optimizer.n_matrix(CONFIG)
    assert (buffer[:n] == 2).all() and (buffer[n:] == 1).all()


def test_initialisation_is_gpt2s():
    config = model.Config(n_vocab=500, n_ctx=128, n_embd=96, n_head=3, n_layer=8)
    _, params = optimizer.flat(config)
    optimizer.initialise(params, np.random.default_rng(0))
    stds = {"wte": 0.02, "wpe": 0.01, "h3/mlp/c_fc/w": 0.02, "h7/attn/c_proj/w": 0.005}
    for name, std in stds.items():
        assert params[name].std() == pytest.approx(std, rel=0.03), name
    assert (params["h0/ln_1/g"] == 1).all() and (params["ln_f/g"] == 1).all()
    assert not params["h0/ln_1/b"].any() and not params["h0/mlp/c_fc/b"].any()


def test_learning_rate_rises_in_a_line_and_falls_in_half_a_cosine():
    rates = [optimizer.learning_rate(step, 110, 1.0, 10) for step in range(110)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10] == 1 and rates[60] == pytest.approx(0.525)
    assert 0.05 < rates[-1] < 0.052
    assert sorted(rates[10:], reverse=True) == rates[10:]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_step_does_not_depend_on_threads_but_for_rounding(threads):
    tokens = np.random.default_rng(1).integers(0, 31, (5, 9))
    _, _, one = new(1)
    _, _, several = new(threads)
    expected, found = one.gradient([tokens]), several.gradient([tokens])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(several.grads[0], one.grads[0], rtol=1e-4, atol=1e-7)


def test_the_same_step_twice_is_the_same_to_the_bit():
    tokens = np.random.default_rng(1).integers(0, 31, (4, 9))
    results = []
    for _ in range(2):
        buffer, _, stepper = new(2)
        for _ in range(5):
            stepper.step([tokens], 1e-2)
        results.append(buffer.tobytes())
    assert results[0] == results[1]


def test_accumulated_batches_make_the_gradient_of_one():
    tokens = np.random.default_rng(1).integers(0, 31, (6, 9))
    _, _, whole = new(2)
    _, _, parts = new(2)
    np.testing.assert_allclose(
        parts.gradient(np.split(tokens, 3)), whole.gradient([tokens]), rtol=1e-5
    )
    np.testing.assert_allclose(parts.grads[0], whole.grads[0], rtol=1e-4, atol=1e-7)


def test_the_gradient_is_clipped_by_its_global_norm():
    tokens = np.random.default_rng(1).integers(0, 31, (2, 9))
    _, _, stepper = new(1)
    _, norm = stepper.gradient([tokens])
    gradient = stepper.grads[0].copy()
    assert norm == pytest.approx(np.linalg.norm(gradient.astype(np.float64)), rel=1e-6)
    stepper.step([tokens], 1e-3, clip=norm / 4)
    np.testing.assert_allclose(
        stepper.optimizer.m, 0.1 * gradient / 4, rtol=1e-4, atol=1e-9
    )


def test_the_loss_falls():
    tokens = np.random.default_rng(1).integers(0, 31, (4, 9))
    _, _, stepper = new(2)
    losses = [stepper.step([tokens], 1e-2)[0] for _ in range(60)]
    assert losses[0] == pytest.approx(math.log(31), rel=0.02)
    assert losses[-1] < 0.5


def test_a_loss_that_is_not_finite_changes_nothing():
    tokens = np.random.default_rng(1).integers(0, 31, (4, 9))
    buffer, params, stepper = new(2)
    params["ln_f/g"][0] = np.nan
    before = buffer.tobytes()
    with pytest.raises(FloatingPointError, match="nan"):
        stepper.step([tokens], 1e-2)
    assert buffer.tobytes() == before
    assert stepper.optimizer.step == 0 and not stepper.optimizer.m.any()


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_200_steps_follow_pytorchs_loss_curve():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    config = model.Config(n_vocab=64, n_ctx=32, n_embd=48, n_head=4, n_layer=3)
    _, params, stepper = new(2, config=config)
    theirs = transformers_model(config, params)
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    rng = np.random.default_rng(9)
    text = np.cumsum(rng.integers(0, 3, 5000)) % 64  # something that can be learnt
    for step in range(200):
        starts = rng.integers(0, len(text) - 33, 8)
        tokens = text[starts[:, None] + np.arange(33)]
        rate = optimizer.learning_rate(step, 200, 3e-3, 20)
        loss, _ = stepper.step([tokens], rate)
        ids = torch.tensor(tokens)
        their_loss = torch.nn.functional.cross_entropy(
            theirs(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten()
        )
        adam.zero_grad()
        their_loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = rate
        adam.step()
        assert loss == pytest.approx(their_loss.item(), rel=0.01), step
    assert loss < 2
