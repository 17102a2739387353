"""Agents: observations of any kind, alone and in a batch; and the distributions of actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, scalars

SHAPES = st.one_of(
    st.just((3,)),
    st.tuples(st.integers(0, 3), st.just(3)),
    st.lists(st.integers(0, 4), max_size=4).map(tuple),
)
DTYPES = ("float32", "float32", "float64", "int8", "int64", "bool", "object", "complex64", "U3")
numbers = st.sampled_from([0.0, 1.0, -1.5, 1e3, -1e30, 1e38, 1e300, np.nan, np.inf])


def array(shape, dtype, special, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    if special is not None and values.size:
        values.flat[0] = special
    with np.errstate(all="ignore"):
        return values.astype(dtype)


observations = st.one_of(
    st.builds(
        array, SHAPES, st.sampled_from(DTYPES), st.none() | numbers, st.integers(0, 9)
    ).filter(lambda x: x is not None),
    st.lists(scalars | st.floats(-5, 5), max_size=4),
    st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=3), max_size=3),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3),
    any_texts,
    scalars,
)
temperatures = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1e-30, 1e30]), st.floats(), scalars)
seeds = st.integers(0, 9) | st.integers() | scalars


@pytest.fixture(scope="module")
def agents(toy):
    """One of discrete actions, one of continuous ones in bounds, and one with a memory."""
    from zoo.models.policy import PolicyLSTMConfig, PolicyMLPConfig

    common = {"observation_shape": (3,), "hidden_sizes": (4,)}
    box = {"action_shape": (2,), "action_bounds": ((-1.0, 2.0), (0.0, 3.0))}
    return [
        toy(config, "control")
        for config in (
            PolicyMLPConfig(num_actions=3, normalize_observations=True, **common),
            PolicyMLPConfig(**common, **box),
            PolicyMLPConfig(outside="squash", **common, **box),
            PolicyLSTMConfig(num_actions=3, d_model=4, **common),
        )
    ]


@holds(
    few=60,
    number=st.integers(0, 3),
    observation=observations,
    temperature=temperatures,
    seed=seeds,
)
def test_an_agent_acts_within_its_space_or_refuses(agents, number, observation, temperature, seed):
    agent = agents[number]
    action = asked(agent.act, observation, temperature=temperature, seed=seed)
    if isinstance(action, Refused):
        return
    many = np.asarray(action)
    if number in (0, 3):
        assert many.dtype.kind == "i"
        assert ((many >= 0) & (many < 3)).all()
        assert many.shape == np.shape(observation)[:-1]
    else:
        low, high = np.array([-1, 0]), np.array([2, 3])
        assert ((many >= low) & (many <= high)).all()
        assert many.shape == (*np.shape(observation)[:-1], 2)


@holds(few=40, number=st.integers(0, 3), items=st.lists(observations, min_size=1, max_size=3))
def test_an_agent_answers_alike_alone_and_in_a_batch(agents, number, items):
    agent = agents[number]
    alone = [asked(agent.value, item) for item in items]
    good = [i for i, value in enumerate(alone) if isinstance(value, float)]
    if not good:
        return
    rows = np.stack([np.asarray(items[i], np.float32) for i in good])
    np.testing.assert_allclose(agent.value(rows), [alone[i] for i in good], rtol=1e-4, atol=1e-4)
    actions = agent.act(rows)
    for i, action in zip(good, actions, strict=True):
        np.testing.assert_allclose(agent.act(items[i]), action, rtol=1e-4, atol=1e-4)


@holds(few=30, text=any_texts | st.lists(st.floats(), max_size=4).map(str))
def test_what_the_command_reads(agents, text):
    asked(lambda: list(agents[0].printed([text])))


@holds(
    few=40,
    logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6),
    action=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    seed=st.integers(0, 99),
)
def test_a_categorical_distribution(logits, action, seed):
    from zoo.models.distributions import Categorical

    distribution, inputs = Categorical(3, (2,)), jnp.asarray(logits, jnp.float32)
    log_prob = float(distribution.log_prob(inputs, jnp.asarray(action)))
    assert log_prob <= 1e-6
    assert -1e-3 <= float(distribution.entropy(inputs)) <= 2 * np.log(3) + 1e-3
    mode = distribution.mode(inputs)
    assert float(distribution.log_prob(inputs, mode)) >= log_prob - 1e-3
    drawn = distribution.sample(inputs, jax.random.key(seed))
    assert drawn.shape == mode.shape == (2,)
    assert set(np.asarray(drawn).tolist()) <= {0, 1, 2}
    every = [
        float(distribution.log_prob(inputs, jnp.asarray(each, jnp.int32)))
        for each in np.ndindex(3, 3)
    ]
    assert np.exp(every).sum() == pytest.approx(1, abs=1e-3)


@holds(
    few=40,
    inputs=st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4),
    action=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2),
    spread=st.sampled_from(["separate", "log"]),
)
def test_a_gaussian_distribution(inputs, action, spread):
    from zoo.models.distributions import Gaussian

    distribution, x = Gaussian((2,), 1.0, spread), jnp.asarray(inputs, jnp.float32)
    mode = distribution.mode(x)
    np.testing.assert_array_equal(mode, x[:2])
    log_prob = float(distribution.log_prob(x, jnp.asarray(action, jnp.float32)))
    assert not np.isnan(log_prob)
    top = float(distribution.log_prob(x, mode))
    assert top >= log_prob - 1e-3
    # At the mode the density is that of the entropy, less half a nat for each entry.
    assert float(distribution.entropy(x)) == pytest.approx(1 - top, abs=1e-3)
    assert np.isfinite(distribution.sample(x, jax.random.key(0))).all()
