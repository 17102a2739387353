"""The predictors that most tests here ask."""

from __future__ import annotations

import pytest
from helpers import SIZES, toy_predictor


@pytest.fixture
def translator(key):
    from zoo.models.transformer import TransformerConfig

    config = TransformerConfig(**SIZES, vocab_size=258, num_encoder_layers=1, num_decoder_layers=1)
    return toy_predictor(config, "translation", key)


@pytest.fixture
def language_model(key):
    from zoo.models.transformer import TransformerLMConfig

    config = TransformerLMConfig(**SIZES, vocab_size=258, num_layers=1)
    return toy_predictor(config, "language_modeling", key, {"eos": False})
