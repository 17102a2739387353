"""Bag of embeddings: trax's numbers, padding, n-grams computed by hand, the two ways to sum."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "classifier" / "bag_of_embeddings.npz"


@pytest.fixture
def family():
    from zoo.models import bag_of_embeddings

    return bag_of_embeddings


def trax_model():
    """The tutorial's model with trax's weights: golden arrays, config, checkpoint."""
    from zoo.interop import trax

    golden = {name: jnp.asarray(array) for name, array in np.load(GOLDEN).items()}
    config = trax.config("BagOfEmbeddings", vocab_size=50, d_feature=16, n_classes=3)
    return golden, config, trax.Checkpoint(tuple(golden[f"w{index}"] for index in range(3)))


@pytest.mark.parametrize("case", ["", "_more_padding"])
def test_logits_are_trax_s_also_with_more_padding_which_trax_averages(case):
    from zoo.interop import trax

    golden, config, checkpoint = trax_model()
    variables = trax.to_variables(checkpoint, config)
    logits = config.build().apply(variables, golden[f"tokens{case}"])
    np.testing.assert_allclose(
        jax.nn.log_softmax(logits), golden[f"log_probs{case}"], rtol=1e-4, atol=2e-5
    )


def test_loss_and_gradients_are_trax_s():
    from zoo.interop import trax

    golden, config, checkpoint = trax_model()

    def loss(variables):
        logits = config.build().apply(variables, golden["grad_tokens"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, golden["grad_labels"])
        return (losses * golden["grad_weights"]).sum() / golden["grad_weights"].sum()

    value, found = jax.value_and_grad(loss)(trax.to_variables(checkpoint, config))
    np.testing.assert_allclose(value, golden["grad_loss"], rtol=1e-5)
    gradients = tuple(golden[f"grad_g{index:03d}"] for index in range(3))
    expected = trax.to_variables(dataclasses.replace(checkpoint, weights=gradients), config)
    jax.tree.map(assert_close, found, expected)


def assert_close(gradient, expected):
    assert np.linalg.norm(gradient - expected) <= 1e-4 * np.linalg.norm(expected)


def configs(family):
    sizes = {"vocab_size": 20, "num_classes": 3, "d_model": 4}
    bigrams = {"ngram_order": 2, "num_buckets": 64}
    return {
        "mean": family.BagOfEmbeddingsConfig(**sizes),
        "bigrams": family.BagOfEmbeddingsConfig(**sizes, **bigrams),
        "set of bigrams": family.BagOfEmbeddingsConfig(
            **sizes, **bigrams, unique=True, pooling="sqrt"
        ),
    }


@pytest.mark.parametrize("name", ["mean", "bigrams", "set of bigrams"])
def test_padding_cannot_change_an_answer(family, key, name):
    config = configs(family)[name]
    module = config.build()
    tokens = jax.random.randint(key(), (3, 6), 1, 20)
    variables = module.init(key(), tokens)
    padded = jnp.pad(
        tokens, ((0, 2), (0, 90))
    )  # rows and positions; long enough for the product with counts
    np.testing.assert_allclose(
        module.apply(variables, padded)[:3], module.apply(variables, tokens), rtol=1e-5, atol=1e-6
    )


def test_a_text_without_tokens_is_the_bias(family, key):
    module = configs(family)["set of bigrams"].build()
    variables = module.init(key(), jnp.ones((1, 4), jnp.int32))
    variables["params"]["head"]["bias"] = jnp.arange(3.0)
    np.testing.assert_array_equal(
        module.apply(variables, jnp.zeros((1, 4), jnp.int32)), [[0.0, 1.0, 2.0]]
    )


def test_each_ngram_counts_once_and_the_pool_is_divided_by_the_root_of_their_number(family, key):
    config = configs(family)["set of bigrams"]
    module = config.build()
    tokens = jnp.array([[5, 7, 5, 7, 5, 0, 0]])  # words {5, 7}, bigrams {5 7, 7 5}
    variables = module.init(key(), tokens)
    table = np.asarray(variables["params"]["embedding"]["embedding"])
    rows = np.asarray(family.ngram_ids(tokens, tokens != 0, config))[0]
    bigrams = rows[7:11]
    assert bigrams[0] == bigrams[2] and bigrams[1] == bigrams[3] and bigrams[0] != bigrams[1]
    assert all(20 <= row < 84 for row in bigrams)
    pooled = table[[5, 7, bigrams[0], bigrams[1]]].sum(axis=0) / np.sqrt(4)
    head = variables["params"]["head"]
    np.testing.assert_allclose(
        module.apply(variables, tokens)[0],
        pooled @ head["kernel"] + head["bias"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_hashed_bigrams_spread_evenly_over_the_buckets(family):
    config = family.BagOfEmbeddingsConfig(
        vocab_size=1000, num_classes=2, ngram_order=2, num_buckets=256
    )
    first, second = jnp.meshgrid(jnp.arange(1, 201), jnp.arange(1, 201))
    pairs = jnp.stack([first.ravel(), second.ravel()], axis=1)
    rows = family.ngram_ids(pairs, pairs != 0, config)[:, 2]
    counts = np.bincount(np.asarray(rows) - 1000, minlength=256)
    assert counts.sum() == 40_000
    # A fair hash gives 156 ± 12.5 a bucket.
    assert counts.min() > 156 - 5 * 12.5
    assert counts.max() < 156 + 5 * 12.5


def test_training_leaves_out_ngrams_at_random_and_keeps_the_expectation(family, key):
    config = family.BagOfEmbeddingsConfig(vocab_size=20, num_classes=3, d_model=4, dropout_rate=0.5)
    module = config.build()
    tokens = jax.random.randint(key(), (1, 12), 1, 20)
    variables = module.init(key(), tokens)
    many = jnp.broadcast_to(tokens, (4000, 12))
    dropped = module.apply(variables, many, train=True, rngs={"dropout": key()})
    assert len(np.unique(dropped[:, 0])) > 100
    np.testing.assert_allclose(dropped.mean(axis=0), module.apply(variables, tokens)[0], atol=0.03)


def test_a_config_that_makes_no_sense_is_refused(family):
    from zoo.models.trax.bag_of_embeddings import BagOfEmbeddingsQuirks

    sizes = {"vocab_size": 5, "num_classes": 2}
    message = "ngram_order=2 needs num_buckets, the number of rows for hashed n-grams; got 0"
    with pytest.raises(ValueError, match=message):
        family.BagOfEmbeddingsConfig(**sizes, ngram_order=2).build()
    quirks = BagOfEmbeddingsQuirks(average_padding=True)
    message = r"trax.average_padding=True is trax's mean over all positions; it goes only with uniq"
    with pytest.raises(ValueError, match=message):
        family.BagOfEmbeddingsConfig(**sizes, unique=True, trax=quirks).build()
