"""Several seeds: one program and its checkpoint, the run of each, means, and the one taken."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal

import jax
import numpy as np
import pytest

import zoo
from zoo import hub, registry
from zoo.cli.main import main
from zoo.config import ConfigError, FileMistake
from zoo.models.policy import PolicyMLPConfig
from zoo.storage.cards import Card
from zoo.storage.checkpoints import Checkpoints
from zoo.storage.seeds import Seeds
from zoo.train import (
    PPO,
    Adam,
    Episodes,
    Interrupted,
    Linear,
    NonFiniteError,
    Recipe,
    intervals,
    learning_curve,
    run_seeds,
    vmapped,
)
from zoo.train import team as teams
from zoo.train.reporting import Reporter
from zoo.train.setup import set_up
from zoo.train.update import Tally

RECIPE = Recipe(
    name="tiny_ppo",
    model=PolicyMLPConfig(hidden_sizes=(4,)),
    data=Episodes(environment="cartpole_v0", episodes=2, test_episodes=3),
    task=PPO(num_steps=8, epochs=2, minibatches=2),
    optimizer=Adam(learning_rate=0.03, schedule=Linear()),
    steps=4,
    batch_size=2,
    eval_every=1,
    checkpoint_every=2,
    log_every=2,
    seed=3,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three seeds that were never interrupted, which the tests only read."""
    path = tmp_path_factory.mktemp("seeds") / "whole"
    return run_seeds(RECIPE, path, seeds=3, quiet=True)


def arrays_of(folder):
    """The latest checkpoint of all seeds."""
    team = teams.Team(set_up(RECIPE), [3, 4, 5])
    shapes = team.begin()
    store = Checkpoints(folder / vmapped.FOLDER, read_only=True)
    return store.restore(variables=shapes.variables, optimizer=(shapes.optimizer, shapes.carry))


def records(folder):
    """The metrics of a run, without its speed."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    speed = ("steps_per_second", "data_wait")
    return [
        {name: value for name, value in line.items() if not any(part in name for part in speed)}
        for line in lines
    ]


def test_what_was_interrupted_ends_as_if_it_never_was(trained, tmp_path, monkeypatch):
    path = tmp_path / "again"
    after = Reporter.after_step

    def interrupt(self, step):
        after(self, step)
        if step == 3:  # between two checkpoints, and between two reports
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Reporter, "after_step", interrupt)
        with pytest.raises(Interrupted, match="interrupted at step 3 of 4; saved to"):
            run_seeds(RECIPE, path, seeds=3, quiet=True)
    with pytest.raises(FileMistake, match="trains 3 seeds and has not ended"):
        zoo.load(path)
    resumed = run_seeds(RECIPE, path, seeds=3, quiet=True)
    assert resumed.each == trained.each
    assert resumed.chosen.name == trained.chosen.name
    expected, found = arrays_of(trained.workdir), arrays_of(path)
    jax.tree.map(np.testing.assert_array_equal, found[:3], expected[:3])
    for name in (".", "seed_3", "seed_4", "seed_5"):
        assert records(path / name) == records(trained.workdir / name)
    assert (path / learning_curve.CURVE).is_file()


def test_each_seed_is_what_a_run_of_that_seed_is(trained, tmp_path):
    single = zoo.fit(dataclasses.replace(RECIPE, seed=4), tmp_path / "single", quiet=True)
    seed = trained.workdir / "seed_4"
    for step in ("best", "latest"):
        ours, theirs = zoo.load(seed, step=step), zoo.load(single.workdir, step=step)
        assert ours.card.checkpoint == theirs.card.checkpoint
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            ours.variables,
            theirs.variables,
        )
    assert trained.each[1] == pytest.approx(dict(single.metrics), rel=1e-3)
    card = Card.read(seed / "card.toml")
    assert (card.training["seed"], card.training["steps"]) == (4, 4)
    found, expected = records(seed), records(single.workdir)
    assert [line.keys() for line in found] == [
        line.keys() - {"train/learning_rate"} for line in expected
    ]


def test_the_seed_of_median_validation_return_is_loaded(trained, capsys):
    hub.opening._say_once.cache_clear()
    returns = [metrics["validation/return"] for metrics in trained.each]
    at = trained.folders.index(trained.chosen)
    assert sorted(returns)[1] == returns[at]
    agent = zoo.load(trained.workdir)
    assert agent.card.training["seed"] == 3 + at
    assert f"{trained.workdir}: {trained.chosen.name} is taken (median validation/return of 3 " in (
        capsys.readouterr().err
    )
    assert zoo.evaluate(trained.workdir)["test/return"] == pytest.approx(
        trained.each[at]["test/return"]
    )
    assert "validation/return" in repr(trained) and "<img" in trained._repr_html_()


def test_a_finished_folder_says_so(trained, capsys):
    again = run_seeds(RECIPE, trained.workdir, seeds=3)
    assert "is already finished (step 4)" in capsys.readouterr().out
    assert again.each == trained.each


@pytest.mark.slow
def test_seeds_go_on_with_more_steps_together_and_alone(trained, tmp_path, capsys):
    path, one = tmp_path / "copy", tmp_path / "seed_4"
    shutil.copytree(trained.workdir, path)
    shutil.copytree(trained.workdir / one.name, one)
    longer = dataclasses.replace(RECIPE, seed=4, steps=5, schedule_steps=4)
    assert int(zoo.fit(longer, one, quiet=True).state.step) == 5
    longer = run_seeds(dataclasses.replace(RECIPE, steps=5), path, seeds=3)
    assert "keeps the schedule of 4 steps" in capsys.readouterr().out
    assert Card.read(longer.chosen / "card.toml").training["steps"] == 5


def test_what_does_not_fit_the_folder_is_refused(trained, tmp_path):
    with pytest.raises(ConfigError, match="holds 3 seeds, seed_3 to seed_5, and not seed_3 to see"):
        run_seeds(RECIPE, trained.workdir, seeds=2, quiet=True)
    with pytest.raises(ConfigError, match="holds several seeds; resume them with --seeds"):
        zoo.fit(RECIPE, trained.workdir, quiet=True)
    with pytest.raises(ConfigError, match=r"task.gamma is 0\.99 there, 0\.9 now"):
        run_seeds(zoo.override(RECIPE, {"task.gamma": 0.9}), trained.workdir, seeds=3, quiet=True)
    assert hub.find(trained.workdir) == trained.chosen / "card.toml"
    (tmp_path / "card.toml").write_text("")
    with pytest.raises(ConfigError, match="holds a run of one seed"):
        run_seeds(RECIPE, tmp_path, seeds=3, quiet=True)
    with pytest.raises(ConfigError, match="seeds is 0; it must be 1 or more"):
        run_seeds(RECIPE, tmp_path / "none", seeds=0)
    assert not (tmp_path / "none").exists()


def test_what_is_not_finite_is_said_of_its_seed(trained):
    store = Checkpoints(trained.workdir / vmapped.FOLDER, read_only=True)
    runs = {3: None, 4: None, 5: None}
    tally = Tally(None, np.array([0, 7, 0]))
    with pytest.raises(
        NonFiniteError, match="seed 4: the loss of step 7; the checkpoint of step 4"
    ):
        vmapped._check_finite(store, 8, tally, None, runs)
    weights = {"kernel": np.array([[1.0, 2.0], [3.0, 4.0], [np.inf, 0.0]])}
    with pytest.raises(NonFiniteError, match="seed 5: a parameter after step 8; the"):
        vmapped._check_finite(store, 8, None, weights, runs)
    vmapped._check_finite(store, 8, None, {"kernel": np.ones((3, 2))}, runs)


def test_other_recipes_train_seed_after_seed(recipe, tmp_path, monkeypatch):
    from zoo.train import seeds

    ran, metric = [], recipe().task.best.metric

    def run(recipe, path, **options):
        ran.append((recipe.seed, path.name))
        path.mkdir()
        measured = {metric: [0.5, 0.1, 0.3][recipe.seed]}
        (path / "metrics.jsonl").write_text(json.dumps({"step": 2, **measured}) + "\n")
        card = Card(name="x", task="module", config=recipe.model, metrics=measured)
        card.save(path / "card.toml")

    monkeypatch.setattr(seeds, "run", run)
    results = run_seeds(recipe(), tmp_path / "words", seeds=3, quiet=True)
    assert ran == [(0, "seed_0"), (1, "seed_1"), (2, "seed_2")]
    assert results.metrics[metric] == pytest.approx(0.3)
    assert results.chosen.name == "seed_2"
    (line,) = records(results.workdir)
    assert line == pytest.approx({"step": 2, metric: 0.3, f"{metric}_interval": 0.49683}, rel=1e-4)
    assert (results.workdir / learning_curve.CURVE).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.recipes.summaries()["control"])
def test_every_recipe_of_an_environment_of_jax_is_one_program(name):
    from zoo.train import seeds
    from zoo.train.tasks import Control

    made = zoo.recipe(name)
    if not isinstance(made.task, Control) or not seeds.trains_together(made):
        pytest.skip("trained seed after seed")
    team = teams.Team(set_up(made), [0, 1])
    with jax.numpy_rank_promotion("allow"):
        state, _ = jax.eval_shape(lambda: teams.unpacked(team.begin()))
        after, _ = jax.eval_shape(
            lambda state: team._step(state, team.filled_tally(state, {})), state
        )
    assert jax.tree.map(lambda a: a.shape, after) == jax.tree.map(lambda a: a.shape, state)


def test_intervals_are_student_s():
    mean, half = intervals.mean_and_interval([490.0, 500.0, np.nan])
    assert (mean, half) == pytest.approx((495.0, 63.531), rel=1e-4)
    mean, half = intervals.mean_and_interval(range(10))
    assert (mean, half) == pytest.approx((4.5, 2.2622 * 0.95743), rel=1e-4)
    assert np.isnan(intervals.mean_and_interval([1.0])[1])
    assert np.isnan(intervals.mean_and_interval([])[0])


def test_steps_in_environments_are_added_up():
    reports = [
        {"step": 2, "train/environment_steps": 100.0},
        {"step": 3, "validation/return": 1.0},
        {"step": 4, "train/environment_steps": 50.0},
    ]
    assert learning_curve._environment_steps(reports, [1, 2, 3, 4]) == [100, 200, 250, 300]
    assert learning_curve._environment_steps([], [1, 2]) == [1, 2]


def test_a_broken_list_of_seeds_is_said_to_be(tmp_path):
    assert Seeds.read(tmp_path) is None
    (tmp_path / "seeds.toml").write_text("folders = 3")
    with pytest.raises(FileMistake, match="does not name the runs"):
        Seeds.read(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "0"], "seeds is 0; it must be 1 or more"),
        (["--seeds", "2", "--profile-at", "3"], "--profile-at is for one run; leave out --seeds"),
        (["--seeds", "2", "--task.minibatches", "7"], "task.minibatches is 7, which does not div"),
        (["--seeds", "2", "--data.environment", "cartpol"], "did you mean 'cartpole'?"),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, flags, message):
    assert main(["train", "ppo_cartpole", "--workdir", str(tmp_path / "run"), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
