"""The next token of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flax import linen as nn

from zoo.config import ConfigError, check_size
from zoo.models.base import ModelConfig
from zoo.pipelines.base import DataConfig
from zoo.predictors import LanguageModel
from zoo.train import metrics
from zoo.train.metrics import Batch, Metric, MetricFunction
from zoo.train.tasks.base import CrossEntropy, Variables


@dataclass(frozen=True, kw_only=True)
class NextToken(CrossEntropy):
    """Each token given those before it: logits [B, T, V], targets [B, T], weights [B, T]."""

    def metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """Cross-entropy, perplexity and accuracy per token."""
        return {
            "loss": metrics.cross_entropy,
            "perplexity": metrics.perplexity,
            "accuracy": metrics.accuracy,
        }


@dataclass(frozen=True, kw_only=True)
class LanguageModeling(NextToken):
    """Text that goes on."""

    predictor = LanguageModel

    carry_state: bool = False
    """Start each batch in the state in which a recurrent model left the one before. No gradient
    passes between them (truncated back-propagation through time, Mikolov et al. 2010). The data
    must then be `contiguous`."""
    chunk_len: int | None = None
    """Positions whose logits are computed at a time, for sequences so long that the logits of a
    whole one would not fit in memory; None: all positions. Only models that score given tokens can
    do it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("chunk_len", self.chunk_len)
        for name in ("carry_state", "label_smoothing"):
            if self.chunk_len is not None and (value := getattr(self, name)):
                raise ConfigError(
                    f"task.chunk_len is {self.chunk_len} and task.{name} is {value}; with "
                    f"chunk_len there is no {name}: leave one of the two out"
                )

    def check_data(self, config: DataConfig) -> None:
        super().check_data(config)
        if self.carry_state and not getattr(config, "contiguous", False):
            raise ConfigError(
                "task.carry_state is True, but the batches of the data do not continue each other; "
                "set data.contiguous too"
            )

    def initial_carry(self, config: ModelConfig, batch_size: int, seed: int) -> Any:
        """The recurrent state before the first batch, where the task carries it."""
        module = config.build()
        kind = type(module).__name__
        if self.chunk_len is not None and not hasattr(module, "scores"):
            raise ConfigError(
                f"task.chunk_len is {self.chunk_len}, but a {kind} computes all logits at once; "
                "leave it out, or take a Reformer, such as reformer_lm_long"
            )
        if not self.carry_state:
            return ()
        if not config.carries_state:
            raise ConfigError(
                f"task.carry_state is True, but a {kind} has no state; leave it out, or take a "
                "recurrent model, such as lstm_lm"
            )
        return module.apply({}, batch_size, method="begin")

    def output(self, module: nn.Module, variables: Variables, batch: Batch) -> Any:
        """Logits, or with `chunk_len` the scores of the tokens."""
        if self.chunk_len is None:
            return super().output(module, variables, batch)
        return module.apply(
            variables, batch["inputs"], self.chunk_len, train=False, method="scores"
        )

    def training_output(
        self, module: nn.Module, variables: Variables, carry: Any, batch: Batch, rngs: Any
    ) -> tuple[Any, Variables, Any]:
        """See `Task.training_output`. The recurrent state is the carry."""
        options: dict[str, Any] = {"train": True, "rngs": rngs}
        if self.carry_state:
            output, carry = module.apply(
                variables, batch["inputs"], carry, **options, method="unroll"
            )
            return output, {}, carry
        if self.chunk_len is not None:
            output = module.apply(
                variables, batch["inputs"], self.chunk_len, **options, method="scores"
            )
            return output, {}, carry
        return super().training_output(module, variables, carry, batch, rngs)
