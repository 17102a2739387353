"""An environment of your own: a dot on a line that goes left, stays or goes right, to a goal.

    python examples/own_environment.py

In the shell:

    zoo train examples/own_environment.py:line_ppo --workdir runs/line
    zoo play runs/line --code examples/own_environment.py
"""

import dataclasses
from typing import NamedTuple

import jax
from jax import numpy as jnp

import zoo
from zoo.envs import Box, Discrete, Step, TimeLimit, UniformStart
from zoo.registry import environments
from zoo.train import PPO, Episodes


class LineState(NamedTuple):
    position: jax.Array
    goal: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line(UniformStart):
    """Observation: position and goal, in ±1. Each step costs the distance between them."""

    speed: float = 0.2

    @property
    def observation_space(self):
        return Box((2,), -1.0, 1.0)

    @property
    def action_space(self):
        return Discrete(3)

    @property
    def start_space(self):
        return Box((2,), -1.0, 1.0)

    def begin(self, start):
        return LineState(*start), start

    def step(self, key, state, action):
        position = jnp.clip(state.position + self.speed * (action - 1), -1.0, 1.0)
        state, reward = LineState(position, state.goal), -abs(position - state.goal)
        return Step.reached(state, jnp.stack(state), reward, terminated=jnp.zeros((), bool))


@environments.register
def line():
    """A dot that goes to a goal within 20 steps."""
    return TimeLimit(env=Line(), limit=20)


def line_ppo():
    """PPO on the line, in seconds."""
    return dataclasses.replace(
        zoo.recipe("ppo_cartpole"),
        data=Episodes(environment="line"),
        task=PPO(num_steps=20, gamma=0.9, minibatches=1),
        batch_size=32,
        steps=60,
        log_every=20,
    )


if __name__ == "__main__":
    zoo.fit(line_ppo(), "runs/line")
    agent = zoo.load("runs/line")
    print(agent.play(episodes=100))
    print(agent.act([-0.5, 0.5]), agent.act([0.5, -0.5]))  # 2 goes right, 0 goes left
