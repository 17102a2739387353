"""Recipes for translation."""

from __future__ import annotations

from zoo import registry
from zoo.models.transformer import TransformerConfig
from zoo.pipelines.translation import TranslationData
from zoo.tokenizers import TokenizerConfig
from zoo.train.optimizers import Adam, Linear
from zoo.train.recipe import Recipe
from zoo.train.tasks import Translation

TESTS = (
    "multi30k/val.{en,de}",
    "multi30k/test_2016_flickr.{en,de}",
    "newstest2013/newstest2013.{en,de}",
    "newstest2014/newstest2014.{en,de}",
)
"""What no recipe may train on."""


@registry.recipes.register
def transformer_ende_small() -> Recipe:
    """English -> German, small enough for two CPU cores: captions of pictures and everyday phrases.

    zoo train transformer_ende_small --workdir runs/ende
    """
    return Recipe(
        model=TransformerConfig(
            d_model=256,
            d_ff=1024,
            num_heads=4,
            num_encoder_layers=3,
            num_decoder_layers=3,
            max_len=128,
            dropout_rate=0.1,
            dtype="bfloat16",
        ),
        data=TranslationData(
            # The captions three times, since they are what the test is made of.
            train=(*["multi30k/train.{en,de}"] * 3, "tatoeba_deu_eng/deu.txt"),
            source_column=0,
            target_column=1,
            validation=("multi30k/val.{en,de}",),
            test=("multi30k/test_2016_flickr.{en,de}",),
            exclude=TESTS,
            tokenizer=TokenizerConfig(
                kind="sentencepiece", vocab_size=8000, character_coverage=1.0
            ),
            max_len=64,
            boundaries=(8, 12, 16, 24, 40),
            batch_tokens=2048,
        ),
        task=Translation(),
        optimizer=Adam(
            learning_rate=1.5e-3, b2=0.98, clip_norm=1.0, schedule=Linear(warmup_steps=500)
        ),
        steps=6_000,
        batch_size=64,
        eval_every=750,
        checkpoint_every=500,
        log_every=200,
    )
