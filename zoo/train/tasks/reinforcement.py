"""Reinforcement learning: REINFORCE, A2C, PPO and AWR.

A step of a run is one iteration: the policy acts for T steps in each of E environments (the
recipe's `batch_size`), the advantages of its actions are estimated, and it is improved by K passes
over what was experienced, in M minibatches each. All of it is one compiled program, and all that it
remembers is in the run's state; the loop knows nothing of it.

Shapes: `T` steps, `E` environments; a minibatch has `L` steps of `S` sequences. A policy without
memory learns from single steps (L is 1), one with a memory from whole roll-outs (L is T).
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from zoo import envs, xla
from zoo.config import ConfigError, check_size
from zoo.models.base import ModelConfig
from zoo.models.policy import STATISTICS, PolicyConfig, PolicyLSTMConfig
from zoo.pipelines.base import DataConfig
from zoo.predictors import Agent
from zoo.predictors.agent import check_spaces, play
from zoo.storage.checkpoints import Best
from zoo.train.losses import Sums
from zoo.train.metrics import Batch, Metric, MetricFunction
from zoo.train.reinforcement import estimators, objectives, rollouts
from zoo.train.reinforcement.episodes import Episodes
from zoo.train.reinforcement.estimators import Estimator
from zoo.train.reinforcement.rollouts import Actors, Experience, Replay, RewardScale
from zoo.train.state import TrainState, all_finite
from zoo.train.tasks.base import Task, Variables


@struct.dataclass
class Carry:
    """What an iteration hands to the next, beside the weights."""

    actors: Actors
    scale: RewardScale | None
    replay: Replay | None
    spoilt: Int[Array, "2"]
    """Observations and rewards of the environments that were not finite, until now."""


@struct.dataclass
class Lesson:
    """Experience with what follows from it, as it is learnt from. All arrays are [L, S, …]."""

    observation: Array
    first: Array
    action: Array
    advantage: Array
    target: Array
    """What the value should have been."""
    old_log_prob: Array
    weights: Array


@struct.dataclass
class Answer:
    """What the policy says of the actions of a lesson, [L, S]."""

    log_prob: Array
    entropy: Array
    value: Array


Figures = dict[str, Float[Array, ""]]


@dataclass(frozen=True, kw_only=True)
class Control(Task):
    """What the algorithms share. Each says what its policy loss is."""

    predictor = Agent
    best: ClassVar[Best] = Best("validation/return", "max")

    environment: str | None = None
    """The environment's name; the data decides it."""
    num_steps: int = 128
    """T: steps of a roll-out in each environment."""
    gamma: float = 0.99
    """The discount: what a reward of one step later is worth."""
    estimator: Estimator = "gae"
    """How advantages are estimated, see `zoo.train.reinforcement.estimators`."""
    lambda_: float = 0.95
    """λ of `gae` and `td_lambda`."""
    td_steps: int = 5
    """k of `td_k`."""
    baseline: Literal["value", "mean"] = "value"
    """What an action is compared with: the value network, or, as in trax's REINFORCE, the mean of
    all returns of the roll-out."""
    normalize_advantages: bool = True
    """Give the advantages of each minibatch mean 0 and standard deviation 1."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted returns."""
    whole_episodes: bool = False
    """Begin new episodes with each roll-out, and learn only from the first one of each environment;
    otherwise a roll-out goes on where the one before ended."""
    value_coefficient: float = 0.5
    """Weight of the value's loss, the mean squared error."""
    entropy_coefficient: float = 0.0
    """Weight of the policy's entropy, which is rewarded."""
    epochs: int = 1
    """K: passes over the experience of an iteration."""
    minibatches: int = 1
    """M: updates in each of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_steps", "td_steps", "epochs", "minibatches"):
            check_size(f"task.{name}", getattr(self, name))
        if not 0 <= self.gamma <= 1:
            raise ConfigError(f"task.gamma is {self.gamma}; a discount is in 0 … 1")
        if not 0 <= self.lambda_ <= 1:
            raise ConfigError(f"task.lambda_ is {self.lambda_}; it is in 0 … 1")

    # The run.

    @property
    def updates_per_step(self) -> int:
        return self.epochs * self.minibatches

    def check_data(self, config: DataConfig) -> None:
        if not isinstance(config, Episodes):
            raise ConfigError(
                f"{type(self).__name__} learns in an environment, and the data is a "
                f"{type(config).__name__}; take data=Episodes(environment=…)"
            )
        if self.environment not in (None, config.environment):
            raise ConfigError(
                f"task.environment is {self.environment!r}, but data.environment is "
                f"{config.environment!r}; leave task.environment out, and the data decides it"
            )

    def check_model(self, config: ModelConfig) -> None:
        if not isinstance(config, PolicyConfig):
            raise ConfigError(
                f"{type(self).__name__} trains a policy, and the model is a "
                f"{type(config).__name__}; take one such as policy_mlp"
            )
        if self.environment is not None:
            check_spaces(config, self.environment_())

    def environment_(self) -> envs.Environment:
        """The environment.

        Raises:
          ConfigError: it is not decided yet.
        """
        if self.environment is None:
            raise ConfigError("task.environment is not set: resolve the recipe, whose data decides")
        return envs.create(self.environment)

    def initial_carry(self, config: ModelConfig, batch_size: int, seed: int) -> Any:
        """The environments at the beginning of their first episodes; and an empty replay.

        Raises:
          ConfigError: the minibatches do not divide what is experienced.
        """
        self._check_minibatches(config, batch_size)
        module, environment = config.build(), self.environment_()
        key = jax.random.fold_in(jax.random.key(seed), 1)
        actors = rollouts.begin(module, environment, batch_size, key)
        scale = RewardScale.begin(batch_size) if self.normalize_rewards else None
        none = jnp.zeros(2, jnp.int32)
        return Carry(actors, scale, self._empty_replay(config, actors), none)

    def _empty_replay(self, config: ModelConfig, actors: Actors) -> Replay | None:
        return None

    def failures(self) -> contextlib.AbstractContextManager[None]:
        """See `Task.failures`: errors of gymnasium's environments."""
        return envs.gym_errors()

    def why_not_finite(self, carry: Carry) -> str:
        """See `Task.why_not_finite`."""
        observations, rewards = (int(number) for number in carry.spoilt)
        if not observations and not rewards:
            return ""
        what = "an observation" if observations else "a reward"
        return f"the environment {self.environment} gave {what} that is NaN or infinite"

    def _check_minibatches(self, config: ModelConfig, batch_size: int) -> None:
        items = self._sequences(config, batch_size)
        if items % self.minibatches:
            steps = batch_size * self.num_steps
            what = (
                f"{batch_size} environments, whose roll-outs stay whole for a policy with a memory"
                if isinstance(config, PolicyLSTMConfig)
                else f"{items:,} steps ({batch_size} environments x {self.num_steps}"
                + (")" if items == steps else f" x {items // steps} roll-outs)")
            )
            raise ConfigError(
                f"task.minibatches is {self.minibatches}, which does not divide {what}; take a "
                "divisor of that"
            )

    def _sequences(self, config: ModelConfig, batch_size: int) -> int:
        """The number of sequences that minibatches are drawn from."""
        return batch_size * (1 if isinstance(config, PolicyLSTMConfig) else self.num_steps)

    # One iteration.

    def update(
        self,
        module: nn.Module,
        optimizer: optax.GradientTransformation,
        state: TrainState,
        batch: Batch,
    ) -> tuple[TrainState, jax.Array, Any]:
        """See `Task.update`: one iteration. The batch is empty."""
        act_key, learn_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        before: Carry = state.carry
        experience, actors, ended = rollouts.collect(
            module,
            state.variables,
            self.environment_(),
            before.actors,
            self.num_steps,
            act_key,
            whole_episodes=self.whole_episodes,
        )
        seen, scale, replay = experience.observation, before.scale, before.replay
        # A policy that is not finite spoils what it touches: the environment is not to blame.
        spoilt = before.spoilt + jnp.where(all_finite(state.params), experience.spoilt(), 0)
        if scale is not None:
            scale, experience = scale.scaled(experience, self.gamma)
        if replay is not None:
            replay = replay.with_new(experience)
            experience = replay.experience
        learn: Callable[..., Any] = functools.partial(self.learn, module, optimizer)
        if self.updates_per_step > 1:
            learn = xla.one_by_one(learn)  # several seeds at once: the updates take nearly all time
        params, optimizer_state, figures = learn(state, experience, learn_key)
        variables = {**state.variables, "params": params}
        if STATISTICS in variables:
            # After learning, so that a policy is improved as it acted.
            _, changed = module.apply(variables, seen, method="observe", mutable=[STATISTICS])
            variables |= changed
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            variables=variables,
            optimizer=optimizer_state,
            carry=Carry(actors, scale, replay, spoilt),
        )
        taken = (actors.steps - before.actors.steps).astype(jnp.float32)
        output = {
            **figures,
            "return": (ended.rewards, ended.number),
            "steps": (taken, jnp.ones(())),
        }
        # Nothing may be learnt from NaN, not even where it would not reach the loss.
        return new, jnp.where(jnp.any(spoilt > 0), jnp.nan, figures["loss"][0]), output

    def learn(
        self,
        module: nn.Module,
        optimizer: optax.GradientTransformation,
        state: TrainState,
        experience: Experience,
        key: PRNGKeyArray,
    ) -> tuple[Any, Any, dict[str, Sums]]:
        """Parameters and optimizer after K passes over the experience, and figures for the log."""
        collections = {name: part for name, part in state.variables.items() if name != "params"}
        lesson, memory, explained = self.estimate(module, state.variables, experience)

        def loss_of(params: Any, lesson: Lesson, memory: Any) -> tuple[jax.Array, Figures]:
            answer, _ = answers(module, {"params": params, **collections}, lesson, memory)
            return self.loss_and_figures(answer, lesson)

        def improve(at: tuple[Any, Any], chosen: Array) -> tuple[tuple[Any, Any], Figures]:
            params, optimizer_state = at
            part = jax.tree.map(lambda x: x[:, chosen], lesson)
            memory_of = jax.tree.map(lambda x: x[chosen], memory)
            (loss, figures), gradients = jax.value_and_grad(loss_of, has_aux=True)(
                params, part, memory_of
            )
            updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
            return (optax.apply_updates(params, updates), optimizer_state), {
                "loss": loss,
                **figures,
            }

        number = lesson.weights.shape[1]
        keys = jax.random.split(key, self.epochs)
        order = jax.vmap(lambda key: jax.random.permutation(key, number))(keys)
        order = order.reshape(self.updates_per_step, number // self.minibatches)
        (params, optimizer_state), figures = jax.lax.scan(
            improve, (state.params, state.optimizer), order
        )
        one = jnp.ones(())
        means = {name: (jnp.mean(values), one) for name, values in figures.items()}
        return params, optimizer_state, {**means, "explained_variance": (explained, one)}

    def estimate(
        self, module: nn.Module, variables: Variables, experience: Experience
    ) -> tuple[Lesson, Any, jax.Array]:
        """What is learnt from the experience, the memories to begin with, and how much of the
        returns the values explained."""
        answer, memories = answers(module, variables, experience, experience.memory)
        reached, _ = module.apply(
            variables,
            _flat(experience.reached),
            jax.tree.map(_flat, memories),
            method="step",
        )
        arguments = (
            experience.reward,
            answer.value,
            reached.value.reshape(experience.reward.shape),
            experience.terminated,
            experience.truncated,
        )
        advantage = self._advantage(*arguments)
        target, weights = advantage + answer.value, experience.weights
        explained = objectives.explained_variance(answer.value, target, weights)
        if self.baseline == "mean":
            advantage = target - objectives.mean(target, weights)
        lesson = Lesson(
            experience.observation,
            experience.first,
            experience.action,
            jax.lax.stop_gradient(advantage),
            jax.lax.stop_gradient(target),
            answer.log_prob,
            weights,
        )
        if isinstance(module.config, PolicyLSTMConfig):
            return lesson, experience.memory, explained
        return jax.tree.map(lambda x: _flat(x)[None], lesson), (), explained

    def _advantage(self, *arguments: Any) -> Array:
        if self.estimator == "monte_carlo":
            return estimators.monte_carlo(*arguments, gamma=self.gamma)
        if self.estimator == "td_k":
            return estimators.td_k(*arguments, gamma=self.gamma, k=self.td_steps)
        return estimators.gae(*arguments, gamma=self.gamma, lambda_=self.lambda_)

    def loss_and_figures(self, answer: Answer, lesson: Lesson) -> tuple[jax.Array, Figures]:
        """The loss of a minibatch, and figures for the log."""
        weights = lesson.weights
        advantage = lesson.advantage
        if self.normalize_advantages:
            advantage = objectives.normalized(advantage, weights)
        policy_loss, figures = self.policy_loss(answer, lesson, advantage)
        value_loss = objectives.value_loss(answer.value, lesson.target, weights)
        entropy = objectives.mean(answer.entropy, weights)
        loss = (
            policy_loss + self.value_coefficient * value_loss - self.entropy_coefficient * entropy
        )
        return loss, {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            **figures,
        }

    @abc.abstractmethod
    def policy_loss(
        self, answer: Answer, lesson: Lesson, advantage: Float[Array, "L S"]
    ) -> tuple[jax.Array, Figures]:
        """The part of the loss that improves the policy, and figures of its own.

        Args:
          answer: what the policy says now.
          lesson: what is learnt from.
          advantage: its advantages, normalised if that is wanted.
        """

    # Metrics.

    def loss(self, output: Any, batch: Batch) -> Sums:
        """In training the mean loss of an iteration's updates."""
        sums: Sums = output["loss"]
        return sums

    def training_metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """Losses and figures of the updates, `return`, the mean undiscounted return of the episodes
        that ended, and `environment_steps`, those of an iteration."""
        names = ("policy_loss", "value_loss", "entropy", *self.figures, "explained_variance")
        return {
            "return": Metric(lambda output, batch: output["return"], _mean_or_nan),
            "loss": self.loss,
            **{name: _figure(name) for name in names},
            "environment_steps": _figure("steps"),
        }

    figures: ClassVar[tuple[str, ...]] = ()
    """Names of the figures of `policy_loss`."""

    def metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """`return`: the mean undiscounted return of whole episodes, greedily played."""
        return {"return": _mean_return}

    def output(self, module: nn.Module, variables: Variables, batch: Batch) -> Any:
        """The return of each episode."""
        seeds = batch["inputs"]
        return play(self.environment_(), module, variables, jax.random.key(seeds[0]), len(seeds))


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Control):
    """The algorithms whose policy loss is -log π(a) A."""

    def policy_loss(
        self, answer: Answer, lesson: Lesson, advantage: Float[Array, "L S"]
    ) -> tuple[jax.Array, Figures]:
        return objectives.policy_gradient(answer.log_prob, advantage, lesson.weights), {}


@dataclass(frozen=True, kw_only=True)
class Reinforce(PolicyGradient):
    """REINFORCE (Williams 1992): -log π(a) A with the returns of whole episodes."""

    estimator: Estimator = "monte_carlo"
    whole_episodes: bool = True


@dataclass(frozen=True, kw_only=True)
class A2C(PolicyGradient):
    """Advantage actor-critic (Mnih et al. 2016), synchronous: -log π(a) A."""

    num_steps: int = 5
    lambda_: float = 1.0
    normalize_advantages: bool = False
    entropy_coefficient: float = 0.01


@dataclass(frozen=True, kw_only=True)
class PPO(Control):
    """Proximal policy optimization with the clipped objective (Schulman et al. 2017)."""

    epochs: int = 4
    minibatches: int = 4
    clip: float = 0.2
    """How far the probability of an action may move, as a ratio, before it gains no more."""

    figures: ClassVar[tuple[str, ...]] = ("approximate_kl", "clip_fraction")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clip > 0:
            raise ConfigError(f"task.clip is {self.clip}; it must be above 0")

    def policy_loss(
        self, answer: Answer, lesson: Lesson, advantage: Float[Array, "L S"]
    ) -> tuple[jax.Array, Figures]:
        now, old, weights = answer.log_prob, lesson.old_log_prob, lesson.weights
        gained = objectives.clipped_surrogate(now, old, advantage, self.clip)
        return -objectives.mean(gained, weights), {
            "approximate_kl": objectives.approximate_kl(now, old, weights),
            "clip_fraction": objectives.clip_fraction(now, old, weights, self.clip),
        }


@dataclass(frozen=True, kw_only=True)
class AWR(Control):
    """Advantage-weighted regression (Peng et al. 2019): off-policy, from the last roll-outs.

    -log π(a) min(exp(A / β), w): the likelihood of what was done, more where it turned out well.
    """

    replay: int = 50
    """R: roll-outs that are learnt from, the last ones."""
    beta: float = 1.0
    """β: how much an advantage counts, the less the larger it is."""
    max_weight: float = 20.0
    """w: the largest weight of an action."""
    epochs: int = 1
    minibatches: int = 32

    figures: ClassVar[tuple[str, ...]] = ("weight",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("task.replay", self.replay)
        for name in ("beta", "max_weight"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"task.{name} is {getattr(self, name)}; it must be above 0")

    def check_model(self, config: ModelConfig) -> None:
        super().check_model(config)
        if isinstance(config, PolicyLSTMConfig):
            raise ConfigError(
                "AWR learns from old experience, whose memories are those of old weights; take a "
                "policy without a memory, such as policy_mlp, or PPO"
            )

    def _sequences(self, config: ModelConfig, batch_size: int) -> int:
        return self.replay * super()._sequences(config, batch_size)

    def _empty_replay(self, config: ModelConfig, actors: Actors) -> Replay:
        steps, number = self.num_steps, len(actors.first)
        shape = (steps, number)
        flags, numbers = jnp.zeros(shape, bool), jnp.zeros(shape)
        observations = jnp.zeros((*shape, *actors.observation.shape[1:]))
        distribution = config.distribution  # type: ignore[attr-defined]
        inputs = jnp.zeros((*shape, distribution.num_inputs))
        like = Experience(
            observation=observations,
            first=flags,
            action=distribution.mode(inputs),
            reward=numbers,
            reached=observations,
            terminated=flags,
            truncated=flags,
            weights=numbers,
            memory=(),
        )
        return Replay.begin(like, self.replay)

    def policy_loss(
        self, answer: Answer, lesson: Lesson, advantage: Float[Array, "L S"]
    ) -> tuple[jax.Array, Figures]:
        weights = lesson.weights
        factor = objectives.awr_weights(advantage, weights, self.beta)
        factor = jnp.minimum(factor, self.max_weight)
        loss = objectives.policy_gradient(answer.log_prob, factor, weights)
        return loss, {"weight": objectives.mean(factor, weights)}


def answers(
    module: nn.Module, variables: Variables, steps: Experience | Lesson, memory: Any
) -> tuple[Answer, Any]:
    """What a policy says of actions that were taken, and its memory after each step."""
    output, memories = module.apply(
        variables, steps.observation, memory, steps.first, method="unroll"
    )
    distribution = module.config.distribution
    return (
        Answer(
            distribution.log_prob(output.logits, steps.action),
            distribution.entropy(output.logits),
            output.value,
        ),
        memories,
    )


def _flat(x: Array) -> Array:
    """[T, E, …] -> [T E, …]."""
    return x.reshape(-1, *x.shape[2:])


def _figure(name: str) -> MetricFunction:
    def figure(output: Any, batch: Batch) -> Sums:
        sums: Sums = output[name]
        return sums

    return figure


def _mean_or_nan(total: Any, number: Any) -> float:
    return float(total) / float(number) if number else float("nan")


def _mean_return(output: Any, batch: Batch) -> Sums:
    return jnp.sum(output * batch["weights"]), jnp.sum(batch["weights"])
