"""`zoo play`, and environments among what the command lists and shows."""

from __future__ import annotations

import jax
import pytest
from PIL import Image

from zoo import hub
from zoo.models.policy import PolicyMLPConfig
from zoo.storage.cards import Card


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """The folder of an exported agent for CartPole that has learnt nothing."""
    from zoo.hub.exporting import write_model

    folder = tmp_path_factory.mktemp("agents") / "novice"
    config = PolicyMLPConfig(observation_shape=(4,), num_actions=2, hidden_sizes=(4,))
    module = config.build()
    variables = module.init(jax.random.key(0), jax.numpy.zeros((1, 4)))
    card = Card(
        name="novice", task="control", config=config, preprocessing={"environment": "cartpole"}
    )
    write_model(folder, card, variables, None)
    return folder


def test_play_prints_what_the_agent_plays(zoo_command, agent):
    code, out, err = zoo_command("play", agent, "--episodes", 3, "--seed", 5, "--each")
    assert (code, err) == (0, "")
    returns = hub.load(agent).play(3, seed=5)
    assert out.splitlines() == [
        *(f"{value:.6g}" for value in returns.each),
        f"{returns.mean:.1f} ± {returns.std:.1f}  (3 episodes of cartpole)",
    ]


def test_play_draws_an_episode(zoo_command, agent, tmp_path):
    path = tmp_path / "new" / "out.gif"
    code, out, _ = zoo_command(
        "play", agent, "--episodes", 1, "--environment", "cartpole_v0", "--render", path
    )
    assert code == 0
    first, second = out.splitlines()
    assert first.endswith("(an episode of cartpole_v0)")
    with Image.open(path) as picture:
        assert f"{path}: an episode of {picture.n_frames - 1} steps, return " in second


MISTAKES = {
    "an environment without a drawing": (
        ["--environment", "undrawn", "--render", "out.gif"],
        "has no drawing; acrobot, cartpole,",
    ),
    "a name that is not that of a GIF": (["--render", "out.png"], "a name that ends in .gif"),
    "a place where nothing can be written": (
        ["--render", "/proc/out.gif"],
        "/proc cannot be written to",
    ),
    "an environment of other spaces": (
        ["--environment", "pendulum"],
        "gives observations of shape (3,)",
    ),
    "an unknown environment": (
        ["--environment", "cartpol"],
        "no environment named 'cartpol'; did you mean 'cartpole'?",
    ),
    "no episode": (["--episodes", "0"], "episodes is 0; it must be 1 or more"),
    "a negative temperature": (["--temperature", "-1"], "temperature is -1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_played(
    zoo_command, agent, monkeypatch, tmp_path, case
):
    from zoo import envs, registry

    class Undrawn(envs.CartPole):
        has_drawing = False
        frame = envs.Environment.frame

    monkeypatch.setitem(registry.environments._modules, "undrawn", __name__)
    monkeypatch.setitem(registry.environments._functions, "undrawn", Undrawn)
    monkeypatch.chdir(tmp_path)
    words, message = MISTAKES[case]
    code, out, err = zoo_command("play", agent, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_only_agents_play(zoo_command):
    code, out, err = zoo_command("play", "bag_of_embeddings_imdb")
    assert (code, out) == (2, "")
    assert "is a model of text_classification, which plays in no environment; ask it with" in err


def test_environments_are_listed_and_shown(zoo_command):
    import zoo

    out = zoo_command("list", "--plain", "--kind", "environments")[1]
    assert out.splitlines() == list(zoo.list_environments())
    out = zoo_command("list", "pend*", "--kind", "environments")[1]
    assert out.splitlines()[0] == "environments (1)"
    assert out.splitlines()[-1].split()[0] == "pendulum"
    out = zoo_command("show", "cartpole_masked")[1]
    for part in (
        "environment cartpole_masked\nA pole on a cart for at most 500",
        "Without friction",
        "observation: a float32 array of shape (2,)",
        "env.env.gravity = 9.8",
        "steps: 500",
    ):
        assert part in out
    assert "did you mean 'cartpole_masked'" in zoo_command("show", "cartpole_maskd")[2]
