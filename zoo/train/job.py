"""What a run works with, put together from its recipe, and what it does to it between two steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from zoo import hub, predictors
from zoo.config import ConfigError
from zoo.hub import compilation
from zoo.pipelines.base import Data
from zoo.storage import checkpoints, weights
from zoo.storage.cards import Card
from zoo.storage.checkpoints import FOLDER, Checkpoints
from zoo.train import finetune, folder, memory, recipe, reporting, sharding, step
from zoo.train import state as states
from zoo.train.evaluation import Evaluator
from zoo.train.recipe import InitFrom, Recipe
from zoo.train.state import TrainState


class NonFiniteError(ArithmeticError):
    """The loss or a parameter became infinite or NaN.

    The message names the step and the last good checkpoint.
    """


@dataclass
class Progress:
    """What a resumed run must know beside its weights; it is saved with every checkpoint."""

    step: int = 0
    seconds: float = 0.0
    """Of training and evaluation, all sessions together."""
    best: dict[str, float] = field(default_factory=dict)
    """The metrics of the best evaluation so far."""
    evaluations_since_best: int = 0
    stopped: str = ""
    """Why the run ended before its last step, if it did."""


@dataclass
class Job:
    """A run that is ready to go, at the step where it was left."""

    plan: Recipe
    workdir: Path
    data: Data
    mesh: Mesh
    card: Card
    module: nn.Module
    transformation: Any
    evaluator: Evaluator
    checkpoints: Checkpoints
    state: TrainState
    progress: Progress
    _empty: Any = None
    _largest: int = 0
    """Size of the largest inputs whose memory was checked."""

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return "validation" in self.data.facts.num_examples

    @property
    def finished(self) -> bool:
        """Whether the last step is done, or something ended the run before it."""
        return self.progress.step >= self.plan.steps or bool(self.progress.stopped)

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return self.progress.step % every == 0 or self.finished

    def batches(self) -> Iterator[Mapping[str, Any]]:
        """The training batches from the current step on."""
        plan = self.plan
        return self.data.train(plan.batch_size, seed=plan.seed, start=self.progress.step)

    def empty_window(self, batch: dict[str, Any]) -> step.Window:
        """A window with nothing in it."""
        if self._empty is None:
            self._empty = step.empty_window(
                self.module, self.plan.task, self.state.variables, batch
            )
        window: step.Window = sharding.replicate(self._empty, self.mesh)
        return window

    def learning_rate(self) -> float:
        """That of the step just done."""
        return float(self.plan.optimizer.schedule_fn(self.plan.steps)(self.progress.step - 1))

    def evaluate(
        self, variables: Any, split: str, batches: int | None = None
    ) -> tuple[dict[str, float], str]:
        """The metrics of a split, as `split/name`, and a note on them."""
        size = self.plan.batch_size
        limit = None if batches is None else batches * size
        metrics = self.evaluator(variables, self.data.evaluate(split, size, limit=limit))

        def predictor() -> predictors.Predictor:
            # Answers are for this process alone, so its own copy of the weights serves.
            own = jax.tree.map(jax.numpy.asarray, jax.device_get(variables))
            return predictors.create(self.card, own, self.data.facts.tokenizer)

        quick = split != "test"
        more, note = self.plan.task.examine(predictor, self.data, split, quick=quick)
        return reporting.prefixed(split, metrics | more), note

    def improved(self, measured: Mapping[str, float] | None) -> bool:
        """Whether what was just measured is the best so far."""
        return measured is not None and self.progress.evaluations_since_best == 0

    def note(self, measured: dict[str, float]) -> None:
        """Takes an evaluation into account: is it the best, is the patience at its end?"""
        progress, best = self.progress, self.plan.task.best
        if best.better(measured[best.metric], progress.best.get(best.metric)):
            progress.best, progress.evaluations_since_best = dict(measured), 0
        else:
            progress.evaluations_since_best += 1
        if self.plan.patience is not None and progress.evaluations_since_best >= self.plan.patience:
            progress.stopped = (
                f"{progress.evaluations_since_best} evaluations without a better {best.metric}"
            )

    def check_memory(
        self,
        train_step: step.TrainStep,
        window: step.Window,
        batch: dict[str, Any],
        reporter: reporting.Reporter,
    ) -> None:
        """Says so before a step that this machine's memory will not do for.

        A batch is looked at if its inputs are larger than any before.
        """
        size = batch["inputs"].size
        if size <= self._largest:
            return
        self._largest = size
        with contextlib.suppress(NotImplementedError):  # not every backend tells
            estimate = memory.of_step(train_step, self.state, window, batch)
            if text := memory.warning(estimate, self.mesh):
                reporter.say(text)

    def check_finite(self, window: step.Window | None, variables: Any = None) -> None:
        """Stops the run where the loss of a step, or a parameter to be saved, is not finite."""
        bad = int(window.nonfinite_step) if window is not None else 0
        if not bad and (variables is None or bool(step.all_finite(variables))):
            return
        what = f"the loss of step {bad}" if bad else f"a parameter after step {self.progress.step}"
        saved = self.checkpoints.steps()
        kept = (
            f"the checkpoint of step {saved[-1]} in {self.workdir} is good"
            if saved
            else "nothing was saved yet"
        )
        raise NonFiniteError(
            f"{what} is not finite; {kept}. "
            "A lower optimizer.learning_rate, a warm-up or optimizer.clip_norm may help"
        )

    def save(self, measured: Mapping[str, float] | None) -> None:
        """Writes a checkpoint, with the metrics of this step if they are the best so far."""
        self.checkpoints.save(
            self.progress.step,
            variables=self.state.variables,
            optimizer=(self.state.optimizer, self.state.carry),
            progress=dataclasses.asdict(self.progress),
            metrics=measured if self.improved(measured) else None,
        )

    def introduce(self, reporter: reporting.Reporter) -> None:
        """Says what is about to be trained."""
        from clu import parameter_overview

        number, size = weights.count(self.state.params)
        examples = ", ".join(
            f"{count:,} {split}" for split, count in self.data.facts.num_examples.items()
        )
        reporter.say(
            parameter_overview.get_parameter_overview(self.state.params, include_stats=False)
        )
        reporter.say(
            f"{self.plan.name or 'unnamed recipe'}: {number:,} parameters "
            f"({size / 1e6:.1f} MB), {examples} examples, {self.mesh.devices.size} device(s), "
            f"steps {self.progress.step} to {self.plan.steps} in {self.workdir}"
        )

    def conclude(self, reporter: reporting.Reporter, *, trained: bool) -> dict[str, float]:
        """Reads the test split once with the weights `zoo.load` takes, and completes the folder."""
        judged = self.card.training.get("steps") == self.progress.step
        if not trained and judged and self.card.metrics:
            reporter.say(
                f"{self.workdir} is finished already (step {self.progress.step}); nothing to do"
            )
            return dict(self.card.metrics)
        metrics = dict(self.progress.best)
        if "test" in self.data.facts.num_examples:
            chosen, variables = self.checkpoints.variables(self.state.variables)
            measured, note = self.evaluate(variables, "test")
            note = f"weights of step {chosen}" + (f", {note}" if note else "")
            reporter.evaluation(self.progress.step, measured, note)
            metrics |= measured
        folder.finish(
            self.workdir, self.card, self.plan, metrics, dataclasses.asdict(self.progress)
        )
        reporter.finish()
        why = f" ({self.progress.stopped})" if self.progress.stopped else ""
        reporter.say(
            f"{self.workdir}: {self.progress.step} steps in {self.progress.seconds:.0f} s{why}"
        )
        return metrics


def plan_of(source: str | Recipe, init_from: str | InitFrom | None) -> Recipe:
    """The recipe that is meant, with what it is to start from."""
    plan = recipe.get(source) if isinstance(source, str) else source
    if init_from is None:
        return plan
    return dataclasses.replace(
        plan, init_from=InitFrom(source=init_from) if isinstance(init_from, str) else init_from
    )


def assemble(plan: Recipe, path: Path, data: Any) -> Job:
    """All between a recipe and the first step, in the order in which one part needs the other."""
    compilation.use_cache()

    # Data first: it decides what the model's config leaves open. What is fine-tuned brings
    # its own reading of text.
    origin = finetune.open_source(plan.init_from)
    goes_on = checkpoints.any_in(path / FOLDER)
    card = folder.earlier_card(path, data is not None) if goes_on else None
    if card is None:
        examples = finetune.open_data(plan, origin, data)
    else:  # a run goes on with the vocabulary, classes and sizes that it began with
        tokenizer = hub.load_tokenizer(card, path)
        config = plan.data.matching(card.preprocessing)
        examples = config.open(data, tokenizer=tokenizer, labels=card.labels or None)
    plan = finetune.adopt(plan, origin).resolve(examples.facts)
    if not goes_on:
        _check_lengths(plan, examples)
    folder.claim(path, plan, goes_on=goes_on)
    card = card or folder.write_card(path, plan, examples.facts, own_rows=data is not None)

    # Weights, then the optimizer, then whatever an earlier session saved.
    mesh = sharding.make_mesh(plan.mesh)
    module = plan.model.build()
    transformation = plan.optimizer.build(plan.steps)
    state = states.create(
        module,
        plan.model,
        transformation,
        plan.seed,
        mesh,
        source=origin.variables if origin else None,
        skip=plan.init_from.skip if plan.init_from else (),
        carry=jax.device_get(plan.task.begin(module, plan.batch_size)),
    )
    states.check_batch_size(plan.batch_size, state, mesh)
    best = plan.task.best if "validation" in examples.facts.num_examples else None
    store = Checkpoints(path / FOLDER, best, latest=plan.keep_checkpoints)
    state, progress = _restore(store, state, mesh)
    if progress.step < plan.steps and not progress.stopped:
        card = folder.unfinished(path, card)
    evaluator = Evaluator(module, plan.task, mesh)
    return Job(
        plan,
        path,
        examples,
        mesh,
        card,
        module,
        transformation,
        evaluator,
        store,
        state,
        progress,
    )


def _check_lengths(plan: Recipe, examples: Data) -> None:
    """Refuses now what evaluation, which leaves no example out, would stumble over at the end."""
    limit = plan.model.max_positions
    if limit is None or not hasattr(examples, "longest"):
        return
    for split in examples.facts.num_examples.keys() - {"train"}:
        longest = examples.longest(split)
        if longest > limit:
            raise ConfigError(
                f"the {split} split has a sentence that is padded to {longest} tokens, and the "
                f"model reads up to {plan.model.described_limit}; take data without such sentences"
                + ("" if plan.init_from else ", or a model with more positions")
            )


def _restore(store: Checkpoints, state: TrainState, mesh: Mesh) -> tuple[TrainState, Progress]:
    restored = store.restore(variables=state.variables, optimizer=(state.optimizer, state.carry))
    if restored is None:
        return state, Progress()
    number, variables, (optimizer, carry), progress = restored
    done = sharding.replicate(np.int32(number), mesh)
    return TrainState(done, variables, optimizer, state.key, carry), Progress(**progress)
