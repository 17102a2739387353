"""Commands that train and evaluate, and the recipe that words on the command line describe."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from zoo.cli import streams
from zoo.cli.parsing import AsksModel, parse, parse_known
from zoo.config import ConfigError, ValueMistake

if TYPE_CHECKING:
    from zoo.train.recipe import Recipe

USAGE = """\
usage: zoo train RECIPE [--workdir DIR] [--steps N …]

RECIPE is a name (`zoo list` lists them), FILE.py:FUNCTION or a run's recipe.json.
`zoo train RECIPE --help` lists every flag."""


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """This process of many; by default as SLURM, Open MPI, Cloud TPU or GKE say."""

    coordinator: str | None = None
    """HOST:PORT of process 0, which the others reach."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Number of this process, from 0."""
    timeout: int = 300
    """Seconds to wait for processes that have not started yet."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Flags of `zoo train` beside those of the recipe."""

    workdir: Path | None = None
    """The run's folder; runs/RECIPE by default. The same command on the same folder resumes."""
    model: str | None = None
    """Another registered model instead of the recipe's."""
    init_from: str | None = None
    """Fine-tune these weights: a published name, a run's folder or an exported folder."""
    skip: tuple[str, ...] = ()
    """Patterns of parameters that fine-tuning leaves fresh, such as 'head/.*'."""
    code: Path | None = None
    """A Python file of your own that defines what a recipe.json or `init_from` names."""
    callback: tuple[str, ...] = ()
    """What watches the run: samples, wandb, mlflow, or a function or class of your own as
    FILE.py:NAME, see `zoo.train.Callback`."""
    seeds: int | None = None
    """Train this many seeds, from --seed on, and show their mean and 95 % interval. Reinforcement
    learning trains them in one program."""
    allow_change: tuple[str, ...] = ()
    """Fields that may differ from those that the run in the folder began with, such as
    optimizer.learning_rate. Those that change no parameter to come always may."""
    profile_at: int | None = None
    """Take a profile of five steps from this one on, for TensorBoard."""
    distributed: Distributed = field(default_factory=Distributed)
    """This process of many."""
    quiet: bool = False
    """Print nothing while training."""


def train(words: list[str]) -> int:
    """Trains a model by a recipe, or resumes a run."""
    from zoo.train import callbacks, distributed, run, run_seeds, team
    from zoo.train.seeds import trains_together

    if not words or words[0].startswith("-"):
        print(USAGE)
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    recipe, options = recipe_of(words, "zoo train")
    if options.seeds is not None:
        for flag in ("callback", "profile_at"):
            if getattr(options, flag):
                raise ValueMistake(f"--{flag.replace('_', '-')} is for one run; leave out --seeds")
        if trains_together(recipe):
            team.use_cores()
        run_seeds(
            recipe,
            options.workdir,
            seeds=options.seeds,
            allow_change=options.allow_change,
            quiet=options.quiet,
        )
        streams.forgo_output()
        return 0
    distributed.join(**dataclasses.asdict(options.distributed))
    run(
        recipe,
        options.workdir,
        callbacks=[callbacks.named(name) for name in options.callback],
        allow_change=options.allow_change,
        profile_at=options.profile_at,
        quiet=options.quiet,
    )
    streams.forgo_output()  # the log has the lines too
    return 0


def recipe_of(words: list[str], command: str) -> tuple[Recipe, Options]:
    """The recipe that words name and change, and the options that are not part of it.

    Args:
      words: the recipe, then flags: options, parameters of the recipe's function, and fields of the
        recipe by their dotted paths.
      command: that the words follow, for messages.
    """
    from zoo import config as configs
    from zoo.train import InitFrom, recipe_files

    source, *rest = words
    prog = f"{command} {source}"
    asks_help = bool({"-h", "--help"} & set(rest))
    rest = [word for word in rest if word not in ("-h", "--help")]
    options, rest = parse_known(Options, rest, prog=prog)
    if options.code is not None:
        configs.load_file(options.code)
    if source.endswith(".json"):
        recipe = recipe_files.get(source)
    else:
        function = recipe_files.find(source)
        _check_parameters(function, source)
        recipe, rest = parse_known(function, rest, prog=prog)
        recipe = recipe_files.named(recipe, function)
    if options.model:
        recipe = dataclasses.replace(recipe, model=registered_model(options.model))
    if asks_help:
        flags = (f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Options))
        print(f"flags beside those of the recipe: {' '.join(flags)}\n")
    recipe = parse(
        type(recipe),
        [*rest, *(["--help"] if asks_help else [])],
        prog=prog,
        default=recipe,
        config=(tyro.conf.AvoidSubcommands,),
    )
    if options.skip and not options.init_from:
        raise ValueMistake(
            "--skip goes with --init-from: it says which of its weights to leave out"
        )
    if options.init_from:
        init_from = InitFrom(source=options.init_from, skip=options.skip)
        recipe = dataclasses.replace(recipe, init_from=init_from)
    return recipe, options


def _check_parameters(function: Callable[..., Any], source: str) -> None:
    """Refuses a parameter of a recipe function that would never get its flag."""
    options = {field.name for field in dataclasses.fields(Options)}
    taken = [name for name in inspect.signature(function).parameters if name in options]
    if taken:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in taken)
        raise ConfigError(
            f"{source}: the parameter(s) {', '.join(map(repr, taken))} cannot be set, because "
            f"{flags} belongs to the command; give them other names"
        )


def registered_model(name: str) -> Any:
    """The config of a registered model."""
    from zoo import registry

    return registry.models.get(name)()


@dataclass(frozen=True, kw_only=True)
class Evaluate(AsksModel):
    """Measures a model on a split, or a translator on files.

    Every example of the split counts exactly once.
    """

    split: str | None = None
    """test, validation or train; by default test if there is one."""
    data_dir: str | None = None
    """Where the data sets are."""
    source: Path | None = None
    """A text file to translate, a sentence a line: measures BLEU on files instead."""
    reference: Path | None = None
    """The file of its translations."""
    beam_size: int = 4
    """Number of beams when translating files."""

    def run(self) -> None:
        from zoo import config as configs
        from zoo.train import evaluation

        if self.code is not None:
            configs.load_file(self.code)
        if self.source is None and self.reference is None:
            metrics = evaluation.evaluate(
                self.name,
                self.split,
                data_dir=self.data_dir,
                step=self.checkpoint,
                dtype=self.dtype,
            )
            for name, value in metrics.items():
                print(f"{name}  {value:.5f}")
            return
        if self.source is None or self.reference is None:
            raise ValueMistake(
                "give --source and --reference together: files of the same sentences"
            )
        score, signature = evaluation.evaluate_files(
            self.name,
            self.source,
            self.reference,
            step=self.checkpoint,
            dtype=self.dtype,
            beam_size=self.beam_size,
        )
        print(f"BLEU  {score:.2f}  {signature}")
