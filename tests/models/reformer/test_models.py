"""The Reformers: properties. trax's numbers are in tests/interop/test_reformer_parity.py."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_variables, run

SIZES = {"d_model": 16, "d_ff": 24, "num_heads": 2, "d_key": 8, "d_value": 6, "max_len": 24}
EXACT = {"rtol": 1e-4, "atol": 2e-5}


def kinds():
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.reformer.hashing import LSHAttentionConfig

    full = SelfAttentionConfig()
    local = SelfAttentionConfig(chunk_len=4, chunks_before=1)
    hashed = LSHAttentionConfig(chunk_len=4, num_hashes=2, num_buckets=4)
    return full, local, hashed


def language(*attention, **changes):
    from zoo.models.reformer.models import ReformerLMConfig

    fields = {"vocab_size": 11, "num_layers": 2, "dropout_rate": 0.3, **SIZES}
    return ReformerLMConfig(**(fields | {"attention": attention or kinds()[1:]} | changes))


def translation(**changes):
    from zoo.models.reformer.models import ReformerConfig

    fields = {"vocab_size": 11, "num_encoder_layers": 1, "num_decoder_layers": 2, **SIZES}
    return ReformerConfig(**(fields | changes))


def tagger(*attention, **changes):
    from zoo.models.reformer.models import ReformerTaggerConfig

    fields = {"vocab_size": 11, "num_classes": 3, **SIZES, "attention": attention or kinds()[2:]}
    return ReformerTaggerConfig(**(fields | changes))


def ids(key, *shape):
    return jax.random.randint(key, shape, 2, 11)


def test_a_token_sees_only_what_is_before_it(key):
    full, local, _ = kinds()
    module, variables = random_variables(language(full, local), key())
    tokens = ids(key(), 1, 9)
    logits = run(module, variables, tokens)
    changed = run(module, variables, tokens.at[0, 5].set((tokens[0, 5] + 1) % 11))
    np.testing.assert_array_equal(logits[0, :6], changed[0, :6])
    assert np.abs(logits[0, 6] - changed[0, 6]).max() > 1e-3


def test_gradients_are_those_of_back_propagation_and_without_reversing_go_forward_too(key):
    config = language(kinds()[2], ff_chunk_len=4)
    _, variables = random_variables(config, key())
    towards = jax.tree.map(lambda x: jax.random.normal(key(), x.shape), variables)
    tokens, rngs = ids(key(), 2, 10), {"dropout": key()}

    def loss(config, variables):
        logits = config.build().apply(variables, tokens, train=True, rngs=rngs)
        return -jnp.mean(jax.nn.log_softmax(logits)[..., 0])

    @jax.jit
    def reversibly(variables):
        return jax.value_and_grad(functools.partial(loss, config))(variables)

    @jax.jit
    def plainly(variables, towards):
        plain = dataclasses.replace(config, reversible=False)
        forward = jax.value_and_grad(functools.partial(loss, plain))
        (value, gradient), (along, product) = jax.jvp(forward, (variables,), (towards,))
        return value, gradient, along, product

    value, gradient, along, product = plainly(variables, towards)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        reversibly(variables),
        (value, gradient),
    )
    np.testing.assert_allclose(
        along, sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, towards))), rtol=1e-3
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(product))
    with pytest.raises(TypeError, match=r"can't apply forward-mode .* to a custom_vjp"):
        jax.jit(lambda *x: jax.jvp(functools.partial(loss, config), *x)).lower(
            (variables,), (towards,)
        )


def test_what_layers_compute_can_be_captured_and_tabulated(key):
    module, variables = random_variables(language(kinds()[1], ff_chunk_len=4), key())
    tokens = ids(key(), 2, 10)

    @jax.jit
    def capture(variables):
        return module.apply(variables, tokens, capture_intermediates=True, mutable="intermediates")

    logits, found = capture(variables)
    np.testing.assert_allclose(logits, run(module, variables, tokens), **EXACT)
    layer = found["intermediates"]["decoder"]["layer_0"]
    assert layer["attention"]["norm"]["__call__"][0].shape == (2, 2, 10, 16)  # of each repetition
    assert layer["mlp"]["up"]["__call__"][0].shape == (2, 3, 2, 4, 24)  # in pieces
    table = module.tabulate(jax.random.key(0), tokens, console_kwargs={"width": 200})
    assert "decoder/layer_0/attention/heads" in table


def test_the_memory_of_gradients_does_not_grow_with_depth():
    def bytes_of(layers):
        config = language(kinds()[1], num_layers=layers, dropout_rate=0.0, max_len=256)
        module, shapes = config.build(), config.variable_shapes()
        tokens = jax.ShapeDtypeStruct((4, 256), jnp.int32)

        def loss(variables, tokens):
            return jnp.sum(module.apply(variables, tokens) ** 2)

        memory = jax.jit(jax.grad(loss)).lower(shapes, tokens).compile().memory_analysis()
        parameters = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
        return memory.temp_size_in_bytes, parameters

    (small, few), (large, many) = bytes_of(2), bytes_of(8)
    assert large - small <= 2 * (many - few)  # far less than the activations of six layers
    assert large <= 1.15 * small + 2 * (many - few)


def test_feed_forward_in_chunks_is_the_same(key):
    module, variables = random_variables(language(), key())
    tokens = ids(key(), 2, 10)
    chunked = dataclasses.replace(module.config, ff_chunk_len=4).build()
    np.testing.assert_allclose(
        run(chunked, variables, tokens), run(module, variables, tokens), **EXACT
    )


def test_scores_in_pieces_are_those_of_all_logits(key):
    module, variables = random_variables(language(kinds()[0]), key())
    tokens = ids(key(), 2, 10)

    def plainly(variables):
        logits = jax.nn.log_softmax(module.apply(variables, tokens))
        own = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        return own.sum(), (own, logits.argmax(-1) == tokens)

    def in_pieces(variables):
        scores = module.apply(variables, tokens, 4, method="scores")
        return scores.log_probability.sum(), (scores.log_probability, scores.best)

    expected, found = (
        jax.jit(jax.value_and_grad(loss, has_aux=True))(variables) for loss in (plainly, in_pieces)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), expected, found)


def test_scores_in_pieces_take_no_more_than_the_text_and_know_no_other_token(key):
    module, variables = random_variables(language(kinds()[0]), key())
    tokens = ids(key(), 1, 7)

    def scores(tokens):
        return module.apply(variables, tokens, 4096, method="scores").log_probability

    assert "4096" not in str(jax.make_jaxpr(scores)(tokens))
    found = np.isnan(jax.jit(scores)(tokens.at[0, 6].set(11)))
    assert found.tolist() == [[False] * 6 + [True]]


def test_rotations_are_given_or_drawn_or_always_the_same(key):
    full, _, hashed = kinds()
    module, variables = random_variables(language(hashed, full, num_layers=4), key())
    tokens = ids(key(), 2, 16)
    once = run(module, variables, tokens)
    np.testing.assert_array_equal(once, run(module, variables, tokens))
    np.testing.assert_allclose(once[1:], run(module, variables, tokens[1:]), **EXACT)
    one, other = key(), key()
    drawn = run(module, variables, tokens, rngs={"lsh": one})
    np.testing.assert_array_equal(drawn, run(module, variables, tokens, rngs={"lsh": one}))
    assert np.abs(drawn - run(module, variables, tokens, rngs={"lsh": other})).max() > 1e-4
    rotations = [jax.random.normal(key(), (2, 8, 2, 2)) for _ in range(2)]
    given = run(module, variables, tokens, rotations)
    swapped = run(module, variables, tokens, rotations[::-1])
    assert np.abs(given - swapped).max() > 1e-4
    with pytest.raises(ValueError, match="1 rotations are given, but 2 layers attend by hashes"):
        module.apply(variables, tokens, rotations[:1])
    with pytest.raises(ValueError, match=r"rotations 1 have the shape \[2, 8, 2, 3\]; for 16 posi"):
        module.apply(variables, tokens, [rotations[0], jnp.zeros((2, 8, 2, 3))])


def test_layers_that_fit_no_cycle_have_parameters_of_their_own(key):
    full, local, hashed = kinds()
    config = language(full, hashed, num_layers=3)
    params = config.variable_shapes()["params"]["decoder"]
    assert [params[f"layer_{i}"]["attention"]["heads"]["query"].shape[0] for i in range(3)] == [
        1
    ] * 3
    assert "key" in params["layer_2"]["attention"]["heads"]
    repeated = language(full, local, num_layers=6).variable_shapes()["params"]["decoder"]
    assert repeated["layer_1"]["mlp"]["up"]["kernel"].shape == (3, 16, 24)
    assert "layer_2" not in repeated
    module, variables = random_variables(config, key())
    assert np.isfinite(run(module, variables, ids(key(), 1, 6))).all()


@pytest.mark.parametrize("which", ["local", "one chunk"])
def test_steps_with_a_cache_are_the_whole_pass(key, which):
    full, local, hashed = kinds()
    hashed = dataclasses.replace(hashed, chunk_len=24)  # so that all tokens are candidates
    attention = (full, local) if which == "local" else (hashed,)
    module, variables = random_variables(language(*attention), key())
    tokens = ids(key(), 2, 11)
    expected = run(module, variables, tokens)
    cache = run(module, variables, 2, 12, method="start")
    given = jnp.pad(tokens, ((0, 0), (1, 0)))
    # One that sees itself alone has its shares rounded as trax's are: one round sums up to 1.
    close = EXACT if which == "local" else {"rtol": 1e-2, "atol": 3e-2}
    for first, last in ((0, 4), (4, 5), (5, 6), (6, 11)):
        logits, cache = run(module, variables, given[:, None, first:last], cache, method="extend")
        np.testing.assert_allclose(logits[:, 0], expected[:, first:last], **close)


def test_a_step_depends_on_no_room_for_later_ones(key):
    hashed = dataclasses.replace(kinds()[2], chunk_len=2, num_hashes=1, num_buckets=None)
    module, variables = random_variables(language(hashed), key())
    tokens = ids(key(), 1, 1, 8)
    small, large = (run(module, variables, 1, room, method="start") for room in (8, 24))
    for place in range(8):
        token = tokens[:, :, place, None]
        one, small = run(module, variables, token, small, method="extend")
        other, large = run(module, variables, token, large, method="extend")
        np.testing.assert_allclose(one, other, **EXACT)


def test_steps_of_a_translation_are_the_whole_pass(key):
    module, variables = random_variables(translation(target_vocab_size=7), key())
    source, target = ids(key(), 3, 5).at[1, 3:].set(0), ids(key(), 3, 6) % 7
    expected = run(module, variables, source, target)
    assert expected.shape == (3, 6, 7)
    cache = run(module, variables, source, 8, method="start")
    tokens = jnp.pad(target, ((0, 0), (1, 0)))
    for position in range(6):
        given = tokens[:, None, position : position + 1]
        logits, cache = run(module, variables, given, cache, method="extend")
        np.testing.assert_allclose(logits[:, 0, 0], expected[:, position], **EXACT)


def test_reordered_beams_go_on_from_their_parents(key):
    _, local, hashed = kinds()
    module, variables = random_variables(language(local, hashed), key())
    parents = np.array([[[0, 0], [0, 0]], [[1, 0], [1, 1]], [[1, 1], [0, 1]]])
    tokens = np.asarray(ids(key(), 3, 2, 2))
    cache = run(module, variables, 2, 6, method="start")
    pasts = [[[], []], [[], []]]
    for step in range(3):
        cache = cache.reorder(jnp.asarray(parents[step]))
        pasts = [
            [pasts[row][parents[step, row, beam]] + [tokens[step, row, beam]] for beam in (0, 1)]
            for row in (0, 1)
        ]
        given = jnp.asarray(tokens[step])[..., None]
        logits, cache = run(module, variables, given, cache, method="extend")
    alone = run(module, variables, 2, 6, method="start")
    for beam in (0, 1):
        given = jnp.asarray(np.array([pasts[row][beam] for row in (0, 1)]))[:, None]
        expected, _ = run(module, variables, given, alone, method="extend")
        np.testing.assert_allclose(logits[:, beam, 0], expected[:, 0, -1], **EXACT)


def test_padding_after_a_text_changes_nothing_unless_it_is_trax_s(key):
    module, variables = random_variables(language(), key())
    tokens = ids(key(), 2, 10)
    padded = jnp.pad(tokens.at[:, 4].set(0), ((0, 0), (0, 7)))
    expected = run(module, variables, padded[:, :10])
    np.testing.assert_allclose(run(module, variables, padded)[:, :10], expected, **EXACT)
    as_trax = dataclasses.replace(module.config, pad_id=None).build()
    np.testing.assert_allclose(run(as_trax, variables, padded[:, :10]), expected, **EXACT)
    assert np.abs(run(as_trax, variables, padded)[:, :10] - expected).max() > 1e-3


def test_padding_of_the_source_changes_nothing(key):
    module, variables = random_variables(translation(), key())
    source, target = ids(key(), 2, 5), ids(key(), 2, 6)
    logits = run(module, variables, source, target)
    padded = run(module, variables, jnp.pad(source, ((0, 0), (0, 4))), target)
    np.testing.assert_allclose(logits, padded, **EXACT)
    nothing = [run(module, variables, jnp.zeros((2, n), jnp.int32), target) for n in (2, 9)]
    assert np.isfinite(nothing[0]).all()
    np.testing.assert_allclose(*nothing, **EXACT)


def test_padding_changes_no_tag_and_may_be_all_there_is(key):
    from zoo.models.reformer.attention import SelfAttentionConfig

    near = SelfAttentionConfig(chunk_len=4, chunks_before=1, chunks_after=1)
    module, variables = random_variables(tagger(kinds()[2], near), key())
    tokens = ids(key(), 2, 10)
    logits = run(module, variables, tokens)
    assert logits.shape == (2, 10, 3)
    for more in (1, 7):
        padded = run(module, variables, jnp.pad(tokens, ((0, 0), (0, more))))
        np.testing.assert_allclose(padded[:, :10], logits, **EXACT)
    assert np.isfinite(run(module, variables, jnp.zeros((1, 10), jnp.int32))).all()


@pytest.mark.parametrize("make", [tagger, translation])
def test_a_config_says_whether_padding_is_read(make):
    full, near, hashed = kinds()
    by_length = dataclasses.replace(hashed, num_buckets=None)
    for kind in (full, near, hashed):
        assert not make(attention=(kind,)).reads_padding
        assert make(attention=(kind,), pad_id=None).reads_padding
    assert make(attention=(by_length,)).reads_padding


def test_a_text_to_be_continued_may_be_all_padding(key):
    module, variables = random_variables(language(), key())
    answer = run(module, variables, jnp.zeros((1, 10), jnp.int32))
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_text_may_have_one_token_or_none(key, dtype):
    near, hashed = kinds()[1:]
    for config in (language(near, hashed), translation(), tagger(hashed)):
        config = dataclasses.replace(config, dtype=dtype)
        module, variables = random_variables(config, key())
        for length in (0, 1):
            inputs = [ids(key(), 2, length)] * len(config.example_inputs(2))
            answer = run(module, variables, *inputs)
            assert answer.shape[:2] == (2, length)
            assert np.isfinite(answer).all()


def test_axial_positions_are_numbered_last_side_fastest(key):
    config = language(kinds()[0], axial_shape=(2, 3), axial_widths=(6, 10))
    module, variables = random_variables(config, key())
    decoder = variables["params"]["decoder"]
    assert decoder["axial_0"].shape == (1, 2, 1, 6) and decoder["axial_1"].shape == (1, 1, 3, 10)
    bound = module.bind(variables)
    found = bound.decoder.positions_at(jnp.arange(6))
    np.testing.assert_array_equal(found[4, :6], decoder["axial_0"][0, 1, 0])
    np.testing.assert_array_equal(found[4, 6:], decoder["axial_1"][0, 0, 1])
    assert run(module, variables, ids(key(), 1, 5)).shape == (1, 5, 11)
    assert dataclasses.replace(config, axial_shape=(2, 3, 4), axial_widths=()).side_widths == (
        5,
        5,
        6,
    )


def test_what_is_too_long_is_said(key):
    module, variables = random_variables(language(), key())
    with pytest.raises(ValueError, match=r"a sequence of 25 positions is longer than max_len=24"):
        module.apply(variables, jnp.zeros((1, 25), jnp.int32))
    with pytest.raises(ValueError, match=r"a cache of 25 positions is longer than max_len=24"):
        module.apply(variables, 1, 25, method="start")
    module, variables = random_variables(language(axial_shape=(2, 4), axial_widths=(6, 10)), key())
    limit = r"a sequence of 9 positions is longer than 8, the product of axial_shape=\(2, 4\)"
    with pytest.raises(ValueError, match=limit):
        module.apply(variables, jnp.zeros((1, 9), jnp.int32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": ()}, "attention is empty; it is one kind of attention or more"),
        ({"ff_chunk_len": 0}, "ff_chunk_len is 0; it is 1 or more"),
        ({"d_model": 15}, "d_model=15 must be even, or use axial_shape"),
        (
            {"axial_shape": (2, 4), "axial_widths": (16,)},
            r"axial_shape=\(2, 4\) has 2 sides and axial_widths=\(16,\) has 1 widths; there must",
        ),
        (
            {"axial_shape": (2, 4), "axial_widths": (6, 9)},
            r"and the widths add up to d_model=16, not 15",
        ),
        ({"axial_shape": (0, 4), "axial_widths": (6, 10)}, r"must be 1 or more, and the widths"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    from zoo.config import ConfigError

    with pytest.raises(ConfigError, match=message):
        language(**changes)


def test_bfloat16_is_close_forward_and_backward_with_float32_results(key):
    module, variables = random_variables(language(kinds()[1]), key())
    narrow = dataclasses.replace(module.config, dtype="bfloat16").build()
    tokens = ids(key(), 3, 10)

    def loss(module):
        def of(variables):
            logits = module.apply(variables, tokens)
            return -jnp.mean(jax.nn.log_softmax(logits)[..., 0]), logits

        return jax.jit(jax.grad(of, has_aux=True))(variables)

    (exact, logits), (rounded, close) = loss(module), loss(narrow)
    assert close.dtype == jnp.float32
    np.testing.assert_allclose(close, logits, atol=0.1)
    assert np.abs(close - logits).max() > 1e-5

    def alike(a, b):
        assert b.dtype == jnp.float32
        assert np.linalg.norm(a - b) <= 0.1 * np.linalg.norm(a) + 1e-4

    jax.tree.map(alike, exact, rounded)


def test_there_is_no_int8():
    from zoo.config import ConfigError

    assert language().in_precision("bfloat16").dtype == "bfloat16"
    with pytest.raises(ConfigError, match=r"ReformerLMConfig.dtype is float32 or bfloat16; the la"):
        language().in_precision("int8")
