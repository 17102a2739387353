"""README's table of families says what the cards say."""

from __future__ import annotations

import pytest
from blocks import CHECKOUT

SHOWN = {
    "bag_of_embeddings_imdb": ("test/accuracy", "{:.2%}", " of IMDB"),
    "mlp_mnist": ("test/accuracy", "{:.2%}", " of MNIST"),
    "lstm_shakespeare": ("validation/loss", "{:.3f}", " nats a character"),
    "resnet20_cifar10": ("test/accuracy", "{:.2%}", " of CIFAR-10"),
    "transformer_ende_small": ("test/bleu", "{:.1f}", " BLEU on Multi30k 2016"),
    "reformer_shakespeare": ("validation/loss", "{:.3f}", " nats a byte"),
}
"""Card -> metric, form and what follows the figure."""


@pytest.mark.parametrize("name", SHOWN)
def test_a_figure_of_the_readme_is_that_of_the_card(name):
    import zoo

    metric, form, rest = SHOWN[name]
    figure = form.format(zoo.card(name).metrics[metric]).replace("%", " %")
    assert figure + rest in (CHECKOUT / "README.md").read_text(encoding="utf-8")
