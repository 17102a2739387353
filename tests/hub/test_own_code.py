"""Models whose code is the user's: loaded at the user's word, never at the card's alone."""

from __future__ import annotations

import re

import jax.numpy as jnp
import pytest

NETS = """
from dataclasses import dataclass
import jax, jax.numpy as jnp
from flax import linen as nn
from zoo.models.base import ModelConfig

class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(1)(x)[..., 0] + {offset}

@dataclass(frozen=True, kw_only=True)
class NetConfig(ModelConfig):
    def build(self):
        return Net()

    def example_inputs(self, batch):
        return (jax.ShapeDtypeStruct((batch, 2), jnp.float32),)
"""


@pytest.fixture
def exported(key, tmp_path):
    """The folder of a model whose class is in nets.py, and that file, renamed.

    In this process nets.py has been imported; under the other name the class is not known.
    """
    from zoo import hub
    from zoo.config import load_file
    from zoo.storage.cards import Card, code_of

    (tmp_path / "nets.py").write_text(NETS.format(offset=0))
    config = load_file(tmp_path / "nets.py").NetConfig()
    card = Card(name="any", task="module", config=config, code=code_of(config))
    variables = config.build().init(key(), jnp.ones((1, 2)))
    hub.write_model(tmp_path / "toy", card, variables, None)
    name = f"nets_{re.sub('[^a-z]', '_', tmp_path.name)}"
    path = tmp_path / "toy" / "toy.toml"
    path.write_text(
        path.read_text().replace('"nets:', f'"{name}:').replace("nets.py", f"{name}.py")
    )
    (tmp_path / "nets.py").rename(tmp_path / f"{name}.py")
    return tmp_path / "toy", tmp_path / f"{name}.py"


def test_the_card_names_file_and_class_and_loading_takes_the_user_s_word(exported, capsys):
    import zoo
    from zoo.storage.cards import CardError

    folder, code = exported
    text = (folder / "toy.toml").read_text()
    assert f'type = "{code.stem}:NetConfig"' in text
    assert f'file = "{code.name}"' in text and re.search('sha256 = "[0-9a-f]{64}"', text)
    with pytest.raises(CardError) as error:
        zoo.load(folder)
    assert str(error.value) == (
        f"{folder}/toy.toml: ModelConfig: {code.stem}:NetConfig is not part of the zoo. If you "
        f"trust {code.name}, say where it is: code='{code.name}' in Python, --code {code.name} in "
        "the shell"
    )
    model = zoo.load(folder, code=code)
    assert model([1.0, 2.0]).shape == ()
    assert model.card == zoo.card(folder)  # once loaded, the class is known
    assert capsys.readouterr().err == ""


def test_a_file_that_has_changed_is_used_and_said(exported, capsys):
    import zoo

    folder, code = exported
    before = zoo.load(folder, code=code)([0.0, 0.0])
    code.write_text(NETS.format(offset=7))
    assert zoo.load(folder, code=code)([0.0, 0.0]) == before + 7
    assert capsys.readouterr().err == (
        f"zoo: {code.name} has changed since toy was trained: its sha256 is not the one in the "
        "card\n"
    )


def test_every_command_that_opens_a_model_takes_code(exported, capsys, tmp_path):
    from zoo.cli import main

    folder, code = (str(path) for path in exported)
    assert main(["predict", folder, "1 2"]) == 2
    assert f"--code {exported[1].name} in the shell" in capsys.readouterr().err
    assert main(["predict", folder, "1 2", "3 4", "--code", code]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in lines] == ["1 2", "3 4"]
    for words in (
        ["show", folder],
        ["verify", folder],
        ["export", folder, "--out", str(tmp_path / "again")],
    ):
        assert main([*words, "--code", code]) == 0, capsys.readouterr()
    assert main(["eval", folder, "--code", code]) == 2
    assert "names no recipe" in capsys.readouterr().err


def test_evaluation_takes_code_too(exported):
    import zoo

    folder, code = exported
    with pytest.raises(LookupError, match="names no recipe"):
        zoo.evaluate(folder, code=code)


def test_an_error_in_the_file_is_one_line_that_says_where(exported, capsys):
    from zoo.cli import main

    folder, code = exported
    code.write_text("import jax\n1 / 0\n")
    assert main(["predict", str(folder), "1 2", "--code", str(code)]) == 2
    assert capsys.readouterr().err == (f"zoo: {code}:2: ZeroDivisionError: division by zero\n")
