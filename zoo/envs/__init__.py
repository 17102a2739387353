"""Environments for reinforcement learning: pure JAX, and those of gymnasium.

>>> env = zoo.envs.create("cartpole")
>>> state, observation = env.reset(jax.random.key(0))
>>> env.step(jax.random.key(1), state, 1).reward
Array(1., dtype=float32)
"""

from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo.envs.acrobot import Acrobot as Acrobot
    from zoo.envs.base import AutoReset as AutoReset
    from zoo.envs.base import Box as Box
    from zoo.envs.base import Discrete as Discrete
    from zoo.envs.base import Environment as Environment
    from zoo.envs.base import Masked as Masked
    from zoo.envs.base import Space as Space
    from zoo.envs.base import Step as Step
    from zoo.envs.base import TimeLimit as TimeLimit
    from zoo.envs.base import UniformStart as UniformStart
    from zoo.envs.base import Wrapper as Wrapper
    from zoo.envs.cartpole import CartPole as CartPole
    from zoo.envs.drawing import save_gif as save_gif
    from zoo.envs.gym import GymEnvironment as GymEnvironment
    from zoo.envs.gym import GymVector as GymVector
    from zoo.envs.gym import gym_errors as gym_errors
    from zoo.envs.mountain_car import MountainCar as MountainCar
    from zoo.envs.names import create as create
    from zoo.envs.names import import_environments as import_environments
    from zoo.envs.pendulum import Pendulum as Pendulum
    from zoo.envs.playing import Episode as Episode
    from zoo.envs.playing import play as play
    from zoo.envs.playing import record as record
else:
    __getattr__, __dir__, __all__ = attach(__name__)
