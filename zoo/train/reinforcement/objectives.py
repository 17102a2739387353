"""Objectives of reinforcement learning, as functions of what a policy said and what came of it.

All take the weight of each step, 0 where it is padding, and means are over steps of weight 1: a sum
divided by the sum of the weights. Losses are to be minimised. Arrays have any shape, [...], the
same for all arguments.

trax averages some of these over padding, and its entropies and its approximate divergence are those
of other quantities; here they are what their names say.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

Values = Float[Array, "..."]


def mean(values: Values, weights: Values) -> Float[Array, ""]:
    """The mean over the steps that count; 0 where none does."""
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1e-8)


def normalized(values: Values, weights: Values, eps: float = 1e-5) -> Values:
    """(x - mean) / (standard deviation + eps), with the population's standard deviation."""
    centred = values - mean(values, weights)
    return centred / (jnp.sqrt(mean(centred**2, weights)) + eps)


def policy_gradient(log_prob: Values, advantage: Values, weights: Values) -> Float[Array, ""]:
    """-log π(a) A (Williams 1992): the loss of REINFORCE and of A2C."""
    return -mean(log_prob * advantage, weights)


def clipped_surrogate(
    log_prob: Values, old_log_prob: Values, advantage: Values, clip: float
) -> Values:
    """The objective of PPO for each step, to be maximised (Schulman et al. 2017, equation 7).

    min(ρ A, clip(ρ, 1 - clip, 1 + clip) A), where ρ = π(a) / π_old(a).
    """
    ratio = jnp.exp(log_prob - old_log_prob)
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def awr_weights(
    advantage: Values,
    weights: Values,
    beta: float,
    thresholds: Sequence[tuple[float, float, float]] = (),
) -> Values:
    """The weights of advantage-weighted regression, exp(A / β) (Peng et al. 2019, equation 10).

    Args:
      advantage: A.
      weights: 0 at padding.
      beta: β. Large: all steps count alike, which is behavioural cloning.
      thresholds: steps instead of the exponential: triples (percentile, weight, minimum), of which
        each adds its weight where A reaches that percentile of the advantages, and the minimum.
    """
    if not thresholds:
        return jnp.exp(advantage / beta)
    result = jnp.zeros_like(advantage)
    counted = jnp.where(weights > 0, advantage, jnp.nan)
    for percentile, weight, least in thresholds:
        threshold = jnp.maximum(jnp.nanpercentile(counted, percentile), least)
        result += weight * (advantage >= threshold)
    return result


def value_loss(value: Values, target: Values, weights: Values) -> Float[Array, ""]:
    """The mean of (target - V)², without a half."""
    return mean((target - value) ** 2, weights)


def approximate_kl(log_prob: Values, old_log_prob: Values, weights: Values) -> Float[Array, ""]:
    """½ (log π - log π_old)², on average: near the divergence of the two where they are close."""
    return mean(0.5 * (log_prob - old_log_prob) ** 2, weights)


def clip_fraction(
    log_prob: Values, old_log_prob: Values, weights: Values, clip: float
) -> Float[Array, ""]:
    """The share of the steps whose ratio is outside of 1 ± clip."""
    ratio = jnp.exp(log_prob - old_log_prob)
    return mean((jnp.abs(ratio - 1) > clip).astype(ratio.dtype), weights)


def explained_variance(value: Values, target: Values, weights: Values) -> Float[Array, ""]:
    """1 - Var(target - V) / Var(target): 1 of a perfect value network, 0 of a constant one."""
    error, spread = ((x - mean(x, weights)) ** 2 for x in (target - value, target))
    return 1 - mean(error, weights) / jnp.maximum(mean(spread, weights), 1e-8)
