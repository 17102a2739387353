"""A recipe: one frozen value that says everything a run depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optax

from zoo import config as configs
from zoo.config import ConfigError, check_fields, check_share, check_size
from zoo.models.base import SIZES, ModelConfig
from zoo.pipelines.base import DataConfig, Facts, quoted
from zoo.storage.adapters import LoRA
from zoo.train.optimizers import Optimizer
from zoo.train.patterns import check_patterns
from zoo.train.sharding import MeshConfig
from zoo.train.tasks import Task

C = TypeVar("C", ModelConfig, Task)


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """Initial weights from a trained model instead of random ones."""

    source: str
    """A published name, or the folder of a run or of an exported model. The architecture, the
    tokenizer and the labels come from it too."""
    skip: tuple[str, ...] = ()
    """Patterns of parameters to initialise at random all the same, such as `head/.*`: regular
    expressions that match a whole slash path."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_patterns("init_from.skip", self.skip)


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """Everything a run depends on. Equal recipes and seeds give equal runs."""

    name: str = ""
    """The name it is registered under."""
    model: ModelConfig
    """The model. The data decides what is None in it."""
    data: DataConfig
    """The input pipeline."""
    task: Task
    """Loss, metrics and predictor."""
    optimizer: Optimizer
    """The optimizer with its schedule."""
    steps: int
    """Updates in all."""
    schedule_steps: int | None = None
    """Updates over which the learning rate's schedule stretches; None: `steps`, or where a run is
    resumed with other `steps` those that it began with."""
    batch_size: int
    """Examples per update, over all devices. Data bucketed by length may have sizes of its own."""
    accumulate: int = 1
    """Parts of a batch that pass through the model one by one, in the memory of one part. The
    update is that of the whole batch; but dropout draws other masks, and batch normalisation takes
    the statistics of each part, so its moving averages move once a part."""
    ema: float | None = None
    """Decay of a moving average of the weights, such as 0.999, which is evaluated beside them
    (`validation/ema/…`) and often better: `zoo.load(run, step="ema")`. None: no average."""
    eval_every: int | None = None
    """Steps between two evaluations on the validation split; None: a tenth of the run."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints; None: a tenth of the run. Whenever the validation metric
    improves, a checkpoint is saved too."""
    keep_checkpoints: int = 1
    """Latest checkpoints to keep. Their mean is often better (`zoo export --step average`)."""
    keep_every: int | None = None
    """Steps between two checkpoints that are kept for good; None: there are none."""
    eval_examples: int | None = None
    """Examples of the validation split to evaluate on during training; None: all."""
    log_every: int = 100
    """Steps between two reports of the training metrics."""
    patience: int | None = None
    """Stop after this many evaluations in a row without a better validation metric; None: never."""
    seed: int = 0
    """Seed of the initial weights, of the order of the data, and of dropout."""
    init_from: InitFrom | None = None
    """The model to fine-tune; None: start from random weights."""
    lora: LoRA = field(default_factory=LoRA)
    """Adapters of the model in `init_from` that are trained instead of its parameters."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """How the work is divided over devices."""
    scan_layers: bool = False
    """Stack the parameters of equal layers for training, and compile one layer, which runs in a
    loop: a deep Transformer compiles in the time of a shallow one. Numbers are those of the same
    layers one by one, but dropout draws other masks. Names in files, and patterns, stay those of
    single layers; a pattern must treat all layers of a stack alike."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in (
            "steps",
            "schedule_steps",
            "batch_size",
            "accumulate",
            "eval_every",
            "checkpoint_every",
            "keep_checkpoints",
            "keep_every",
            "eval_examples",
            "log_every",
            "patience",
        ):
            check_size(name, getattr(self, name))
        if self.ema is not None:
            check_share("ema", self.ema)
        self._check_accumulate()
        self._check_scan_layers()
        check_patterns("lora.targets", self.lora.targets)
        self.task.check_data(self.data)

    def _check_accumulate(self) -> None:
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide batch_size "
                f"{self.batch_size}; take a divisor of it"
            )
        own = [task for task in self.task.parts if type(task).update is not Task.update]
        if self.accumulate > 1 and own:
            raise ConfigError(
                f"accumulate is {self.accumulate}, but {type(own[0]).__name__} makes updates of "
                "its own, which have no parts; leave accumulate out"
            )

    def _check_scan_layers(self) -> None:
        if not self.scan_layers:
            return
        if not self.model.stacks_layers:
            raise ConfigError(
                f"scan_layers is set, but {type(self.model).__name__} has no layers that can be "
                "stacked; it is for Transformers: leave it out"
            )
        if not self.optimizer.elementwise:
            raise ConfigError(
                f"scan_layers is set, but {type(self.optimizer).__name__} treats an array as a "
                "whole, and would take the layers of a stack for one; take Adam, RMSProp, Momentum "
                "or Sgd, or leave scan_layers out"
            )

    def __repr__(self) -> str:
        parts = (self.model, self.data, self.task, self.optimizer)
        names = ", ".join(type(part).__name__ for part in parts)
        name = self.name or "unnamed"
        return f"<Recipe {name}: {names}, {self.steps:,} steps of {self.batch_size}>"

    @property
    def schedule_length(self) -> int:
        """Steps over which the schedule stretches."""
        return self.schedule_steps or self.steps

    def transformation(self) -> optax.GradientTransformation:
        """The optimizer with its schedule."""
        return self.optimizer.build(self.schedule_length * self.task.updates_per_step)

    def learning_rate(self, step: int, length: int | None = None) -> float:
        """The learning rate after so many steps.

        Args:
          step: number of steps.
          length: steps over which the schedule stretches; None: `schedule_length`.
        """
        updates = self.task.updates_per_step
        schedule = self.optimizer.schedule_fn((length or self.schedule_length) * updates)
        return float(schedule(step * updates))

    def resolve(self, facts: Facts | None = None) -> Recipe:
        """This recipe with the open fields (None) of model and task filled in from the data.

        Args:
          facts: the facts of the opened data; None: open it to find out.

        Raises:
          ConfigError: a field that the data decides has a value that does not fit it.
        """
        facts = facts if facts is not None else self.data.open().facts
        decided = {**facts.decides, "labels": facts.labels or None}
        check_sizes(self, facts)
        model = _filled(self.model, decided)
        task = self.task.mapped(lambda task: _filled(task, decided))
        task.check_model(model)
        return dataclasses.replace(self, model=model, task=task)


def _filled(config: C, decided: Mapping[str, Any]) -> C:
    """A config whose fields that are None have the values that the data decided."""
    return dataclasses.replace(
        config,
        **{
            field.name: decided[field.name]
            for field in dataclasses.fields(config)
            if getattr(config, field.name) is None and decided.get(field.name) is not None
        },
    )


def check_sizes(recipe: Recipe, facts: Facts) -> None:
    """Refuses a size that is not that of the data: a class without a name, or an id without a row.

    A vocabulary may be larger than the data's, such as a multiple of 128.

    Raises:
      ConfigError: a size of the model, or the labels of the task, do not fit the data.
    """
    decides = dict(facts.decides)
    if decides.get("vocab_size") is not None:  # targets are ids of the same vocabulary
        decides["target_vocab_size"] = decides["vocab_size"]
    for name, value in decides.items():
        own = getattr(recipe.model, name, None)
        if name not in SIZES or None in (own, value):
            continue
        if own < value if name.endswith("vocab_size") else own != value:
            what = {
                "num_classes": f"has {value} classes: {quoted(facts.labels)}",
                "vocab_size": f"has a vocabulary of {value} tokens",
                "target_vocab_size": f"has a vocabulary of {value} tokens",
            }.get(name, f"has {value}")
            raise ConfigError(
                f"model.{name} is {own}, but the data {what}; leave model.{name} out, and the data "
                "decides it"
            )
    labels = getattr(recipe.task, "labels", None)
    if labels and facts.labels and labels != facts.labels:
        raise ConfigError(
            f"task.labels is {quoted(labels)}, but the data has {quoted(facts.labels)}; leave "
            "task.labels out, and the data decides it"
        )


MAY_CHANGE = (
    "name",
    "steps",
    "schedule_steps",
    "eval_every",
    "eval_examples",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "log_every",
    "patience",
    "mesh",
    "scan_layers",
    "task.beam_size",
    "task.bleu_sentences",
    "data.data_dir",
    "data.download",
    "data.folder",
    "data.train",
    "data.validation",
    "data.test",
    "data.encoding",
    "data.quotes",
    "data.tokenizer.vocab",
)
"""Fields in which the recipe of a resumed run may differ from the one the run began with: they
change no parameter that is still to come. Where the rows are is one of them: which rows they are is
known by their fingerprints."""


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[object, object]]:
    """Where two recipes differ in fields that change the parameters of a run that is resumed."""
    return {
        path: values
        for path, values in configs.diff(old, new).items()
        if not _within(path, MAY_CHANGE)
    }


def allowed(changed: Iterable[str], fields: Sequence[str]) -> list[str]:
    """The changed fields that the user allows to change: those named, and those inside them.

    Raises:
      ConfigError: a name is no field of a recipe.
    """
    known = [item.name for item in dataclasses.fields(Recipe)]
    for name in fields:
        first = name.partition(".")[0]
        if first not in known:
            raise ConfigError(
                f"allow_change names {name!r}, which is no field of a recipe"
                f"{configs.did_you_mean(first, known)}"
            )
    return [path for path in changed if _within(path, fields)]


def _within(path: str, fields: Sequence[str]) -> bool:
    return any(path == field or path.startswith(f"{field}.") for field in fields)
