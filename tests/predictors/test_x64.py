"""Under JAX_ENABLE_X64 every predictor gives the answers that it gives without."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from helpers import SIZES, toy_predictor

TEXTS = ["ab", "", "a longer text"]


def language_model(key, family):
    from zoo.models.recurrent import RecurrentLMConfig
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.reformer.hashing import LSHAttentionConfig
    from zoo.models.reformer.models import ReformerLMConfig
    from zoo.models.transformer import TransformerLMConfig

    attention = (
        SelfAttentionConfig(chunk_len=4, chunks_before=1),
        LSHAttentionConfig(chunk_len=4, num_buckets=4),
    )
    config = {
        "transformer": lambda: TransformerLMConfig(**SIZES, vocab_size=258, num_layers=1),
        "gru": lambda: RecurrentLMConfig(vocab_size=258, d_model=8, num_layers=1, cell="gru"),
        "lstm": lambda: RecurrentLMConfig(vocab_size=258, d_model=8, num_layers=1),
        "reformer": lambda: ReformerLMConfig(
            **SIZES, vocab_size=258, num_layers=2, d_key=8, d_value=8, attention=attention
        ),
    }[family]()
    return toy_predictor(config, "language_modeling", key)


@pytest.mark.parametrize("family", ["transformer", "gru", "lstm", "reformer"])
def test_language_models(key, family):
    model = language_model(key, family)

    def ask():
        options = {"max_new_tokens": 6, "seed": 1}
        return (
            model.generate(TEXTS, temperature=0.0, **options),
            [answer.text for answer in model.generate("ab", num_return=2, top_p=0.9, **options)],
            np.round(model.score(TEXTS), 3).tolist(),
        )

    expected = ask()
    with jax.enable_x64(True):
        assert ask() == expected


@pytest.mark.parametrize("family", ["transformer", "lstm", "reformer"])
def test_translators(key, family):
    from zoo.models.reformer.models import ReformerConfig
    from zoo.models.seq2seq import LSTMSeq2SeqConfig
    from zoo.models.transformer import TransformerConfig

    layers = {"vocab_size": 258, "num_encoder_layers": 1, "num_decoder_layers": 1}
    config = {
        "transformer": lambda: TransformerConfig(**SIZES, **layers),
        "lstm": lambda: LSTMSeq2SeqConfig(d_model=8, **layers),
        "reformer": lambda: ReformerConfig(**SIZES, **layers, d_key=8, d_value=8),
    }[family]()
    model = toy_predictor(config, "translation", key)

    def ask():
        options = {"max_new_tokens": 6, "prefix": "x"}
        return (
            model(TEXTS, beam_size=2, **options),
            model(TEXTS, temperature=0.9, top_k=9, **options),
            np.round(model.score(TEXTS, TEXTS), 3).tolist(),
        )

    expected = ask()
    with jax.enable_x64(True):
        assert ask() == expected


@pytest.mark.parametrize("family", ["bag", "transformer", "lstm"])
def test_text_classifiers(key, family):
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.models.lstm import LSTMClassifierConfig
    from zoo.models.transformer import TransformerEncoderConfig

    sizes = {"vocab_size": 258, "num_classes": 3}
    config = {
        "bag": lambda: BagOfEmbeddingsConfig(d_model=4, ngram_order=2, num_buckets=32, **sizes),
        "transformer": lambda: TransformerEncoderConfig(**SIZES, num_layers=1, **sizes),
        "lstm": lambda: LSTMClassifierConfig(d_model=8, **sizes),
    }[family]()
    model = toy_predictor(config, "text_classification", key, labels=("a", "b", "c"))

    def ask():
        return [sorted(answer.probabilities.items()) for answer in model(TEXTS)]

    expected = ask()
    with jax.enable_x64(True):
        for one, other in zip(ask(), expected, strict=True):
            assert [label for label, _ in one] == [label for label, _ in other]
            np.testing.assert_allclose([p for _, p in one], [p for _, p in other], rtol=1e-5)


def test_taggers_and_image_classifiers(key):
    from zoo.models.lstm import LSTMTaggerConfig
    from zoo.models.resnet import ResNetConfig
    from zoo.tokenizers import IdTokenizer

    config = LSTMTaggerConfig(vocab_size=11, d_model=4, num_classes=2)
    tagger = toy_predictor(config, "tagging", key, tokenizer=IdTokenizer(11), labels=("A", "B"))
    image = (np.arange(192) % 256).astype(np.uint8).reshape(8, 8, 3)
    config = ResNetConfig(input_shape=(8, 8, 3), num_classes=2, stage_sizes=(1,), width=4)
    preprocessing = {"height": 8, "width": 8, "channels": 3}
    classifier = toy_predictor(
        config, "image_classification", key, preprocessing, labels=("A", "B")
    )

    def ask():
        tags = [tag.probability for tag in tagger("3 4 5")]
        return [*tags, classifier(image).probability]

    expected = ask()
    with jax.enable_x64(True):
        np.testing.assert_allclose(ask(), expected, rtol=1e-5)
