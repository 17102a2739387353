"""The data of reinforcement learning: an environment, in which the model makes its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo import envs
from zoo.config import ConfigError, LookupMistake, check_size
from zoo.pipelines.base import Batch, DataConfig, Example, Facts, Rows, Share
from zoo.tokenizers import Tokenizer

SEEDS = {"validation": 1, "test": 2}
"""The seeds of the episodes that are evaluated, by split."""


@dataclass(frozen=True, kw_only=True)
class Episodes(DataConfig):
    """Episodes of an environment. Those of training are rolled out by the task, so its batches are
    empty; those of an evaluation are always the same ones, played to their ends."""

    environment: str = "cartpole"
    """A registered environment (`zoo list`), or an id of gymnasium such as `LunarLander-v3`."""
    episodes: int = 50
    """Episodes of the validation split."""
    test_episodes: int = 100
    """Episodes of the test split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("episodes", self.episodes)
        check_size("test_episodes", self.test_episodes)

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> PlayedEpisodes:
        """See `DataConfig.open`.

        Raises:
          ConfigError: rows are handed over.
          UnknownNameError: there is no such environment.
        """
        if rows is not None:
            raise ConfigError("reinforcement learning makes its own experience; it takes no data")
        decides = decided_by(envs.create(self.environment))
        facts = Facts(
            decides={"environment": self.environment, **decides},
            preprocessing={"environment": self.environment},
            num_examples={"validation": self.episodes, "test": self.test_episodes},
        )
        return PlayedEpisodes(facts)


def decided_by(environment: envs.Environment) -> dict[str, Any]:
    """What an environment decides of a policy: fields of `PolicyConfig`."""
    space = environment.action_space
    observation = {"observation_shape": environment.observation_space.shape}
    if isinstance(space, envs.Discrete):
        return {**observation, "num_actions": space.num}
    low, high = (np.asarray(bound).ravel().tolist() for bound in (space.lows, space.highs))
    bounds = tuple(zip(low, high, strict=True))
    finite = bool(np.isfinite(bounds).all())
    return {
        **observation,
        "action_shape": space.shape,
        "action_bounds": bounds if finite else None,
    }


class PlayedEpisodes:
    """`Episodes`, opened."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """Empty batches: the task makes its experience itself."""
        return itertools.repeat({})

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """All episodes at once: `inputs`, the seed of the split, and `weights`, both [episodes]."""
        number = min(self._number(split), limit or self._number(split))
        seeds = np.full(number, SEEDS[split], np.int32)
        batch = {"inputs": seeds, "weights": np.ones(number, np.float32)}
        wanted = Share.of_rows(rows, number).of(number)
        yield {key: array[wanted] for key, array in batch.items()}

    def examples(self, split: str, number: int) -> list[Example]:
        """There is nothing to look at before a policy plays."""
        return []

    def _number(self, split: str) -> int:
        numbers: Mapping[str, int] = self.facts.num_examples
        if split not in numbers:
            raise LookupMistake(f"there is no split {split!r}; there are {', '.join(numbers)}")
        return numbers[split]
