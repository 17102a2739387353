"""Environments for reinforcement learning: pure JAX, and those of gymnasium.

>>> env = zoo.envs.create("cartpole")
>>> state, observation = env.reset(jax.random.key(0))
>>> env.step(jax.random.key(1), state, 1).reward
Array(1., dtype=float32)
"""

from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo.envs.base import AutoReset as AutoReset
    from zoo.envs.base import Box as Box
    from zoo.envs.base import Discrete as Discrete
    from zoo.envs.base import Environment as Environment
    from zoo.envs.base import Masked as Masked
    from zoo.envs.base import Space as Space
    from zoo.envs.base import Step as Step
    from zoo.envs.base import TimeLimit as TimeLimit
    from zoo.envs.base import Wrapper as Wrapper
    from zoo.envs.cartpole import CartPole as CartPole
    from zoo.envs.names import create as create
    from zoo.envs.names import import_environments as import_environments
else:
    __getattr__, __dir__, __all__ = attach(__name__)
