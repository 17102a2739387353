"""Decoding: greedy, sampling and beam search over models small enough to know every answer."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import decoding
from zoo.config import ConfigError
from zoo.decoding import Beam, Prefix, Sampling

EOS, VOCAB, LENGTH = 1, 5, 4


class History(NamedTuple):
    """A cache that is the tokens themselves."""

    tokens: jax.Array  # [B, N, L]
    length: jax.Array

    def reorder(self, parents):
        return History(jnp.take_along_axis(self.tokens, parents[..., None], axis=1), self.length)

    def rows(self, indices):
        return History(self.tokens[indices], self.length)


def toy(key, rows=1):
    """A model whose next token depends on all before it, and its logits as a function in NumPy."""
    table = np.asarray(jax.random.normal(key, (VOCAB, LENGTH + 1, VOCAB)) * 2)
    start = History(jnp.zeros((rows, 1, LENGTH + 1), jnp.int32), jnp.zeros((), jnp.int32))

    def step(tokens, cache, count=None):
        seen = jax.lax.dynamic_update_slice_in_dim(cache.tokens, tokens, cache.length, axis=2)
        position, new = jnp.arange(LENGTH + 1), jnp.arange(tokens.shape[2])
        read = (position[None] <= (cache.length + new)[:, None])[None, None, ..., None]
        of_each = jnp.asarray(table)[seen, position[None, None]][:, :, None]
        logits = jnp.where(read, of_each, 0.0).sum(axis=3)
        return logits, History(seen, cache.length + (len(new) if count is None else count))

    def logits_after(tokens):
        return sum(table[token, position] for position, token in enumerate([0, *tokens]))

    return step, start, logits_after


def score(logits_after, tokens):
    total = 0.0
    for n, token in enumerate(tokens):
        logits = logits_after(tokens[:n])
        total += logits[token] - np.logaddexp.reduce(logits)
    return total


def every_answer(logits_after, penalty):
    """All sequences there are, best first: ended by EOS, or LENGTH tokens without one."""
    others = [token for token in range(VOCAB) if token != EOS]
    answers = [
        (*start, EOS) for n in range(LENGTH) for start in itertools.product(others, repeat=n)
    ] + list(itertools.product(others, repeat=LENGTH))

    def rank(answer):
        return score(logits_after, answer) / ((5 + len(answer)) / 6) ** penalty

    return sorted(answers, key=rank, reverse=True)


def cut(tokens):
    tokens = [int(token) for token in tokens]
    return tuple(tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.5])
def test_a_wide_beam_finds_the_best_of_all_answers(key, penalty):
    step, cache, logits_after = toy(key())
    tokens, scores = decoding.beam_search(
        step, cache, penalty, size=100, batch=1, length=LENGTH, eos_id=EOS
    )
    best = every_answer(logits_after, penalty)[:10]
    assert [cut(answer) for answer in tokens[0, :10]] == best
    np.testing.assert_allclose(
        scores[0, :10], [score(logits_after, answer) for answer in best], rtol=1e-5
    )


def test_a_beam_of_one_is_greedy_decoding_and_rows_are_independent(key):
    step, cache, logits_after = toy(key(), rows=3)
    prefix = Prefix(jnp.array([[2, 0], [3, 4], [0, 0]]), jnp.array([1, 2, 0]))
    tokens, _ = decoding.beam_search(
        step, cache, 0.6, size=1, batch=3, length=LENGTH, eos_id=EOS, prefix=prefix
    )
    state = decoding.sample(
        step,
        decoding.begin(step, cache, 3, LENGTH, prefix=prefix),
        jax.random.split(key(), 3),
        Sampling().choice(),
        eos_id=EOS,
    )
    for row, start in enumerate([(2,), (3, 4), ()]):
        expected = list(start)
        while EOS not in expected and len(expected) < LENGTH:
            expected.append(int(np.argmax(logits_after(expected))))
        assert cut(tokens[row, 0]) == cut(state.tokens[row]) == tuple(expected)
        # Behind the end there is nothing.
        assert not np.any(state.tokens[row, len(expected) :])


def test_the_prefix_counts_in_the_score(key):
    step, cache, logits_after = toy(key())
    prefix = Prefix(jnp.array([[4, 2]]), jnp.array([2]))
    tokens, scores = decoding.beam_search(
        step, cache, 0.6, size=3, batch=1, length=LENGTH, eos_id=EOS, prefix=prefix
    )
    for answer, value in zip(tokens[0], scores[0], strict=True):
        assert cut(answer)[:2] == (4, 2)
        assert score(logits_after, cut(answer)) == pytest.approx(float(value), rel=1e-5)


def test_a_pause_changes_nothing(key):
    step, cache, _ = toy(key())
    keys = jax.random.split(key(), 1)
    how = Sampling(temperature=1.0).choice()
    whole = decoding.sample(step, decoding.begin(step, cache, 1, LENGTH), keys, how, eos_id=-1)
    state = decoding.begin(step, cache, 1, LENGTH)
    for until in (1, 3, 4):
        state = decoding.sample(step, state, keys, how, eos_id=-1, until=until)
        assert int(state.position) == until
    np.testing.assert_array_equal(state.tokens, whole.tokens)


def draws(how, logits, key, number=4000):
    """How often each token is drawn."""
    keys = jax.random.split(key, number)

    def step(tokens, cache):
        return jnp.broadcast_to(logits, (number, 1, 1, len(logits))), cache

    state = decoding.begin(step, jnp.zeros((number,)), number, 1)
    state = decoding.sample(step, state, keys, how.choice(), eos_id=-1)
    return np.bincount(np.asarray(state.tokens[:, 0]), minlength=len(logits)) / number


def test_sampling_draws_by_probability(key):
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    logits = jnp.log(probabilities)
    close = {"atol": 0.03}
    np.testing.assert_allclose(
        draws(Sampling(temperature=1.0), logits, key()), probabilities, **close
    )
    sharp = probabilities**2 / (probabilities**2).sum()
    np.testing.assert_allclose(draws(Sampling(temperature=0.5), logits, key()), sharp, **close)
    two = np.array([0.625, 0.375, 0, 0])
    np.testing.assert_allclose(
        draws(Sampling(temperature=1.0, top_k=2), logits, key()), two, **close
    )
    # 0.5 alone is below 0.7, so the token that crosses it belongs to the set.
    np.testing.assert_allclose(
        draws(Sampling(temperature=1.0, top_p=0.7), logits, key()), two, **close
    )
    assert draws(Sampling(temperature=0.0), logits, key())[0] == 1
    assert draws(Sampling(temperature=3.0, top_k=1), logits, key())[0] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampling(temperature=-1.0), r"temperature is -1; it is 0 \(greedy\) to 1e\+06"),
        (lambda: Sampling(temperature=float("inf")), r"temperature is inf; it is 0 \(greedy\) to"),
        (lambda: Sampling(top_k=0), r"top_k is 0; it is a number of tokens, 1 or more"),
        (lambda: Sampling(top_p=1.5), r"top_p is 1\.5; it is a probability, above 0 and up to 1"),
        (lambda: Beam(size=0), r"beam_size is 0; it is 1 or more"),
        (lambda: Beam(length_penalty=float("inf")), r"length_penalty is inf; it is 0 to 10"),
        (lambda: Beam(length_penalty=-0.1), r"length_penalty is -0\.1; it is 0 to 10"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
