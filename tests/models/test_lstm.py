"""Recurrent models: their equations, padding, state in and out, decoding."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import decoding
from zoo.config import ConfigError
from zoo.decoding import Choice
from zoo.models import dense
from zoo.models.lstm import LSTMClassifierConfig, LSTMTaggerConfig
from zoo.models.recurrent import RecurrentLayer, RecurrentLMConfig, SRULayer
from zoo.models.seq2seq import LSTMSeq2SeqConfig
from zoo.models.trax.lstm import LSTMSeq2SeqQuirks
from zoo.storage import weights

RANDOM = np.random.default_rng(0)


def variables_of(config):
    module = config.build()
    inputs = [jnp.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
    variables = jax.jit(module.init)(jax.random.key(0), *inputs)
    # Biases too, so that each has a part in the answer.
    flat = weights.flatten(variables)
    random = np.random.default_rng(1)
    return module, weights.unflatten(
        {name: leaf + 0.1 * random.normal(size=leaf.shape) for name, leaf in flat.items()}
    )


def tokens_of(*shape):
    return jnp.asarray(RANDOM.integers(2, 11, shape), jnp.int32)


LM = RecurrentLMConfig(vocab_size=11, d_model=6, num_layers=2, dropout_rate=0.0)
SEQ2SEQ = LSTMSeq2SeqConfig(
    vocab_size=11, d_model=6, num_heads=2, num_decoder_layers=1, bidirectional=True
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_layer_computes_its_equations_in_either_direction(cell):
    layer = RecurrentLayer(cell, 3)
    x, state = RANDOM.normal(size=(5, 2, 4)), [RANDOM.normal(size=(2, 3)) for _ in range(2)]
    state = state if cell == "lstm" else state[:1]
    inputs = jnp.asarray(x, jnp.float32), tuple(jnp.asarray(part, jnp.float32) for part in state)
    variables = layer.init(jax.random.key(0), *inputs)
    p = jax.tree.map(np.asarray, variables["params"])
    assert (cell == "lstm") == bool(p["input_gates"]["bias"].any())

    def gates(x, h, name="gates"):
        projected = x @ p[f"input_{name}"]["kernel"] + p[f"input_{name}"]["bias"]
        return projected + h @ p[f"recurrent_{name}"]["kernel"]

    for reverse in (False, True):
        expected, now = np.zeros((5, 2, 3)), list(state)
        for t in reversed(range(5)) if reverse else range(5):
            if cell == "lstm":
                i, j, f, o = np.split(gates(x[t], now[1]), 4, axis=1)
                now[0] = now[0] * sigmoid(f) + sigmoid(i) * np.tanh(j)
                now[1] = np.tanh(now[0]) * sigmoid(o)
            else:
                u, r = np.split(sigmoid(gates(x[t], now[0])), 2, axis=1)
                candidate = np.tanh(gates(x[t], r * now[0], "candidate"))
                now[0] = u * now[0] + (1 - u) * candidate
            expected[t] = now[-1]
        found, last = layer.apply(variables, *inputs, reverse=reverse)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        for part, own in zip(last, now, strict=True):
            np.testing.assert_allclose(part, own, rtol=1e-4, atol=1e-5)


def test_simple_recurrent_units_compute_trax_s_equations_in_either_direction():
    layer = SRULayer(3)
    x, state = RANDOM.normal(size=(5, 2, 3)), RANDOM.normal(size=(2, 3))
    inputs = jnp.asarray(x, jnp.float32), (jnp.asarray(state, jnp.float32),)
    p = layer.init(jax.random.key(0), *inputs)["params"]["gates"]
    p = {name: np.asarray(leaf) + 0.1 * RANDOM.normal(size=leaf.shape) for name, leaf in p.items()}
    for reverse in (False, True):
        expected, now = np.zeros((5, 2, 3)), state
        for t in reversed(range(5)) if reverse else range(5):
            r, f, y = np.split(x[t] @ p["kernel"] + p["bias"], 3, axis=1)
            r, f = sigmoid(r), sigmoid(f)
            now = f * now + (1 - f) * y
            expected[t] = r * now + (1 - r) * x[t] * 3**0.5
        found, (last,) = layer.apply({"params": {"gates": p}}, *inputs, reverse=reverse)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(last, now, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "sru"])
def test_gradients_are_those_of_the_plain_loop(cell):
    layer, units = (SRULayer(3), 3) if cell == "sru" else (RecurrentLayer(cell, 3), 4)
    x = jnp.asarray(RANDOM.normal(size=(6, 2, units)), jnp.float32)
    real = jnp.asarray([[True, True]] * 4 + [[True, False]] * 2)
    zeros = (jnp.zeros((2, 3)),) * (2 if cell == "lstm" else 1)
    variables = layer.init(jax.random.key(0), x, zeros)
    direction = jnp.asarray(RANDOM.normal(size=(6, 2, 3)), jnp.float32)
    if cell == "sru":  # what it gives at padding is not its state
        direction *= real[..., None]

    def whole(variables, x):
        outputs, last = layer.apply(variables, x, zeros, real)
        return jnp.sum(outputs * direction) + jnp.sum(last[0] * 0.7)

    def by_steps(variables, x):
        state, total = zeros, 0.0
        for t in range(6):
            (output,), new = layer.apply(variables, x[t][None], state)
            state = tuple(
                jnp.where(real[t][:, None], a, b) for a, b in zip(new, state, strict=True)
            )
            output = output if cell == "sru" else state[-1]
            total += jnp.sum(output * direction[t])
        return total + jnp.sum(state[0] * 0.7)

    found = jax.jit(jax.grad(whole, argnums=(0, 1)))(variables, x)
    expected = jax.jit(jax.grad(by_steps, argnums=(0, 1)))(variables, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "sru"])
def test_a_language_model_sees_no_future_and_goes_on_where_it_was(cell):
    module, variables = variables_of(dataclasses.replace(LM, cell=cell))
    tokens = tokens_of(2, 8)
    apply = jax.jit(module.apply)
    logits, changed = apply(variables, tokens), apply(variables, tokens.at[:, 5].add(1))
    np.testing.assert_array_equal(logits[:, :6], changed[:, :6])
    assert (logits[:, 6:] != changed[:, 6:]).any()

    carry = module.apply(variables, 2, method="begin")
    pieces = []
    for piece in (tokens[:, :3], tokens[:, 3:4], tokens[:, 4:]):
        found, carry = module.apply(variables, piece, carry, method="unroll")
        pieces.append(found)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [LM, dataclasses.replace(LM, cell="sru"), SEQ2SEQ])
def test_steps_with_a_cache_equal_the_whole_sequence(config):
    module, variables = variables_of(config)
    tokens = tokens_of(2, 5)
    if config is not SEQ2SEQ:
        cache = module.apply(variables, 2, 5, method="start")
        logits = module.apply(variables, tokens)
    else:
        source = tokens_of(2, 4)
        cache = module.apply(variables, source, 5, method="start")
        logits = module.apply(variables, source, tokens)
    read = jnp.pad(tokens, ((0, 0), (1, 0)))
    # Two tokens at once, then one at a time, under two beams.
    found, cache = module.apply(variables, read[:, None, :2], cache, method="extend")
    np.testing.assert_allclose(found[:, 0], logits[:, :2], rtol=1e-5, atol=1e-6)
    cache = cache.reorder(jnp.zeros((2, 2), jnp.int32))
    step = jax.jit(lambda tokens, cache: module.apply(variables, tokens, cache, method="extend"))
    for t in range(2, 5):
        other = jnp.where(t == 2, read[:, t] + 1, read[:, t])
        found, cache = step(jnp.stack([other, read[:, t]], axis=1)[..., None], cache)
        np.testing.assert_allclose(found[:, 1, 0], logits[:, t], rtol=1e-5, atol=1e-6)
        assert (found[:, 0] != found[:, 1]).any()


def test_beam_of_one_is_greedy_and_a_wider_one_is_no_worse():
    module, variables = variables_of(SEQ2SEQ)
    source = tokens_of(3, 4)

    step = functools.partial(module.apply, variables, method="extend")

    @jax.jit
    def run(source):
        cache = module.apply(variables, source, 6, method="start")
        keys = jax.random.split(jax.random.key(0), 3)
        state = decoding.begin(step, cache, 3, 6)
        greedy = decoding.sample(step, state, keys, Choice(greedy=True), eos_id=1)
        found = [
            decoding.beam_search(step, cache, 0.0, size=size, batch=3, length=6, eos_id=1)
            for size in (1, 4)
        ]
        return greedy.tokens, found

    greedy, ((one, narrow), (_, wide)) = run(source)
    np.testing.assert_array_equal(one[:, 0], greedy)
    assert (wide[:, 0] >= narrow[:, 0] - 1e-5).all()


CLASSIFIERS = [
    LSTMClassifierConfig(vocab_size=11, d_model=4, num_classes=3, pooling=pooling)
    for pooling in ("max", "mean", "last")
]
TAGGER = LSTMTaggerConfig(vocab_size=11, d_model=4, num_layers=2, num_classes=3)


@pytest.mark.parametrize("config", [*CLASSIFIERS, TAGGER, SEQ2SEQ])
def test_padding_changes_no_answer(config):
    module, variables = variables_of(config)
    tokens = tokens_of(2, 5)
    padded = jnp.pad(tokens, ((0, 0), (0, 3)))
    more = (tokens_of(2, 6),) if config is SEQ2SEQ else ()
    apply = jax.jit(module.apply)
    expected, found = apply(variables, tokens, *more), apply(variables, padded, *more)
    if isinstance(config, LSTMTaggerConfig):
        found = found[:, :5]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    nothing = apply(variables, jnp.zeros_like(tokens), *more)
    assert np.isfinite(nothing).all()
    if config is SEQ2SEQ:  # as trax, on demand
        quirks = LSTMSeq2SeqQuirks(encode_padding=True)
        moved = dataclasses.replace(config, trax=quirks, bidirectional=False)
        assert dataclasses.replace(moved, bidirectional=True).reads_padding
        assert not moved.reads_padding
        module, variables = variables_of(moved)
        a, b = (module.apply(variables, each, *more) for each in (tokens, padded))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # after the end nothing is read
        front = jnp.pad(tokens, ((0, 0), (3, 0)))
        assert np.abs(module.apply(variables, front, *more) - a).max() > 1e-3


@pytest.mark.parametrize("config", [*CLASSIFIERS, TAGGER, SEQ2SEQ, LM])
def test_a_text_may_have_one_token_or_none(config):
    module, variables = variables_of(config)
    for length in (0, 1):
        inputs = (tokens_of(2, length),) * len(config.example_inputs(2))
        answer = module.apply(variables, *inputs)
        of_each = () if config in CLASSIFIERS else (length,)
        assert answer.shape[:-1] == (2, *of_each)
        assert np.isfinite(answer).all()
    if config in CLASSIFIERS:
        padding = module.apply(variables, jnp.zeros((2, 3), jnp.int32))
        nothing = module.apply(variables, jnp.zeros((2, 0), jnp.int32))
        assert np.array_equal(nothing, padding)
    if config is LM:
        before = module.apply(variables, 2, method="begin")
        _, after = module.apply(variables, tokens_of(2, 0), before, method="unroll")
        jax.tree.map(np.testing.assert_array_equal, after, before)


def test_without_a_padding_id_zero_is_a_word():
    config = LSTMTaggerConfig(vocab_size=11, d_model=4, num_classes=3, pad_id=None)
    module, variables = variables_of(config)
    tokens = tokens_of(1, 4)
    with_zero = module.apply(variables, tokens.at[0, 1].set(0))
    assert np.abs(with_zero[0, 2:] - module.apply(variables, tokens)[0, 2:]).max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.03), ("int8", 0.08)])
def test_narrow_products_are_close_to_float32(dtype, tolerance):
    config = dataclasses.replace(LM, d_model=32)
    module, variables = variables_of(config)
    tokens = tokens_of(2, 8)
    expected = module.apply(variables, tokens)
    narrow = config.in_precision(dtype).build()
    found = narrow.apply(dense.convert(variables, dtype), tokens)
    assert 0 < np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_bfloat16_gradients_are_close_to_float32():
    config = dataclasses.replace(LM, d_model=32)
    module, variables = variables_of(config)
    narrow = config.in_precision("bfloat16").build()
    tokens = tokens_of(2, 8)

    def loss(module, variables):
        return jnp.mean(jax.nn.log_softmax(module.apply(variables, tokens))[..., 3])

    expected = jax.grad(lambda v: loss(module, v))(variables)
    found = jax.grad(lambda v: loss(narrow, v))(variables)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(a - b) <= 0.05 * np.linalg.norm(b) + 1e-6


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="d_model=6 must be a multiple of num_heads=4"):
        LSTMSeq2SeqConfig(d_model=6, num_heads=4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "sru"])
def test_forward_mode_differentiation_agrees_with_the_gradient(cell):
    """A tangent, and by forward over reverse a product with the Hessian, beside a difference."""
    module, variables = variables_of(dataclasses.replace(LM, cell=cell))
    tokens = tokens_of(2, 5)
    towards = jax.tree.map(lambda p: jnp.asarray(RANDOM.normal(size=p.shape), p.dtype), variables)

    @jax.jit
    def run(variables, towards):
        def loss(variables):
            return jax.nn.log_softmax(module.apply(variables, tokens))[..., 3].mean()

        gradient = jax.grad(loss)
        beside = jax.tree.map(lambda p, t: p + 1e-3 * t, variables, towards)
        return (
            jax.jvp(loss, (variables,), (towards,))[1],
            jax.jvp(gradient, (variables,), (towards,))[1],
            gradient(variables),
            gradient(beside),
        )

    along, product, gradient, beside = run(variables, towards)
    flat = jax.flatten_util.ravel_pytree
    np.testing.assert_allclose(along, flat(gradient)[0] @ flat(towards)[0], rtol=1e-4)
    difference = (flat(beside)[0] - flat(gradient)[0]) / 1e-3
    product = flat(product)[0]
    assert np.linalg.norm(product - difference) < 0.02 * np.linalg.norm(difference)
