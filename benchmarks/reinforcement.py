"""Speed of reinforcement learning: environments, and later whole algorithms.

    pip install -e '.[rl,train]' -c constraints.txt
    python benchmarks/reinforcement.py stepping

* `stepping`: steps a second of 1,024 CartPoles with random actions and auto-reset, ours in one
  compiled loop, beside gymnasium's own vector CartPole in NumPy. Both draw their actions inside.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import timing


def ours(num: int, steps: int, threads: int) -> Callable[[], Any]:
    """A function that does `steps` random steps in `num` CartPoles."""
    timing.use_threads(threads)
    import jax

    import zoo

    env = zoo.envs.create("cartpole")

    def step(carry: Any, key: jax.Array) -> Any:
        state, total = carry
        action_key, step_key = jax.random.split(key)
        done = env.step_all(step_key, state, env.action_space.sample(action_key, num))
        # All that a learner reads is read, or the compiler would leave it out.
        read = done.observation.sum(1) + done.next_observation.sum(1) + done.reward
        return (done.state, total + read + done.terminated + done.truncated), None

    @jax.jit
    def run(state: Any, key: jax.Array) -> Any:
        total = jax.numpy.zeros(num)
        return jax.lax.scan(step, (state, total), jax.random.split(key, steps))[0]

    state, _ = env.reset_all(jax.random.key(0), num)
    key = jax.random.key(1)

    def go() -> None:
        jax.block_until_ready(run(state, key))

    return go


def gymnasiums(num: int, steps: int, threads: int) -> Callable[[], Any]:
    """The same in gymnasium's CartPole, which is a vector of its own."""
    timing.use_threads(threads)
    import gymnasium
    import numpy as np

    vector = gymnasium.make_vec(
        "CartPole-v1", num_envs=num, vectorization_mode="vector_entry_point"
    )
    vector.reset(seed=0)
    random = np.random.default_rng(0)

    def go() -> None:
        for _ in range(steps):
            vector.step(random.integers(0, 2, num))

    return go


def stepping(arguments: argparse.Namespace) -> None:
    """Random steps of many CartPoles."""
    num, steps = arguments.envs, arguments.steps
    makers = {"zoo": ours, "gymnasium's vector": gymnasiums}
    systems = {
        name: timing.System(functools.partial(make, num, steps, arguments.threads))
        for name, make in makers.items()
    }
    seconds = timing.in_turns(systems, arguments.rounds)
    title = f"{num:,} CartPoles, {steps:,} random steps each, {arguments.threads} threads"
    timing.print_rates(title, num * steps, seconds, ["gymnasium's vector"], unit="steps")
    for system in systems.values():
        system.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("stepping", help="steps of environments, with random actions")
    part.add_argument("--envs", type=int, default=1024, help="environments side by side")
    part.add_argument("--steps", type=int, default=1000, help="of each environment, for a figure")
    part.add_argument("--rounds", type=int, default=9)
    part.add_argument("--threads", type=int, default=2)
    part.set_defaults(run=stepping)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
