"""Mistakes of users of reinforcement learning: one line each, which names what is wrong."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from rl_recipes import LSTM, MLP, ppo, tiny

import zoo
from zoo.cli import main
from zoo.config import ConfigError, Mistake
from zoo.models.mlp import MLPConfig
from zoo.models.policy import PolicyMLPConfig
from zoo.pipelines import TextClassificationData
from zoo.pipelines.images import ImageClassificationData
from zoo.train import AWR, Adam, ImageClassification, NonFiniteError, Recipe, TextClassification
from zoo.train.reinforcement.episodes import Episodes

TINY = "--model.hidden-sizes 4 --task.num-steps 8 --batch-size 2 --data.episodes 2 --quiet".split()


@pytest.fixture
def refused(capsys, tmp_path):
    """Runs `zoo train`, which must refuse it in one line: that line."""

    def train(words):
        code = main(["train", *words.split(), *TINY, "--workdir", str(tmp_path / "run")])
        out, err = capsys.readouterr()
        assert code == 2, err
        (line,) = err.splitlines()
        assert out == ""
        return line

    return train


CARTPOLE = "CartPole gives observations of shape (4,) and takes 2 actions"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--data.environment cartpol", ["no environment named 'cartpol'", "'cartpole'"]),
        ("--data.environment CartPol-v1", ["no gymnasium environment", "'CartPole-v1'"]),
        ("--model.num-actions 3", ["has 3 actions", CARTPOLE]),
        ("--model.observation-shape 3", ["observations of shape (3,)", CARTPOLE]),
        ("--model.action-shape 1", ["num_actions is 2 and action_shape is (1,)", "environment"]),
        ("--task.environment acrobot", ["'acrobot'", "'cartpole'", "leave task.environment out"]),
        ("--task.minibatches 7", ["minibatches is 7", "16 steps (2 environments x 8)"]),
        ("--task.gamma 1.5", ["gamma is 1.5"]),
        ("--task.clip 0", ["clip is 0"]),
        ("--data.test-episodes 0", ["test_episodes is 0"]),
        ("--model.std 0", ["std is 0"]),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(flags, words, refused, tmp_path):
    line = refused(f"ppo_cartpole {flags}")
    for word in words:
        assert word in line
    assert not (tmp_path / "run" / "card.toml").exists()


def test_gymnasium_is_named_where_it_is_missing(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    line = refused("ppo_cartpole --data.environment Nowhere-v3")
    assert "Nowhere-v3" in line
    assert 'pip install "flax-zoo[rl]"' in line


@pytest.mark.parametrize(
    ("task", "model", "words"),
    [
        (AWR(num_steps=8, replay=3, minibatches=7), MLP, r"96 steps \(4 .* x 8 x 3 roll-outs\)"),
        (AWR(num_steps=8), LSTM, "take a policy without a memory"),
        (ppo(), MLPConfig(num_classes=2), "PPO trains a policy, and the model is a MLPConfig"),
    ],
)
def test_a_model_of_another_kind_or_size(task, model, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        zoo.fit(tiny(task, model), tmp_path / "run", quiet=True)


@pytest.mark.parametrize("model", [MLP, PolicyMLPConfig(observation_shape=(8,), num_actions=2)])
def test_a_policy_has_its_own_tasks(model, tmp_path):
    text = {"data": TextClassificationData(holdout=0.5), "task": TextClassification()}
    image = {"data": ImageClassificationData(holdout=0.0), "task": ImageClassification()}
    rows = {
        "text": [("a b", "x"), ("c d", "y")],
        "image": [(np.zeros((2, 4, 1), np.uint8), label) for label in (0, 1)],
    }
    for kind, parts in (("text", text), ("image", image)):
        recipe = Recipe(
            model=model, optimizer=Adam(learning_rate=0.1), steps=1, batch_size=2, **parts
        )
        with pytest.raises(
            ConfigError, match="trains no policy, and the model is a PolicyMLPConfig"
        ):
            zoo.fit(recipe, tmp_path / kind, data=rows[kind], quiet=True)


def test_data_of_another_kind(tmp_path):
    common = {"model": MLP, "optimizer": Adam(learning_rate=0.1), "steps": 1, "batch_size": 2}
    with pytest.raises(ConfigError, match="PPO learns in an environment, and the data is a Text"):
        Recipe(data=TextClassificationData(), task=ppo(), **common)
    with pytest.raises(ConfigError, match="learns from examples, and the data is an environment"):
        Recipe(data=Episodes(), task=TextClassification(), **common)
    with pytest.raises(ConfigError, match="it takes no data"):
        zoo.fit(tiny(ppo()), tmp_path / "run", data=[("a", "b")], quiet=True)


@pytest.mark.parametrize("spoilt", ["observation", "reward"])
def test_an_environment_that_is_not_finite_is_named(spoilt, chain, registered, tmp_path):
    name = registered(f"spoilt_{spoilt}", chain(spoilt=spoilt))
    with pytest.raises(NonFiniteError, match=f"environment {name} gave an? {spoilt} that is NaN"):
        zoo.fit(tiny(ppo(), environment=name, log_every=4), tmp_path / "run", quiet=True)


def test_training_that_diverges_is_not_laid_on_the_environment(tmp_path):
    recipe = tiny(ppo(), environment="pendulum", log_every=4, **{"optimizer.learning_rate": 1e38})
    with pytest.raises(NonFiniteError, match=r"A lower optimizer\.learning_rate") as caught:
        zoo.fit(recipe, tmp_path / "run", quiet=True)
    assert "environment" not in str(caught.value)


def test_an_environment_of_gymnasium_that_is_not_finite_is_named(refused):
    gymnasium = pytest.importorskip("gymnasium")

    class Spoilt(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(2, np.float32), {}

        def step(self, action):
            return np.zeros(2, np.float32), np.nan, False, False, {}

    gymnasium.register("Spoilt-v0", entry_point=Spoilt, max_episode_steps=3)
    line = refused("ppo_cartpole --data.environment Spoilt-v0 --steps 1")
    assert "Spoilt-v0 gave the reward NaN in environment 0 of 2" in line


ZEROS = [0.0] * 4


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda agent: agent.act([1, 2, 3]), r"has the shape \[3\]; toy takes one \[4\]"),
        (lambda agent: agent.value([[1, 2, 3]]), r"has the shape \[1, 3\]; .* \[N, 4\]"),
        (lambda agent: agent.act(np.zeros((2, 2, 4))), "has the shape"),
        (lambda agent: agent.act([0, 0, 0, np.nan]), "an entry that is NaN or infinite"),
        (lambda agent: agent.value([0, 0, 0, -np.inf]), "an entry that is NaN or infinite"),
        (lambda agent: agent.act("0 0 0 0"), "takes numbers"),
        (lambda agent: agent.act(["a"] * 4), "takes numbers"),
        (lambda agent: agent.act(ZEROS, temperature=-1), "temperature is -1"),
        (lambda agent: agent.act(ZEROS, temperature=np.nan), "temperature is nan"),
        (lambda agent: agent.act(ZEROS, temperature="warm"), "temperature is 'warm'"),
        (lambda agent: agent.act(ZEROS, seed=1.5), "seed is 1.5; it must be an integer"),
        (lambda agent: agent.act(ZEROS, seed=2**70), "an integer of 64 bits"),
        (lambda agent: agent.play(0), "episodes is 0"),
        (lambda agent: agent.play(1.5), "episodes is 1.5; it must be an integer"),
        (lambda agent: agent.play(2, seed=None), "seed is None"),
        (lambda agent: agent.play(2, temperature=-1), "temperature is -1"),
        (lambda agent: agent.play(2, environment="acrobot"), r"shape \(4,\).* shape \(6,\)"),
        (lambda agent: agent.play(2, environment="pendulum"), "2 actions.*continuous"),
        (lambda agent: agent.play(2, environment="cartpol"), "did you mean 'cartpole'"),
        (lambda agent: agent.play(2, environment=3), "environment is 3; it must be a name"),
        (lambda agent: agent.step(ZEROS, ()), "takes a batch"),
        (lambda agent: [*agent.printed(["1 2 x 4"])], "'1 2 x 4' is not an input of this model"),
        (lambda agent: [*agent.printed(["nowhere.npy"])], r"there is no file nowhere\.npy"),
        (lambda agent: agent.step([ZEROS], (np.zeros(3),)), r"begin\(1\) gives the first"),
    ],
)
def test_what_an_agent_cannot_take(ask, words, agent):
    with pytest.raises(Mistake, match=words):
        ask(agent)
