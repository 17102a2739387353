"""Speed of reinforcement learning: environments, whole PPO, and several seeds at once.

    pip install -e '.[bench,rl,train]' -c constraints.txt
    python benchmarks/reinforcement.py stepping
    python benchmarks/reinforcement.py ppo [--settings recipe | rl-zoo]
    python benchmarks/reinforcement.py ppo --cleanrl ppo.py --cleanrl-python PYTHON
    python benchmarks/reinforcement.py seeds [--commands]

* `stepping`: steps a second of 1,024 CartPoles with random actions and auto-reset, ours in one
  compiled loop, beside gymnasium's own vector CartPole in NumPy. Both draw their actions inside.
* `ppo`: environment steps a second of whole iterations of PPO on CartPole-v1, roll-outs and
  learning, beside stable-baselines3 and, where its file is given, CleanRL: the same environments,
  steps, epochs, minibatches and networks. Nobody evaluates or saves; CleanRL's figure is the SPS
  that it prints itself. It takes a Python with its requirements and without TensorFlow, which
  TensorBoard would import, and whose LLVM is another one than PyTorch's.
* `seeds`: seconds of a step of one seed, and of ten in one program; with `--commands` those of
  `zoo train ppo_cartpole` with one and with ten, from the start of the process to its end.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timing


@dataclass(frozen=True)
class Settings:
    """Those of PPO that its peers have under other names."""

    envs: int
    steps: int
    epochs: int
    minibatches: int
    gamma: float
    lambda_: float
    learning_rate: float
    entropy: float


SETTINGS = {
    "cleanrl": Settings(4, 128, 4, 4, 0.99, 0.95, 2.5e-4, 0.01),
    "recipe": Settings(8, 32, 4, 4, 0.98, 0.8, 2e-3, 0.0),
    "rl-zoo": Settings(8, 32, 20, 1, 0.98, 0.8, 1e-3, 0.0),
}
"""`cleanrl`: the defaults of CleanRL's ppo.py. `recipe`: those of `ppo_cartpole`. `rl-zoo`: those
of rl-baselines3-zoo for CartPole, whose 20 updates with 256 rows are mostly matrix products."""


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


def recipe_of(settings: Settings) -> Any:
    """The recipe with these settings."""
    import zoo
    from zoo.train import PPO

    recipe = zoo.recipe("ppo_cartpole")
    task = PPO(
        num_steps=settings.steps,
        epochs=settings.epochs,
        minibatches=settings.minibatches,
        gamma=settings.gamma,
        lambda_=settings.lambda_,
        entropy_coefficient=settings.entropy,
    )
    optimizer = dataclasses.replace(recipe.optimizer, learning_rate=settings.learning_rate)
    return dataclasses.replace(recipe, task=task, optimizer=optimizer, batch_size=settings.envs)


def our_ppo(
    settings: Settings | None, iterations: int, threads: int, seeds: int = 1
) -> Callable[[], Any]:
    """A function that does so many iterations with the step that `zoo train` compiles.

    Args:
      settings: of PPO; None: those of `ppo_cartpole`.
      iterations: of a call.
      threads: that it may use.
      seeds: trained at once in one program; 1: as a run of one seed.
    """
    timing.use_threads(threads)
    import jax

    import zoo
    from zoo.train import sharding, team, update
    from zoo.train.setup import set_up
    from zoo.train.state import create_state

    if seeds > 1:
        team.use_cores()
    setup = set_up(recipe_of(settings) if settings else zoo.recipe("ppo_cartpole"))
    recipe, module, mesh = setup.recipe, setup.module, setup.mesh
    if seeds == 1:
        task, optimizer = recipe.task, recipe.transformation()
        carry = task.initial_carry(recipe.model, recipe.batch_size, 0)
        state = create_state(module, recipe.model, optimizer, 0, mesh, carry=carry)
        tally = sharding.copied(update.empty_tally(module, task, optimizer, state, {}), mesh)
        one = update.make_train_step(module, task, optimizer, state)

        def step(state: Any, tally: Any) -> Any:
            return one(state, tally, {})

    else:
        several = team.Team(setup, range(seeds))
        state, _ = team.unpacked(several.begin())
        step, tally = several.step, None

    def go() -> None:
        nonlocal state, tally
        for _ in range(iterations):
            state, tally = step(state, tally)
        jax.block_until_ready(state)

    return go


def stable_baselines(settings: Settings, iterations: int, threads: int) -> Callable[[], Any]:
    """The same by stable-baselines3: its networks are two of 64-64 with tanh by default, too."""
    timing.use_threads(threads)
    # Its logger would import TensorBoard, which imports TensorFlow, whose LLVM is another one than
    # PyTorch's: the process would end.
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(threads)
    rollout = settings.envs * settings.steps
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=settings.envs),
        n_steps=settings.steps,
        batch_size=rollout // settings.minibatches,
        n_epochs=settings.epochs,
        gamma=settings.gamma,
        gae_lambda=settings.lambda_,
        learning_rate=settings.learning_rate,
        ent_coef=settings.entropy,
        device="cpu",
    )

    def go() -> None:
        model.learn(iterations * rollout, reset_num_timesteps=False)

    return go


def clean_rl(
    command: list[str], settings: Settings, iterations: int, threads: int, rounds: int
) -> list[float]:
    """Seconds of so many iterations of CleanRL's file, by the last speed that it prints itself."""
    total = iterations * settings.envs * settings.steps
    flags = {
        "total-timesteps": total,
        "num-envs": settings.envs,
        "num-steps": settings.steps,
        "update-epochs": settings.epochs,
        "num-minibatches": settings.minibatches,
        "gamma": settings.gamma,
        "gae-lambda": settings.lambda_,
        "learning-rate": settings.learning_rate,
        "ent-coef": settings.entropy,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
    words = ["taskset", "-c", cores, *command, *words]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:  # it writes runs/ where it is started
            ran = subprocess.run(
                words, cwd=folder, env=hidden, capture_output=True, text=True, check=True
            )
        seconds.append(total / float(re.findall(r"SPS: (\d+)", ran.stdout)[-1]))
    return seconds


def ppo(arguments: argparse.Namespace) -> None:
    """Whole iterations of PPO on CartPole."""
    settings, iterations = SETTINGS[arguments.settings], arguments.iterations
    makers = {"zoo": our_ppo, "stable-baselines3": stable_baselines}
    systems = {
        name: timing.System(functools.partial(make, settings, iterations, arguments.threads))
        for name, make in makers.items()
    }
    seconds = timing.in_turns(systems, arguments.rounds)
    for system in systems.values():
        system.close()
    peers = ["stable-baselines3"]
    if arguments.cleanrl:
        peers.append("CleanRL")
        command = [arguments.cleanrl_python, os.path.abspath(arguments.cleanrl)]
        seconds["CleanRL"] = clean_rl(
            command, settings, iterations, arguments.threads, arguments.rounds
        )
    steps = iterations * settings.envs * settings.steps
    title = f"PPO on CartPole, {arguments.settings}: {settings}, {arguments.threads} threads"
    timing.print_rates(title, steps, seconds, peers, unit="environment steps")


def seeds(arguments: argparse.Namespace) -> None:
    """A step of one seed and of several; and whole commands."""
    number, iterations = arguments.seeds, arguments.iterations
    systems = {
        f"{count} seed(s)": timing.System(
            functools.partial(our_ppo, None, iterations, arguments.threads, count)
        )
        for count in (1, number)
    }
    seconds = timing.in_turns(systems, arguments.rounds)
    for system in systems.values():
        system.close()
    medians = [statistics.median(times) / iterations for times in seconds.values()]
    one, all_ = (1e3 * seconds for seconds in medians)
    print(
        f"\na step of ppo_cartpole, {arguments.threads} threads: one seed {one:.2f} ms, {number} "
        f"seeds {all_:.2f} ms: {all_ / one:.2f} times as long"
    )
    if arguments.commands:
        _commands(number)


def _commands(number: int) -> None:
    """Seconds of whole commands, a second time each: the first one fills the compilation cache."""
    found = []
    for flags in ([], ["--seeds", str(number)]):
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                words = [sys.executable, "-m", "zoo.cli", "train", "ppo_cartpole", "--quiet"]
                began = time.perf_counter()
                subprocess.run([*words, "--workdir", f"{folder}/run", *flags], check=True)
                last = time.perf_counter() - began
        found.append(last)
    print(
        f"zoo train ppo_cartpole: one seed {found[0]:.1f} s, {number} seeds {found[1]:.1f} s: "
        f"{found[1] / found[0]:.2f} times as long"
    )


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
    part = parts.add_parser("ppo", help="whole iterations of PPO, beside its peers")
    part.add_argument("--settings", choices=SETTINGS, default="cleanrl")
    part.add_argument("--cleanrl", metavar="PATH", help="CleanRL's ppo.py, to measure it too")
    part.add_argument("--cleanrl-python", metavar="PATH", default=sys.executable)
    part.add_argument("--iterations", type=int, default=40, help="for a figure")
    part.add_argument("--rounds", type=int, default=5)
    part.add_argument("--threads", type=int, default=2)
    part.set_defaults(run=ppo)
    part = parts.add_parser("seeds", help="one seed beside several in one program")
    part.add_argument("--seeds", type=int, default=10)
    part.add_argument("--commands", action="store_true", help="whole commands too (minutes)")
    part.add_argument("--iterations", type=int, default=20, help="for a figure")
    part.add_argument("--rounds", type=int, default=9)
    part.add_argument("--threads", type=int, default=2)
    part.set_defaults(run=seeds)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
