"""Advantages: how much better a step turned out than the value network expected.

    A = estimate of the discounted rewards from here on - V

Pure functions of a piece of experience. Steps are along the first axis, environments along the
others: [T, …]. At each step

    reward       what the environment paid for it
    value        V of the observation in which the action was chosen
    next_value   V of the observation that the step reached: at an episode's end that of its last
                 observation, elsewhere `value` of the next step
    terminated   whether the episode ended there: nothing follows, so nothing is added
    truncated    whether it was only cut there, by a time limit: what would have followed is worth
                 `next_value`. The last step of the piece is cut too, whatever this says.

`gamma` is the discount of what follows a step, a number or one for each step [T, …]. The target of
the value network is A + V.

trax (`trax.rl.advantages`) knows one `done` for both ends, drops the baseline V there in
`monte_carlo`, and in `td_k` does not see an end inside the k steps.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Steps: TypeAlias = Float[Array, "T ..."]
Flags: TypeAlias = Bool[Array, "T ..."]

Estimator = Literal["monte_carlo", "td_k", "td_lambda", "gae"]


def gae(
    reward: Steps,
    value: Steps,
    next_value: Steps,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float | Steps,
    lambda_: float | Steps,
) -> Steps:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16).

    δ = r + γ V' - V, and A = δ + γ λ A' within an episode: the mean of the k-step estimates for all
    k, weighted by λ to the power of k. λ = 0 gives δ, λ = 1 `monte_carlo`.
    """
    delta = reward + gamma * jnp.where(terminated, 0.0, next_value) - value
    kept = jnp.where(terminated | truncated, 0.0, gamma * jnp.asarray(lambda_, value.dtype))

    def step(after: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, kept = at
        advantage = delta + kept * after
        return advantage, advantage

    start = jnp.zeros_like(delta[0])
    _, advantages = jax.lax.scan(step, start, (delta, kept), reverse=True)
    return advantages


td_lambda = gae
"""TD(λ) (Sutton & Barto 2018, section 12.1): the λ-return less V obeys the recursion of `gae`."""


def monte_carlo(
    reward: Steps,
    value: Steps,
    next_value: Steps,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float | Steps,
) -> Steps:
    """The discounted sum of the rewards up to the end, less V."""
    return gae(reward, value, next_value, terminated, truncated, gamma=gamma, lambda_=1.0)


def td_k(
    reward: Steps,
    value: Steps,
    next_value: Steps,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float | Steps,
    k: int,
) -> Steps:
    """The discounted rewards of k steps and the value of where they lead, less V.

    Fewer steps where the episode or the piece ends before.
    """
    follows = jnp.where(terminated, 0.0, next_value)
    cut = (terminated | truncated).at[-1].set(True)
    estimate = reward + gamma * follows
    for _ in range(k - 1):
        later = jnp.concatenate([estimate[1:], follows[-1:]])
        estimate = reward + gamma * jnp.where(cut, follows, later)
    return estimate - value


def discounted_returns(reward: Steps, gamma: float | Steps) -> Steps:
    """The discounted sum of the rewards from each step on: G = r + γ G'.

    Args:
      reward: [T, …], of one episode. Integers are taken as floats.
      gamma: the discount; where one for each step is 0, an episode ends.
    """
    reward = jnp.asarray(reward, jnp.result_type(reward, jnp.float32))
    nothing, never = jnp.zeros_like(reward), jnp.zeros(reward.shape, bool)
    return monte_carlo(reward, nothing, nothing, never, never, gamma=gamma)
