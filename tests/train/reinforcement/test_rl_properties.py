"""What must hold of estimators, algorithms, roll-outs and policies, whatever the numbers are."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from helpers import random_variables

from zoo import envs
from zoo.models.distributions import Categorical, Gaussian
from zoo.models.policy import PolicyLSTMConfig, PolicyMLPConfig, forget
from zoo.train import A2C, AWR, PPO, Reinforce
from zoo.train.reinforcement import estimators, objectives, rollouts
from zoo.train.state import TrainState
from zoo.train.tasks.reinforcement import answers

MLP = PolicyMLPConfig(observation_shape=(3,), num_actions=3, hidden_sizes=(4,))
LSTM = PolicyLSTMConfig(observation_shape=(3,), num_actions=3, hidden_sizes=(4,), d_model=4)
IDS = ["mlp", "lstm"]
SGD = optax.sgd(0.1)


def trees_agree(one, other, **tolerance):
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-6}
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def state_of(variables, carry=()):
    optimizer = SGD.init(variables["params"])
    return TrainState(jnp.int32(0), variables, optimizer, jax.random.key(0), carry)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _learnt(task, module, variables, experience):
    return task.learn(module, SGD, state_of(variables), experience, jax.random.key(1))[0]


def learnt(task, module, variables, experience):
    """The parameters after one iteration of learning."""
    return _learnt(task, module, variables, experience)


# Estimators.


def steps_of(seed, steps=9, number=4):
    random = np.random.default_rng(seed)
    reward, value, following = random.normal(size=(3, steps, number))
    terminated, cut = random.random((2, steps, number)) < 0.2
    goes_on = ~(terminated | cut)[:-1]
    following[:-1][goes_on] = value[1:][goes_on]
    return reward, value, following, terminated, cut & ~terminated


def by_definition(k, reward, value, following, terminated, truncated, gamma):
    """The k-step advantage of each step, as a sum, and how many steps it has at most."""
    length, number = reward.shape
    found, most = np.zeros((2, length, number))
    for e in range(number):
        for t in range(length):
            total, discount, steps = 0.0, 1.0, 0
            for i in range(t, min(t + k, length)):
                total += discount * reward[i, e]
                discount *= gamma
                steps += 1
                if terminated[i, e] or truncated[i, e]:
                    break
            bootstrap = 0.0 if terminated[i, e] else discount * following[i, e]
            found[t, e], most[t, e] = total + bootstrap - value[t, e], steps
    return found, most


@pytest.mark.parametrize("seed", range(3))
def test_estimates_are_sums(seed):
    steps = steps_of(seed)
    each = [by_definition(k, *steps, gamma=0.9) for k in range(1, 10)]
    for k in (1, 2, 4, 9):
        found = jax.jit(functools.partial(estimators.td_k, gamma=0.9, k=k))(*steps)
        np.testing.assert_allclose(found, each[k - 1][0], atol=1e-5)
    whole, most = each[-1]
    found = jax.jit(functools.partial(estimators.monte_carlo, gamma=0.9))(*steps)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    for lambda_ in (0.0, 0.6, 1.0):
        # (1 - λ) Σ λ^(k - 1) A(k), and all of what is left for the last of them
        mixed = sum((1 - lambda_) * lambda_**i * each[i][0] * (i + 1 < most) for i in range(9))
        mixed = mixed + lambda_ ** (most - 1) * whole
        estimate = functools.partial(estimators.gae, gamma=0.9, lambda_=lambda_)
        np.testing.assert_allclose(jax.jit(estimate)(*steps), mixed, atol=1e-5)
    assert estimators.td_lambda is estimators.gae


def test_returns_are_sums():
    random = np.random.default_rng(0)
    reward, gamma = random.normal(size=(2, 7))
    found = estimators.discounted_returns(jnp.asarray(reward), jnp.asarray(gamma))
    sums = [sum(reward[i] * np.prod(gamma[t:i]) for i in range(t, 7)) for t in range(7)]
    np.testing.assert_allclose(found, sums, rtol=1e-5)
    whole = estimators.discounted_returns(jnp.arange(4), 0.5)
    np.testing.assert_allclose(whole, [0 + 1 / 2 + 2 / 4 + 3 / 8, 1 + 2 / 2 + 3 / 4, 3.5, 3])


# Algorithms.


@pytest.mark.parametrize("config", [MLP, pytest.param(LSTM, marks=pytest.mark.slow)], ids=IDS)
def test_ppo_without_a_clip_is_a2c(config, experienced, key):
    module, variables = random_variables(config, key())
    common = {"entropy_coefficient": 0.1, "lambda_": 0.9, "normalize_advantages": True}
    experience = experienced(module)
    one = learnt(PPO(epochs=1, minibatches=1, clip=1e9, **common), module, variables, experience)
    other = learnt(A2C(**common), module, variables, experience)
    trees_agree(one, other)
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), one, variables["params"])
    assert min(jax.tree.leaves(moved)) > 1e-5


def test_awr_is_cloning_where_beta_is_large(experienced, key):
    module, variables = random_variables(MLP, key())
    experience = experienced(module)
    task = AWR(beta=1e9, minibatches=1, value_coefficient=0.0)

    @jax.jit
    @jax.grad
    def gradient(params):
        answer, _ = answers(module, {"params": params}, experience, ())
        return -jnp.mean(answer.log_prob)

    cloned = optax.apply_updates(
        variables["params"], jax.tree.map(lambda g: -0.1 * g, gradient(variables["params"]))
    )
    trees_agree(learnt(task, module, variables, experience), cloned)


def test_awr_weighs_what_turned_out_well(experienced, key):
    """At a small beta the limit on the weights decides: good steps count w, bad ones nothing."""
    module, variables = random_variables(MLP, key())
    experience = experienced(module)
    task = AWR(beta=1e-6, max_weight=3.0, minibatches=1, value_coefficient=0.0)
    lesson, _, _ = task.estimate(module, variables, experience)

    @jax.jit
    @jax.grad
    def gradient(params):
        answer, _ = answers(module, {"params": params}, lesson, ())
        scaled = lesson.advantage - lesson.advantage.mean()
        return -jnp.mean(answer.log_prob * jnp.where(scaled > 0, 3.0, 0.0))

    expected = optax.apply_updates(
        variables["params"], jax.tree.map(lambda g: -0.1 * g, gradient(variables["params"]))
    )
    trees_agree(learnt(task, module, variables, experience), expected)


def test_reinforce_has_the_gradient_of_the_expected_return(chain, key):
    """All 8 episodes of a problem of two states, weighted by their probabilities."""
    environment, config = (
        chain(),
        PolicyMLPConfig(observation_shape=(2,), num_actions=2, hidden_sizes=()),
    )
    actions = np.array(list(np.ndindex(2, 2, 2)), np.int32).T  # [T, E]
    state, seen = environment.reset_all(key(), 8)
    steps, observations = [], []
    for action in actions:
        observations.append(seen)
        steps.append(jax.vmap(environment.step, (None, 0, 0))(key(), state, jnp.asarray(action)))
        state, seen = steps[-1].state, steps[-1].observation
    stack = functools.partial(jax.tree.map, lambda *each: jnp.stack(each))
    observation, step = jnp.stack(observations), stack(*steps)
    task = Reinforce(gamma=1.0, normalize_advantages=False, value_coefficient=0.0)

    with jax.enable_x64(True):
        module, variables = random_variables(config, key())
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables["params"])

        @jax.jit
        def expected_return(params):
            log_probs = jax.nn.log_softmax(module.apply({"params": params}, observation).logits)
            taken = jnp.take_along_axis(log_probs, jnp.asarray(actions)[..., None], axis=-1)
            probability = jnp.exp(taken[..., 0].sum(axis=0))
            return jnp.sum(probability * step.reward.sum(axis=0)), probability

        _, probability = expected_return(params)
        assert probability.sum() == pytest.approx(1)
        experience = rollouts.Experience(
            observation=observation,
            first=jnp.zeros((3, 8), bool),
            action=jnp.asarray(actions),
            reward=step.reward,
            reached=step.observation,
            terminated=step.terminated,
            truncated=step.truncated,
            weights=jnp.broadcast_to(probability, (3, 8)),
            memory=(),
        )
        after = learnt(task, module, {"params": params}, experience)
        flat, restore = jax.flatten_util.ravel_pytree(params)
        ascent = (jax.flatten_util.ravel_pytree(after)[0] - flat) / 0.1 * 3  # a mean over T
        for i in range(flat.size):
            shift = jnp.zeros_like(flat).at[i].set(1e-5)
            up, down = (expected_return(restore(flat + s))[0] for s in (shift, -shift))
            assert float(ascent[i]) == pytest.approx(float(up - down) / 2e-5, abs=1e-7)
    assert np.abs(ascent).max() > 0.01


CONSTANT = ((2.0, 2.0), (2.0, 2.0))


@pytest.mark.parametrize(("is_cut", "worth"), [(True, 20.0), (False, 2 * (1 - 0.9**4) / 0.1)])
def test_the_value_goes_on_beyond_a_time_limit_and_not_beyond_an_end(
    is_cut, worth, chain, registered, key
):
    """A reward of 2 at each step, a discount of 0.9, episodes of 4 steps."""
    name = f"constant_{is_cut}"
    registered(name, chain(length=4, rewards=CONSTANT, is_cut=is_cut))
    config = PolicyMLPConfig(observation_shape=(2,), num_actions=2, hidden_sizes=())
    task = A2C(environment=name, num_steps=8, gamma=0.9, lambda_=0.95, entropy_coefficient=1.0)
    module, variables = random_variables(config, key())
    variables = jax.tree.map(jnp.zeros_like, variables)
    optimizer = optax.sgd(0.3)
    state = TrainState(
        jnp.int32(0),
        variables,
        optimizer.init(variables["params"]),
        key(),
        task.initial_carry(config, 8, 0),
    )

    @jax.jit
    def train(state):
        return jax.lax.fori_loop(
            0, 300, lambda i, state: task.update(module, optimizer, state, {})[0], state
        )

    values = module.apply(train(state).variables, jnp.eye(2)).value
    if is_cut:
        np.testing.assert_allclose(values, worth, rtol=1e-3)
    else:  # one value for all the steps before the end: below that of the first
        assert (values < worth).all()
        assert (values > 2).all()


@pytest.mark.parametrize("config", [pytest.param(MLP, marks=pytest.mark.slow), LSTM], ids=IDS)
def test_the_order_of_the_environments_is_nothing(config, experienced, key):
    module, variables = random_variables(config, key())
    order = np.array([2, 0, 3, 1])
    one = experienced(module)
    memory = jax.tree.map(lambda part: part[order], one.memory)
    other = jax.tree.map(lambda part: part[:, order], dataclasses.replace(one, memory=()))
    task = PPO(epochs=3, minibatches=1)
    trees_agree(
        learnt(task, module, variables, one),
        learnt(task, module, variables, dataclasses.replace(other, memory=memory)),
    )


def test_the_order_of_the_environments_is_nothing_to_an_update(key):
    """A policy that is all but sure of its actions, so that the draws do not matter."""
    config = PolicyMLPConfig(observation_shape=(4,), num_actions=2, hidden_sizes=(4,))
    task = PPO(environment="cartpole", num_steps=6, minibatches=1, normalize_rewards=True)
    module, variables = random_variables(config, key())
    policy = variables["params"]["heads"]["policy"]
    policy |= {"kernel": 1e4 * policy["kernel"], "bias": 1e4 * policy["bias"]}
    carry = task.initial_carry(config, 4, 0)
    order = np.array([2, 0, 3, 1])

    def reordered(carry, order):
        def of_each(part):  # some parts are of all environments together
            return part[order] if part.shape[:1] == (4,) else part

        return jax.tree.map(of_each, carry)

    permuted = reordered(carry, order)
    update = jax.jit(lambda state: task.update(module, SGD, state, {})[0])
    one, other = (update(state_of(variables, c)) for c in (carry, permuted))
    trees_agree(one.params, other.params)
    trees_agree(one.carry, reordered(other.carry, np.argsort(order)))


def test_what_follows_an_end_enters_nothing(chain, registered, key):
    """REINFORCE learns from whole episodes; what is rolled out after them is not looked at."""
    name = registered("short_chain", chain(length=4))
    config = PolicyMLPConfig(observation_shape=(2,), num_actions=2, hidden_sizes=(4,))
    module, variables = random_variables(config, key())
    environment = envs.create(name)
    actors = rollouts.begin(module, environment, 5, key())
    experience, _, ended = rollouts.collect(
        module, variables, environment, actors, 7, key(), whole_episodes=True
    )
    np.testing.assert_array_equal(experience.weights, [[1.0] * 5] * 4 + [[0.0] * 5] * 3)
    assert float(ended.number) == 5
    np.testing.assert_allclose(ended.rewards, experience.reward[:4].sum(), rtol=1e-5)

    def spoilt(part):
        garbage = np.random.default_rng(0).integers(0, 2, part[4:].shape)
        factor = 100 if part.dtype == jnp.float32 else 1
        return part.at[4:].set(jnp.asarray(factor * garbage, part.dtype))

    other = jax.tree.map(spoilt, dataclasses.replace(experience, memory=()))
    other = dataclasses.replace(other, weights=experience.weights)
    for task in (Reinforce(baseline="mean"), Reinforce()):
        trees_agree(
            learnt(task, module, variables, experience), learnt(task, module, variables, other)
        )


def test_losses_are_means_over_the_steps_that_count():
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=(3, 10))
    weights = np.where(np.arange(10) < 6, 1.0, 0.0)
    for objective in (
        lambda *x, w: objectives.policy_gradient(x[0], x[1], w),
        lambda *x, w: objectives.value_loss(x[0], x[1], w),
        lambda *x, w: objectives.approximate_kl(x[0], x[1], w),
        lambda *x, w: objectives.clip_fraction(x[0], x[1], w, 0.2),
        lambda *x, w: objectives.explained_variance(x[0], x[1], w),
        lambda *x, w: objectives.mean(objectives.normalized(x[0], w) * x[2], w),
        lambda *x, w: objectives.mean(objectives.awr_weights(x[0], w, 1.0, [(30, 2.0, -9.0)]), w),
    ):
        whole = objective(a, b, c, w=weights)
        part = objective(a[:6], b[:6], c[:6], w=weights[:6])
        np.testing.assert_allclose(whole, part, rtol=1e-5)
        assert float(objective(a, b, c, w=0 * weights)) in (0.0, 1.0)


# Roll-outs.


def test_the_worth_of_what_a_step_reached_is_that_of_the_next_step(registered, key):
    """Unless the episode ends there; with a memory too."""
    config = PolicyLSTMConfig(observation_shape=(4,), num_actions=2, hidden_sizes=(4,), d_model=4)
    module, variables = random_variables(config, key())
    environment = envs.create("cartpole")

    @jax.jit
    def roll_out(actors):
        experience, following, ended = rollouts.collect(
            module, variables, environment, actors, 40, key()
        )
        answer, memories = answers(module, variables, experience, experience.memory)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (experience.reached, memories))
        reached, _ = module.apply(variables, *flat, method="step")
        return experience, following, ended, answer.value, reached.value.reshape(40, 3)

    actors = rollouts.begin(module, environment, 3, key())
    experience, following, ended, value, next_value = roll_out(actors)
    over = np.asarray(experience.terminated | experience.truncated)
    assert over.any()
    goes_on = ~over[:-1]
    np.testing.assert_allclose(next_value[:-1][goes_on], value[1:][goes_on], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(experience.first[1:], over[:-1])
    np.testing.assert_array_equal(following.first, over[-1])
    assert int(following.steps) == 120
    assert float(ended.number) == over.sum()
    # The memory is empty after an end.
    _, again, *_ = roll_out(following)
    for part in jax.tree.leaves(following.memory):
        np.testing.assert_array_equal(part[over[-1]], 0)
    sums = np.zeros(3)
    for row, ends in zip(np.asarray(experience.reward), over, strict=True):
        sums = (sums + row) * ~ends
    np.testing.assert_allclose(following.rewards, sums)
    assert int(again.steps) == 240


def test_rewards_are_scaled_by_the_spread_of_their_returns():
    random = np.random.default_rng(0)
    rewards = random.normal(3, 2, (3, 10, 2)).astype(np.float32)
    first = random.random((3, 10, 2)) < 0.3
    scale, seen, total = rollouts.RewardScale.begin(2), [], np.zeros(2)
    none = jnp.zeros((10, 2), bool)
    for reward, begins in zip(rewards, first, strict=True):
        experience = rollouts.Experience(
            (), jnp.asarray(begins), (), jnp.asarray(reward), (), none, none, (), ()
        )
        scale, scaled = scale.scaled(experience, 0.9)
        for row, new in zip(reward, begins, strict=True):
            total = np.where(new, 0, total) * 0.9 + row
            seen.append(total)
        np.testing.assert_allclose(scaled.reward, reward / np.std(seen), rtol=1e-4)
    np.testing.assert_allclose(scale.mean, np.mean(seen), rtol=1e-5)


def test_a_replay_holds_the_last_roll_outs(experienced, key):
    module = MLP.build()
    rolled_out = [
        dataclasses.replace(experienced(module, seed=seed), reward=jnp.full((6, 4), float(seed)))
        for seed in range(5)
    ]
    replay = rollouts.Replay.begin(rolled_out[0], 3)
    assert not replay.experience.weights.any()
    held = []
    for experience in rolled_out:
        replay = replay.with_new(experience)
        rewards = np.asarray(replay.experience.reward)[0]
        held.append([int(x) for x in rewards[::4]])
    assert held == [[0, 0, 0], [0, 1, 0], [0, 1, 2], [3, 1, 2], [3, 4, 2]]
    np.testing.assert_array_equal(replay.experience.action[:, 4:8], rolled_out[4].action)


def test_empty_slots_of_a_replay_weigh_nothing(experienced, key):
    module, variables = random_variables(MLP, key())
    experience = experienced(module)
    task = AWR(minibatches=1)
    replay = rollouts.Replay.begin(experience, 3).with_new(experience)
    trees_agree(
        learnt(task, module, variables, experience),
        learnt(task, module, variables, replay.experience),
    )


def test_statistics_are_those_of_the_observations(key):
    config = PolicyMLPConfig(observation_shape=(2, 2), num_actions=2, normalize_observations=True)
    module, variables = random_variables(config, key())
    variables["statistics"] = jax.tree.map(
        jnp.asarray,
        {"moments": {"mean": np.zeros((2, 2)), "variance": np.ones((2, 2)), "count": 0.0}},
    )
    seen = np.random.default_rng(0).normal(5, 3, (3, 7, 4, 2, 2)).astype(np.float32)
    for part in seen:
        _, changed = module.apply(
            variables, jnp.asarray(part), method="observe", mutable=["statistics"]
        )
        variables |= changed
    moments = variables["statistics"]["moments"]
    flat = seen.reshape(-1, 2, 2)
    np.testing.assert_allclose(moments["mean"], flat.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments["variance"], flat.var(axis=0), rtol=1e-4)
    assert moments["count"] == len(flat)
    # Normalised observations are those that the same layers see without.
    plain = dataclasses.replace(config, normalize_observations=False).build()
    scaled = (seen[0] - flat.mean(axis=0)) / flat.std(axis=0)
    one = module.apply(variables, jnp.asarray(seen[0]))
    other = plain.apply({"params": variables["params"]}, jnp.asarray(scaled))
    trees_agree(one, other, rtol=1e-3, atol=1e-3)


# Policies.


def test_a_memory_is_forgotten_where_an_episode_begins(experienced, key):
    """To unroll is to step, with an empty memory at each beginning."""
    module, variables = random_variables(LSTM, key())
    steps = experienced(module)
    first = steps.first.at[0, 1].set(True)

    @jax.jit
    def both():
        unrolled = module.apply(variables, steps.observation, steps.memory, first, method="unroll")
        memory, each = steps.memory, []
        for seen, begins in zip(steps.observation, first, strict=True):
            memory = forget(memory, begins)
            output, memory = module.apply(variables, seen, memory, method="step")
            each.append((output, memory))
        return unrolled, jax.tree.map(lambda *x: jnp.stack(x), *each)

    trees_agree(*both())


def actions_of(random, distribution, shape):
    if isinstance(distribution, Categorical):
        return random.integers(distribution.num, size=(*shape, *distribution.shape), dtype=np.int32)
    return random.normal(size=(*shape, *distribution.shape)).astype(np.float32)


def test_a_categorical_distribution_is_scipys():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(5, 6)).astype(np.float32)
    distribution = Categorical(3, (2,))
    action = actions_of(random, distribution, (5,))
    logits = inputs.reshape(5, 2, 3)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = np.log([[p[i, j, action[i, j]] for j in range(2)] for i in range(5)]).sum(axis=-1)
    x = jnp.asarray(inputs)
    np.testing.assert_allclose(distribution.log_prob(x, jnp.asarray(action)), expected, rtol=1e-5)
    entropy = scipy.stats.entropy(p, axis=-1).sum(axis=-1)
    np.testing.assert_allclose(distribution.entropy(x), entropy, rtol=1e-5)
    np.testing.assert_array_equal(distribution.mode(x), logits.argmax(axis=-1))


@pytest.mark.parametrize("spread", ["fixed", "shared", "separate", "log"])
def test_a_gaussian_distribution_is_scipys(spread):
    random = np.random.default_rng(0)
    distribution = Gaussian((2, 2), 0.7, spread)
    inputs = random.normal(size=(5, distribution.num_inputs)).astype(np.float32)
    action = actions_of(random, distribution, (5,))
    more = inputs[:, 4:]
    std = {
        "fixed": lambda: np.full((5, 4), 0.7),
        "shared": lambda: np.repeat(np.log1p(np.exp(more + 0.7)), 4, axis=1),
        "separate": lambda: np.log1p(np.exp(more + 0.7)),
        "log": lambda: 0.7 * np.exp(more),
    }[spread]()
    normal = scipy.stats.norm(inputs[:, :4], std)
    x = jnp.asarray(inputs)
    found = distribution.log_prob(x, jnp.asarray(action))
    np.testing.assert_allclose(found, normal.logpdf(action.reshape(5, 4)).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(x), normal.entropy().sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(distribution.mode(x).reshape(5, 4), inputs[:, :4])


def test_draws_have_the_distribution(key):
    logits, temperature = jnp.array([[0.0, 1.0, -1.0]]), 0.5
    many = jnp.broadcast_to(logits, (4000, 3))
    drawn = Categorical(3).sample(many, key(), temperature)
    found = np.bincount(drawn, minlength=3) / 4000
    np.testing.assert_allclose(found, jax.nn.softmax(logits / temperature)[0], atol=0.03)
    inputs = jnp.broadcast_to(jnp.array([[1.0, -1.0]]), (4000, 2))
    drawn = Gaussian((2,), 0.5).sample(inputs, key(), temperature)
    np.testing.assert_allclose(drawn.mean(axis=0), [1, -1], atol=0.03)
    np.testing.assert_allclose(drawn.std(axis=0), 0.5 * temperature, atol=0.03)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_actions_stay_within_their_bounds(shape):
    config = PolicyMLPConfig(
        observation_shape=(1,), action_shape=shape, action_bounds=((-2.0, 1.0), (0.0, 5.0))
    )
    action = jnp.array([[-1e9, -1e9], [0.0, 0.0], [0.5, 2.0], [1e9, 1e9]]).reshape(4, *shape)
    clipped = np.asarray(config.bounded(action)).reshape(4, 2)
    np.testing.assert_allclose(clipped, [[-2, 0], [0, 0], [0.5, 2], [1, 5]])
    squashed = dataclasses.replace(config, outside="squash").bounded(action)
    squashed = np.asarray(squashed).reshape(4, 2)
    np.testing.assert_allclose(squashed[::3], [[-2, 0], [1, 5]])
    np.testing.assert_allclose(squashed[1], [-0.5, 2.5])
    assert (squashed[1:3] > clipped[0]).all()
    assert (squashed[1:3] < clipped[3]).all()
