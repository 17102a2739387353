"""trax's own numbers where they are right, and the right ones where they are not: 383 cases.

`golden/rl/index.json` lists the cases. Of each, `out` is what trax gives, `right` what it should
have given, and `wrong` what it gives instead. All arrays there are [B, T], in float64.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.envs import Box, Discrete, Environment, Step
from zoo.models.distributions import Categorical, Gaussian
from zoo.models.policy import PolicyMLPConfig, RunningMoments
from zoo.train import A2C, AWR, PPO
from zoo.train.reinforcement import estimators, objectives, rollouts
from zoo.train.tasks.reinforcement import Answer, Lesson

FOLDER = Path(__file__).parents[2] / "golden" / "rl"
INDEX = json.loads((FOLDER / "index.json").read_text())
CASES = INDEX["cases"]

PADDING = "trax pads episodes to one length; a roll-out has no padding, its weights say what counts"
NOT_HERE = {
    ("to_np", "action"): PADDING,
    ("to_np", "dist_inputs"): PADDING,
    ("to_np", "control_mask"): "a mask of the user's own; a roll-out has weights",
    ("to_np", "discount_mask"): "a mask of the user's own; the estimators take gamma of each step",
    ("returns", "gammas"): "gamma of each step, which here is an argument",
    ("value_targets", "target_mask"): "the mask that was given, cut to the length of the targets",
}
"""Results, by kind and name, that have no counterpart here, and why."""


@functools.cache
def arrays_of(file):
    return dict(np.load(FOLDER / file))


# Estimators.


def steps_first(x):
    return jnp.asarray(x).T


discounted_returns = jax.jit(estimators.discounted_returns)


@functools.partial(jax.jit, static_argnames=("estimator", "k"))
def estimated(estimator, k, steps, gamma, lambda_):
    if estimator == "td_k":
        return estimators.td_k(*steps, gamma=gamma, k=k)
    if estimator == "monte_carlo":
        return estimators.monte_carlo(*steps, gamma=gamma)
    return getattr(estimators, estimator)(*steps, gamma=gamma, lambda_=lambda_)


def estimate(params, gamma, lambda_, reward, value, next_value, terminated, truncated):
    """Advantages [B, T] of steps [B, T]."""
    next_value = np.where(terminated, 7.0, next_value)  # it must not matter
    found = estimated(
        params["estimator"],
        params["margin"] if params["estimator"] == "td_k" else 0,
        tuple(map(steps_first, (reward, value, next_value, terminated, truncated))),
        steps_first(gamma),
        steps_first(lambda_),
    )
    return np.asarray(found).T


def windows(params, rewards, returns, values, dones, discount_mask, mask=None, **given):
    """Advantages [B, T - margin] of windows of T steps, whose last one is only a value in trax."""
    length = dones.shape[1]
    terminated = given.get("terminated", dones).copy()
    truncated = given.get("truncated", np.zeros_like(dones)).copy()
    following = given.get("next_values", np.pad(values[:, 1:], ((0, 0), (0, 1)))).copy()
    for i, steps in enumerate(params.get("lengths", ())):
        terminated[i] = truncated[i] = False
        (terminated if params["finished"][i] else truncated)[i, steps - 1] = True
    discount, lambda_ = (
        np.where(discount_mask == 1, params.get(name, 1.0), 1.0) for name in ("gamma", "lambda_")
    )
    mask = np.ones_like(discount_mask) if mask is None else mask
    steps = (discount, lambda_, rewards, values, following, terminated, truncated)

    if params["estimator"] == "monte_carlo":
        # The rest of an episode that goes on after the window is worth what its returns say.
        rows, last = np.arange(len(mask)), mask.sum(axis=1) - 1
        goes_on = ~(terminated | truncated)[rows, last]
        rest = (returns - rewards)[rows, last] / discount[rows, last]
        truncated[rows, last] |= goes_on
        following[rows, last] = np.where(goes_on, rest, following[rows, last])
        return estimate(params, *steps)[:, : length - params["margin"]]
    found = estimate(params, *(x[:, :-1] for x in steps))
    if params["margin"] == 0:
        # The last step is a window of its own: a value only, unless an episode ends there.
        discount, lambda_, rewards, values, following, terminated, truncated = (
            x[:, -1:] for x in steps
        )
        rewards = np.where(terminated | truncated, rewards, values)
        alone = (discount, lambda_, rewards, values, following, ~truncated, truncated)
        found = np.concatenate([found, estimate(params, *alone)], axis=1)
    return found[:, : length - params["margin"]]


def advantages(params, **given):
    return {"advantages": windows(params, **given)}


def value_targets(params, *, network, **given):
    values = network * params["scale"]
    found = windows(params, values=values, **given)
    targets = values[:, : found.shape[1]] + found
    return {"advantages": found, "targets": targets / params["scale"]}


def returns(params, *, rewards, discount_mask=None, dones=None):
    gamma = np.full(rewards.shape, params["gamma"])
    if discount_mask is not None:
        gamma = np.where(discount_mask == 1, gamma, 1.0)
    if dones is not None:
        gamma = gamma * (1 - dones)
    if params["set"] == "1d":
        rewards, gamma = rewards[0], gamma[0]
    return {"returns": discounted_returns(steps_first(rewards), steps_first(gamma)).T}


# Episodes, played by a policy in an environment that repeats what was recorded.


class Episode(NamedTuple):
    """What is recorded of one; it ends with its last step, or is cut there."""

    observation: np.ndarray
    reward: np.ndarray
    is_cut: bool

    @property
    def length(self):
        return len(self.reward)


@functools.cache
def episodes():
    """Two that trax's Trajectory cuts and pads, and four of its batch."""
    arrays = arrays_of("trajectories.npz")
    (batch,) = (case["params"]["lengths"] for case in CASES if case["kind"] == "batch")
    rewards = np.split(arrays["batch/reward"], np.cumsum(batch)[:-1])
    seen = np.split(arrays["batch/observation"], np.cumsum(np.add(batch, 1))[:-1])
    return (
        Episode(arrays["finished/observation"], arrays["finished/reward"], False),
        Episode(arrays["cut/observation"], arrays["cut/reward"], True),
        *(Episode(*each, False) for each in zip(seen, rewards, strict=True)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded(Environment):
    """Episode i in environment i, again and again."""

    @property
    def observation_space(self):
        return Box((2,))

    @property
    def action_space(self):
        return Discrete(2)

    def reset(self, key):
        raise NotImplementedError

    def reset_all(self, key, num):
        first = jnp.stack([episode.observation[0] for episode in episodes()])
        return (jnp.arange(num), jnp.zeros(num, jnp.int32)), first

    def step(self, key, state, action):
        def padded(field):
            longest = max(episode.length for episode in episodes()) + 1
            return jnp.stack(
                [
                    jnp.resize(getattr(x, field), (longest, *getattr(x, field).shape[1:]))
                    for x in episodes()
                ]
            )

        which, at = state
        cut = jnp.array([episode.is_cut for episode in episodes()])[which]
        over = at + 1 == jnp.array([episode.length for episode in episodes()])[which]
        reached, reward = padded("observation")[which, at + 1], padded("reward")[which, at]
        step = Step.reached((which, at + 1), reached, reward, over & ~cut)
        return step._replace(truncated=over & cut)


STEPS = 16


@functools.cache
def played():
    """A roll-out of all episodes, [T, episodes, …], and the sums and number of what ended."""
    module = PolicyMLPConfig(observation_shape=(2,), num_actions=2, hidden_sizes=()).build()
    environment, key = Recorded(), jax.random.key(0)

    @jax.jit
    def play():
        actors = rollouts.begin(module, environment, len(episodes()), key)
        variables = module.init(key, actors.observation)
        return rollouts.collect(
            module, variables, environment, actors, STEPS, key, whole_episodes=True
        )

    experience, _, ended = play()
    return jax.tree.map(np.asarray, experience), ended


def calculate_returns(params, *, reward, done, discount_mask, **others):
    gamma = np.where(discount_mask == 1, params["gamma"], 1.0)
    steps, _ = played()
    which = 0 if done[-1] else 1
    return {
        "returns": discounted_returns(jnp.asarray(reward), jnp.asarray(gamma)),
        "total_return": np.sum(steps.reward * steps.weights, axis=0)[which],
    }


def as_trax_pads(which, margin):
    """An episode of the roll-out with `margin` steps more, as trax's Trajectory has it."""
    all_steps, _ = played()
    experience = jax.tree.map(lambda x: x[:, which], all_steps)
    counts = experience.weights == 1
    length = counts.sum()
    observation = np.where(counts[:, None], experience.observation, 0)
    if margin:  # the last observation, once more
        observation[length] = experience.reached[length - 1]
    done = experience.terminated & counts
    done[length : length + margin] = True
    result = {
        "observation": observation,
        "reward": experience.reward * experience.weights,
        "done": done,
        "mask": experience.weights,
    }
    return result, length + margin


def to_np(params, **given):
    fields, length = as_trax_pads(0 if given["done"][-1] else 1, params["margin"])
    of_each = np.pad(calculate_returns(params, **given)["returns"], (0, params["margin"]))
    return {**{name: x[:length] for name, x in fields.items()}, "return_": of_each}


def batch(params, *, returns, **given):
    each = [as_trax_pads(2 + i, params["margin"])[0] for i in range(len(params["lengths"]))]
    of_each = np.split(returns, np.cumsum(params["lengths"])[:-1])
    padded = [np.pad(x, (0, STEPS - len(x))) for x in of_each]
    return {name: np.stack([x[name] for x in each]) for name in each[0]} | {
        "return_": np.stack(padded)
    }


# Distributions.


def distribution_of(params):
    if params["distribution"] == "Categorical":
        return Categorical(params["n_categories"], tuple(params.get("shape", ())))
    spread = params.get("learn_std", "fixed")
    return Gaussian(tuple(params["shape"]), params.get("std", 1.0), spread)


def distribution(params, *, inputs, point, ct):
    found = distribution_of(params)
    inputs, point, ct = jnp.asarray(inputs), jnp.asarray(point), jnp.asarray(ct)

    @jax.jit
    def gradients(inputs):
        return (
            jax.grad(lambda x: jnp.sum(ct * found.log_prob(x, point)))(inputs),
            jax.grad(lambda x: jnp.sum(ct * found.entropy(x)))(inputs),
        )

    of_log_prob, of_entropy = gradients(inputs)
    result = {
        "log_prob": found.log_prob(inputs, point),
        "entropy": found.entropy(inputs),
        "mode": found.mode(inputs),
        "n_inputs": found.num_inputs,
        "grad_log_prob": of_log_prob,
        "grad_entropy": of_entropy,
    }
    if isinstance(found, Gaussian):
        mean, std = found.mean_and_std(inputs)
        result |= {"mean": mean, "std": std}
    return result


# Objectives.


def as_floats(x):
    return jnp.asarray(x, float)


def value_loss(params, *, values, returns, mask):
    return {"loss": params["coeff"] * objectives.value_loss(values, returns, as_floats(mask))}


def explained_variance(params, *, values, returns, mask):
    return {"value": objectives.explained_variance(values, returns, as_floats(mask))}


def entropy_loss(params, *, dist_inputs, mask):
    entropy = distribution_of(params).entropy(jnp.asarray(dist_inputs))
    return {"loss": params["coeff"] * objectives.mean(entropy, as_floats(mask))}


def log_prob(params, dist_inputs, actions):
    return distribution_of(params).log_prob(jnp.asarray(dist_inputs), jnp.asarray(actions))


def probs_ratio(params, *, dist_inputs, actions, old_dist_inputs, old_log_probs):
    np.testing.assert_allclose(log_prob(params, old_dist_inputs, actions), old_log_probs)
    return {"ratio": jnp.exp(log_prob(params, dist_inputs, actions) - old_log_probs)}


def approximate_kl(params, *, dist_inputs, actions, mask, old_log_probs):
    now = log_prob(params, dist_inputs, actions)
    return {"value": objectives.approximate_kl(now, old_log_probs, as_floats(mask))}


def preferred_move(params, *, dist_inputs):
    return {"value": jnp.mean(as_floats(distribution_of(params).mode(jnp.asarray(dist_inputs))))}


def clipped(params, *, dist_inputs, actions, old_log_probs, advantages):
    now, clip = log_prob(params, dist_inputs, actions), params["epsilon"]
    ratio = jnp.clip(jnp.exp(now - old_log_probs), 1 - clip, 1 + clip)
    # trax gives both sides of the minimum that is the objective.
    unclipped = objectives.clipped_surrogate(now, old_log_probs, advantages, np.inf)
    other = objectives.clipped_surrogate(jnp.log(ratio), 0 * ratio, advantages, np.inf)
    objective = objectives.clipped_surrogate(now, old_log_probs, advantages, clip)
    np.testing.assert_allclose(objective, jnp.minimum(unclipped, other))
    return {"unclipped": unclipped, "clipped": other}


def advantage_of(params, returns, values, mask, eps=1e-8):
    advantage = jnp.asarray(returns - values)
    if params.get("normalize_advantages"):
        advantage = objectives.normalized(advantage, as_floats(mask), eps)
    return advantage


def ppo_objective(params, *, dist_inputs, actions, old_log_probs, values, returns, mask, **others):
    now = log_prob(params, dist_inputs, actions)
    advantage = advantage_of(params, returns, values, mask)
    return {
        "objective": objectives.clipped_surrogate(now, old_log_probs, advantage, params["epsilon"])
    }


def a2c_objective(params, *, dist_inputs, actions, values, returns, mask, **others):
    now = log_prob(params, dist_inputs, actions)
    advantage = advantage_of(params, returns, values, mask)
    return {"loss": objectives.policy_gradient(now, advantage, as_floats(mask))}


def thresholds_of(params):
    return [(p, w, -np.inf if m is None else m) for p, w, m in params.get("thresholds", ())]


def awr_weights(params, *, advantages):
    weights = jnp.ones(advantages.shape)
    return {
        "weights": objectives.awr_weights(
            jnp.asarray(advantages), weights, params["beta"], thresholds_of(params)
        )
    }


def clip_fraction(params, *, dist_inputs, actions, old_log_probs):
    now, weights = log_prob(params, dist_inputs, actions), jnp.ones(old_log_probs.shape)
    return {"value": objectives.clip_fraction(now, old_log_probs, weights, params["epsilon"])}


# Losses of the agents, by the tasks themselves.


def task_of(kind, params):
    """The task with the loss of one of trax's agents."""
    common = {
        "value_coefficient": params.get("value_loss_coeff", 0.0),
        "entropy_coefficient": params.get("entropy_coeff", 0.0),
        "normalize_advantages": params.get("advantage_normalization", False),
    }
    if kind == "ppo":
        return PPO(clip=params["epsilon"], **common)
    if kind == "awr":
        return AWR(beta=params["beta"], max_weight=params["w_max"], **common)
    return A2C(**common)


def agent(kind, params, given):
    """The loss of an agent, and its gradients."""
    task, policy = task_of(kind, params), distribution_of(params)
    mask, actions = as_floats(given["mask"]), jnp.asarray(given["actions"])
    if "advantages" in given:
        advantage = jnp.asarray(given["advantages"])
        values = target = jnp.zeros_like(advantage)
    else:
        values, target = (jnp.asarray(given[name]) for name in ("values", "returns"))
        advantage = advantage_of(params, target, values, mask)
    old = jnp.asarray(given.get("old_dist_inputs", given["dist_inputs"]))
    lesson = Lesson(
        observation=(),
        first=(),
        action=actions,
        advantage=advantage,
        target=target,
        old_log_prob=policy.log_prob(old, actions),
        weights=mask,
    )

    def loss_of(inputs, values):
        answer = Answer(policy.log_prob(inputs, actions), policy.entropy(inputs), values)
        loss, _ = task.loss_and_figures(answer, lesson)
        if params.get("thresholds"):  # the task has the exponential only
            factor = objectives.awr_weights(advantage, mask, 1.0, thresholds_of(params))
            factor = jnp.minimum(factor, params["w_max"])
            exponential, _ = task.policy_loss(answer, lesson, advantage)
            loss += objectives.policy_gradient(answer.log_prob, factor, mask) - exponential
        return loss

    inputs = jnp.asarray(given["dist_inputs"])
    loss, gradients = jax.value_and_grad(loss_of, argnums=(0, 1))(inputs, values)
    return {"loss": loss, "grad_dist_inputs": gradients[0], "grad_values": gradients[1]}


def a2c(params, **given):
    return agent("a2c", params, given)


def ppo(params, **given):
    return agent("ppo", params, given)


def awr(params, **given):
    return agent("awr", params, given)


def reinforce(params, *, reward, returns, dones, mask, control_mask, actions, dist_inputs):
    counted = as_floats(mask)
    gamma = np.where(dones, 0.0, params["gamma"])
    found = discounted_returns(steps_first(reward * mask), steps_first(gamma)).T
    advantage = found - objectives.mean(found, counted)
    scaled = (
        objectives.normalized(advantage, counted) if params["normalize_advantages"] else advantage
    )
    learnt = counted * control_mask
    policy = distribution_of(params)

    def loss_of(inputs):
        return objectives.policy_gradient(policy.log_prob(inputs, actions), scaled, learnt)

    loss, gradient = jax.value_and_grad(loss_of)(jnp.asarray(dist_inputs))
    weights = scaled * learnt / learnt.sum()
    return {"advantages": advantage, "weights": weights, "loss": loss, "grad_dist_inputs": gradient}


# Scaling.


def normalize(params, *, advantages):
    weights = jnp.ones(advantages.shape)
    found = objectives.normalized(jnp.asarray(advantages), weights, params["epsilon"])
    return {"normalized": params["factor"] * found}


def loop_awr_weights(params, *, advantages):
    weights = jnp.ones(advantages.shape)
    scaled = objectives.normalized(jnp.asarray(advantages), weights, params["epsilon"])
    factor = objectives.awr_weights(scaled, weights, params["beta"])
    return {"weights": jnp.minimum(factor, params["w_max"])}


def l2_loss(params, *, network, targets, mask):
    return {"loss": objectives.value_loss(network, targets, as_floats(mask))}


def normalize_observations(params, *, eval_inputs, **given):
    moments = RunningMoments(eval_inputs.shape[2:])
    variables = moments.init(jax.random.key(0), jnp.asarray(eval_inputs))
    for i in range(params["n"]):
        seen = jnp.asarray(given[f"collect_{i}"])
        _, variables = moments.apply(variables, seen[:, -1], method="add", mutable=True)
    statistics = variables["statistics"]
    return {
        "mean": statistics["mean"],
        "var": statistics["variance"],
        "count": statistics["count"],
        "collect_last": moments.apply(variables, seen),
        "eval": moments.apply(variables, jnp.asarray(eval_inputs)),
    }


KINDS = {
    "advantages": advantages,
    "returns": returns,
    "calculate_returns": calculate_returns,
    "to_np": to_np,
    "batch": batch,
    "distribution": distribution,
    "value_loss": value_loss,
    "explained_variance": explained_variance,
    "entropy_loss": entropy_loss,
    "probs_ratio": probs_ratio,
    "approximate_kl": approximate_kl,
    "preferred_move": preferred_move,
    "clipped": clipped,
    "ppo_objective": ppo_objective,
    "a2c_objective": a2c_objective,
    "awr_weights": awr_weights,
    "a2c": a2c,
    "ppo": ppo,
    "awr": awr,
    "a2c_joint": a2c,
    "ppo_joint": ppo,
    "awr_joint": awr,
    "clip_fraction": clip_fraction,
    "reinforce": reinforce,
    "normalize": normalize,
    "loop_awr_weights": loop_awr_weights,
    "value_targets": value_targets,
    "l2_loss": l2_loss,
    "normalize_observations": normalize_observations,
}


TOLERANCES = {"clip_fraction": 1e-7, "normalize_observations": 1e-7}
"""Of the largest value, where it is not 1e-10: trax computes these partly in float32."""


def far(found, want, where, kind):
    """How far an array is from what it should be, in tolerances."""
    found, want = np.asarray(found), np.asarray(want)
    assert found.shape == want.shape
    want = np.where(where, want, 0.0)
    scale = TOLERANCES.get(kind, 1e-10) * (np.abs(want).max(initial=0) or 1)
    return np.abs(np.where(where, found, 0.0) - want).max(initial=0) / scale


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of(kind):
    compared = Counter()
    with jax.enable_x64(True):
        for case in (case for case in CASES if case["kind"] == kind):
            arrays = arrays_of(case["file"])
            found = KINDS[kind](
                case["params"], **{name: arrays[key] for name, key in case["inputs"].items()}
            )
            for role in ("out", "right", "wrong"):
                for name in case.get(role, ()):
                    if (kind, name) in NOT_HERE:
                        compared[name] += 1
                        continue
                    where = arrays.get(f"{case['id']}/where_{name}", True)
                    distance = far(found[name], arrays[f"{case['id']}/{role}_{name}"], where, kind)
                    if role == "wrong":
                        assert distance > 1e3, f"{case['id']}: {name} is as wrong as trax's"
                    else:
                        assert distance < 1, (
                            f"{case['id']}: {name} is {distance:.3g} tolerances off"
                        )
                        compared[name] += 1
    assert all(compared.values())


def test_every_case_is_compared():
    assert {case["kind"] for case in CASES} == set(KINDS) == set(INDEX["calls"])
    assert len(CASES) == 383
    assert Counter(name for case in CASES for name in case)["id"] == 383
    only = {
        (case["kind"], name)
        for case in CASES
        for role in ("out", "right")
        for name in case.get(role, ())
    }
    assert set(NOT_HERE) <= only


TABLES_NOT_HERE = {
    "n_slices": "trax draws slices of episodes; here roll-outs have one length, T",
    "suffix": "trax runs a policy over the steps so far; here a policy has a memory",
    "create_distribution": "here the spread of continuous actions is learnt, and they are bounded",
}


def test_the_returns_of_episodes_that_are_cut():
    table = INDEX["tables"]["play"]["rows"]
    assert set(INDEX["tables"]) == {"play", *TABLES_NOT_HERE}
    for row in table:
        for piece in row["slices"]:
            rewards = np.zeros(12, np.float32)
            rewards[: piece["steps"]] = piece["rewards"]
            found = discounted_returns(rewards, np.full(12, row["gamma"], np.float32))
            np.testing.assert_allclose(found[: piece["steps"]], piece["returns"], rtol=1e-5)
