"""The interface of a task. Models and data meet only here, in a batch of fixed keys.

A batch is a dict of arrays: `inputs`, `targets` and `weights` (float32, 0 at padding). A task of
your own needs a loss and the class of its predictor; everything else has a default:

    @dataclass(frozen=True, kw_only=True)
    class Regression(Task):
        predictor = Outputs

        def loss(self, output, batch):
            return losses.l2(output, batch["targets"], batch["weights"])
"""

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import optax
from flax import linen as nn

from zoo.config import ConfigError, check_fields, check_share, is_own
from zoo.models.base import ModelConfig
from zoo.models.policy import PolicyConfig
from zoo.pipelines.base import Data, DataConfig
from zoo.predictors import Predictor
from zoo.storage.checkpoints import Best
from zoo.train import losses, sharding
from zoo.train.losses import Sums
from zoo.train.metrics import Batch, Metric, MetricFunction
from zoo.train.reinforcement.episodes import Episodes
from zoo.train.state import TrainState

Variables: TypeAlias = Mapping[str, Any]
"""The variables of a Linen module: `params`, and collections such as `batch_stats`."""


@dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """The loss of a batch, the metrics of an evaluation, and the predictor that results."""

    predictor: ClassVar[type[Predictor]]
    """The class that `zoo.load` makes of the trained model."""
    best: ClassVar[Best] = Best("validation/loss", "min")
    """The metric of the validation split that chooses the best checkpoint."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def name(self) -> str:
        """The `task` of a card."""
        return self.predictor.task

    @property
    def remark(self) -> str:
        """A line for the log of a run about how it is judged; empty: nothing to say."""
        return ""

    @property
    def updates_per_step(self) -> int:
        """Updates of the optimizer in one step of a run; its schedule counts them."""
        return 1

    @property
    def parts(self) -> tuple[Task, ...]:
        """The tasks that this one is made of: itself, or see `Several`."""
        return (self,)

    def part(self, name: str) -> Task:
        """The task of a part of the data, by its name: itself, which is that of all."""
        return self

    def mapped(self, function: Callable[[Task], Task]) -> Task:
        """This task with a function applied to each of its parts."""
        return function(self)

    @abc.abstractmethod
    def loss(self, output: Any, batch: Batch) -> Sums:
        """The quantity to minimise, as (sum, denominator).

        Args:
          output: what the model returned.
          batch: `inputs`, `targets` and `weights`.
        """

    def metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """The metrics by name, computed on every batch in training and in evaluation."""
        return {"loss": self.loss}

    def training_metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """Those of training, where they are others than those of evaluation."""
        return self.metrics()

    def measure_answers(
        self,
        predictor: Callable[[], Predictor],
        data: Data,
        split: str,
        *,
        limit: int | None = None,
        quick: bool = False,
    ) -> tuple[dict[str, float], str]:
        """Metrics of finished answers, such as BLEU of translations; here none.

        Args:
          predictor: makes a predictor of the weights that are judged.
          data: the opened data.
          split: which split to judge.
          limit: how many examples of it; None: all.
          quick: whether the result only serves to choose a checkpoint.

        Returns:
          The metrics by name, and a note for the log.
        """
        return {}, ""

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        """The positional arguments of the model."""
        return (batch["inputs"],)

    def check_model(self, config: ModelConfig) -> None:
        """Refuses a model that takes more or fewer arguments than this task gives it.

        Raises:
          ConfigError: it does; it is a model of another kind.
        """
        if isinstance(config, PolicyConfig) and not is_own(type(self)):
            raise ConfigError(
                f"{type(self).__name__} trains no policy, and the model is a "
                f"{type(config).__name__}; take a task of reinforcement learning, such as PPO"
            )
        if is_own(type(self).arguments):  # it may compute, and there is no batch yet
            return
        given = len(self.arguments(collections.defaultdict(lambda: None)))
        try:
            taken = len(config.example_inputs(1))
        except ConfigError:  # a size that is not set is reported elsewhere
            return
        if taken != given:
            name = type(config).__name__.removesuffix("Config")
            raise ConfigError(
                f"a {name} takes {taken} input(s), and {self.name} gives a model {given}; take a "
                "model of its kind"
            )

    def output(self, module: nn.Module, variables: Variables, batch: Batch) -> Any:
        """The model's output in evaluation."""
        return module.apply(variables, *self.arguments(batch), train=False)

    def training_output(
        self, module: nn.Module, variables: Variables, carry: Any, batch: Batch, rngs: Any
    ) -> tuple[Any, Variables, Any]:
        """The model's output in training.

        Args:
          module: the model.
          variables: its variables.
          carry: what the step before handed on.
          batch: the batch.
          rngs: keys for the random streams of the module, such as `dropout`.

        Returns:
          The output, the collections that changed, and what to hand on to the next step.
        """
        collections = [name for name in variables if name != "params"]
        output, changed = module.apply(
            variables, *self.arguments(batch), train=True, rngs=rngs, mutable=collections
        )
        return output, changed, carry

    def update(
        self,
        module: nn.Module,
        optimizer: optax.GradientTransformation,
        state: TrainState,
        batch: Batch,
    ) -> tuple[TrainState, jax.Array, Any]:
        """One update of the state: here a step of gradient descent on a batch.

        Args:
          module: the model.
          optimizer: the transformation.
          state: the state before.
          batch: the batch.

        Returns:
          The new state, the loss (float32 []), and the output of which the training metrics are
          computed.
        """
        rngs = {"dropout": jax.random.fold_in(state.key, state.step)}
        collections = {name: value for name, value in state.variables.items() if name != "params"}

        def loss_of(params: Any) -> tuple[jax.Array, tuple[Any, Any, Any]]:
            variables = {"params": sharding.fetched(params), **collections}
            output, changed, carry = self.training_output(
                module, variables, state.carry, batch, rngs
            )
            total, denominator = self.loss(output, batch)
            return total / denominator, (output, changed, carry)

        (loss, (output, changed, carry)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        variables = {**collections, **changed, "params": params}
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            variables=variables,
            optimizer=optimizer_state,
            carry=carry,
        )
        return new, loss, output

    def check_data(self, config: DataConfig) -> None:
        """Refuses data that the task cannot be learnt from; called when a recipe is made.

        Raises:
          ConfigError: the data does not suit the task.
        """
        if isinstance(config, Episodes) and not is_own(type(self)):
            raise ConfigError(
                f"{type(self).__name__} learns from examples, and the data is an environment; take "
                "a task of reinforcement learning, such as PPO"
            )

    def failures(self) -> contextlib.AbstractContextManager[None]:
        """Around everything that runs the task's programs: what fails in them is raised in words of
        the user's."""
        return contextlib.nullcontext()

    def why_not_finite(self, carry: Any) -> str:
        """The reason why a loss is not finite, where it is not the training; else empty.

        Args:
          carry: what the last step handed on.
        """
        return ""

    def initial_carry(self, config: ModelConfig, batch_size: int, seed: int) -> Any:
        """The `carry` of the first step: a tree of arrays, here empty.

        It is part of the run's state, which is saved with every checkpoint.

        Raises:
          ConfigError: the model cannot do what the task asks for.
        """
        return ()


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Task):
    """One of C classes, per example or per position."""

    label_smoothing: float = 0.0
    """Fraction of the target's probability that is spread over all classes, in the loss only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("task.label_smoothing", self.label_smoothing)

    def loss(self, output: losses.Logits, batch: Batch) -> Sums:
        return losses.cross_entropy(
            output, batch["targets"], batch["weights"], label_smoothing=self.label_smoothing
        )
