"""The first and the last words of a run: what is trained, and what came of it."""

from __future__ import annotations

from zoo.storage import weights
from zoo.storage.adapters import BASE
from zoo.train import folder, sharding, stacking
from zoo.train.evaluation import Evaluator
from zoo.train.reporting import Reporter
from zoo.train.start import Run
from zoo.train.state import Progress, TrainState


def introduce(run: Run, state: TrainState, progress: Progress, reporter: Reporter) -> None:
    """Says what is about to be trained: parameters, data, devices, steps."""
    from clu import parameter_overview

    recipe = run.recipe
    number, size = weights.count(state.params)
    what = "parameters"
    if recipe.lora.targets and recipe.init_from:
        frozen, _ = weights.count(state.variables[BASE])
        what = f"parameters of adapters beside {frozen:,} frozen ones of {recipe.init_from.source}"
    examples = ", ".join(
        f"{count:,} {split}" for split, count in run.data.facts.num_examples.items()
    )
    if remark := recipe.task.remark:
        reporter.say(remark)
    for reason, count in run.data.facts.left_out.items():
        reporter.say(f"left out of training: {count:,} rows ({reason})")
    reporter.say(
        parameter_overview.get_parameter_overview(
            stacking.apart(run.shapes.params), include_stats=False
        )
    )
    reporter.say(
        f"{recipe.name or 'unnamed recipe'}: {number:,} {what} "
        f"({size / 1e6:.1f} MB), {examples} examples, "
        f"{run.mesh.devices.size} device(s){sharding.in_brackets(run.mesh)}, "
        f"steps {progress.step} to {recipe.steps} in {run.workdir}"
    )


def conclude(
    run: Run,
    state: TrainState,
    progress: Progress,
    evaluate: Evaluator,
    reporter: Reporter,
    *,
    trained: bool,
) -> dict[str, float]:
    """Evaluates the test split, once, with the weights that `zoo.load` takes, and completes the
    folder: metrics in the card, and the learning curve.

    Args:
      run: the run.
      state: its state, whose weights (but not their average) are only a template here.
      progress: its progress.
      evaluate: its evaluator.
      reporter: its reporter.
      trained: whether this session took a step.

    Returns:
      The metrics of the run.
    """
    is_judged = run.card.training.get("steps") == progress.step
    if not trained and is_judged and run.card.metrics:
        more = "; with more --steps it goes on" if progress.stopped else ""
        reporter.say(
            f"{run.workdir} is already finished (step {progress.step}); there is nothing to do"
            + more
        )
        return dict(run.card.metrics)
    metrics = dict(progress.best)
    if "test" in run.data.facts.num_examples:
        step, own = run.store.variables(stacking.apart(run.shapes.own))
        own = stacking.as_in(run.shapes.own, own)
        measured, note = evaluate({**state.variables, **own}, "test")
        measured |= evaluate.of_average(state, "test")
        note = f"weights of step {step}" + (f", {note}" if note else "")
        reporter.evaluation(progress.step, measured, note)
        metrics |= measured
    folder.write_results(run.workdir, run.card, run.recipe, metrics, progress)
    reporter.draw()
    why = {
        "": "",
        "patience": f" ({progress.evaluations_since_best} evaluations without a better "
        f"{run.recipe.task.best.metric})",
        "callback": " (a callback ended the run)",
    }[progress.stopped]
    reporter.say(f"{run.workdir}: {progress.step} steps in {progress.seconds:.0f} s{why}")
    return metrics
