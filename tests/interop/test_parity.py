"""trax's own numbers from trax's own files: logits, loss, gradients, steps with a cache, decoding.

From ../shared/golden/open; the tolerances are those of its CHECK.md.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import run

from zoo import decoding
from zoo.decoding import Choice, Prefix
from zoo.interop import trax
from zoo.storage import weights
from zoo.train import losses

pytestmark = pytest.mark.shared

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
NEVER_ENDS = -1
"""trax's decoding goes on behind the end of sequence."""

TRANSLATING = ("transformer_gelu", "transformer_sep", "transformer_shared")
RECURRENT = {
    "rnnlm_lstm": "RNNLM",
    "rnnlm_gru": "RNNLM",
    "grulm": "GRULM",
    "grulm_2layer": "GRULM",
    "lstm_seq2seq_attn": "LSTMSeq2SeqAttn",
}
SOURCES = (*TRANSLATING, "lstm_seq2seq_attn")
"""Models that read a source."""
TEXTS = ("transformerlm", "rnnlm_lstm", "rnnlm_gru", "grulm", "grulm_2layer")
"""Models that go on with a text."""
CLASSES = {
    **RECURRENT,
    **dict.fromkeys(TRANSLATING, "Transformer"),
    "transformerlm": "TransformerLM",
    "transformerencoder": "TransformerEncoder",
    "transformer_copy": "Transformer",
    "transformerlm_copy": "TransformerLM",
}


@dataclasses.dataclass(frozen=True)
class Golden:
    """One of trax's models, in ours, and what trax computed with it."""

    checkpoint: trax.Checkpoint
    config: Any
    arrays: dict[str, jax.Array]

    @functools.cached_property
    def variables(self):
        return trax.to_variables(self.checkpoint, self.config)

    def apply(self, *inputs, sizes=(), method=None):
        return run(self.config.build(), self.variables, *inputs, *sizes, method=method)

    def step(self, *inputs):
        return self.config.build().apply(self.variables, *inputs, method="extend")

    def gradients(self):
        """trax's, under the names of our parameters."""
        arrays = tuple(
            self.arrays[f"g{index:03d}"] for index in range(len(self.checkpoint.weights))
        )
        mapped = trax.to_variables(
            dataclasses.replace(self.checkpoint, weights=arrays), self.config
        )
        return weights.flatten(mapped)


@pytest.fixture
def golden(shared):
    def load(name, folder=None):
        folder = folder or ("rnn" if name in RECURRENT else "transformer")
        path = shared / "golden" / "open"
        facts = json.loads((path / "manifest.json").read_text())
        kwargs = facts[f"{folder}/{name}.npz"]["kwargs"]
        arrays = {}
        for kind in ("", ".grad"):
            if (path / folder / f"{name}{kind}.npz").exists():
                arrays |= np.load(path / folder / f"{name}{kind}.npz")
        return Golden(
            trax.read(path / folder / f"{name}.pkl.gz"),
            trax.config(CLASSES[name], **kwargs),
            {key: jnp.asarray(value) for key, value in arrays.items()},
        )

    return load


@pytest.mark.parametrize("name", TRANSLATING)
def test_padding_anywhere_in_the_source_is_masked_as_in_trax(golden, name):
    model = golden(name)
    found = model.apply(model.arrays["edge_src"], model.arrays["edge_tgt"])
    # The source of row 0 is all padding: there trax gives the sum of all values.
    assert not np.any(model.arrays["edge_src"][0])
    np.testing.assert_allclose(found[1:], model.arrays["edge_logits"][1:], **CLOSE)
    assert np.isfinite(found[0]).all()


def test_a_classifier_averages_padding_as_trax_did(golden):
    model = golden("transformerencoder")
    found = model.apply(model.arrays["tokens_more_padding"])
    np.testing.assert_allclose(found, model.arrays["logits_more_padding"], **CLOSE)


@pytest.mark.parametrize("name", [*SOURCES, *TEXTS, "transformerencoder"])
def test_loss_and_gradients_are_trax_s(golden, name):
    model = golden(name)
    arrays = model.arrays
    if name in SOURCES:
        inputs, targets = (arrays["src"], arrays["tgt"]), arrays["tgt"]
    elif name in TEXTS:
        inputs, targets = (arrays["tokens"],), arrays["targets"]
    else:
        inputs, targets = (arrays["tokens"],), arrays["labels"]

    def loss_of(variables):
        logits = model.config.build().apply(variables, *inputs)
        total, denominator = losses.cross_entropy(logits, targets, arrays["weights"])
        return total / denominator

    loss, gradients = jax.jit(jax.value_and_grad(loss_of))(model.variables)
    assert float(loss) == pytest.approx(float(arrays["loss"]), rel=1e-5)
    found = weights.flatten(gradients)
    expected = model.gradients()
    assert found.keys() == expected.keys()
    for path, gradient in expected.items():
        # The biases of keys have no true gradient: both sides are rounding errors.
        if not path.endswith("key/bias"):
            difference = np.linalg.norm(found[path] - gradient)
            assert difference <= 1e-4 * np.linalg.norm(gradient), path


@pytest.mark.parametrize("name", [*SOURCES, *TEXTS])
def test_steps_with_a_cache_are_trax_s_predict_mode(golden, name):
    model = golden(name)
    tokens = model.arrays["predict_tokens_in"]
    length = tokens.shape[1]
    if name in SOURCES:
        cache = model.apply(model.arrays["src"], method="start", sizes=(length,))
    else:
        cache = model.apply(method="start", sizes=(len(tokens), length))
    step = jax.jit(model.step)
    for position in range(length):
        logits, cache = step(tokens[:, position, None, None], cache)
        if name == "lstm_seq2seq_attn":
            found, expected = jax.nn.log_softmax(logits), model.arrays["predict_log_probs"]
        else:
            found, expected = logits, model.arrays["predict_logits"]
        np.testing.assert_allclose(found[:, 0, 0], expected[:, position], **CLOSE)


def greedy(model, cache, rows, length, prefix=None):
    keys = jax.random.split(jax.random.key(0), rows)

    @jax.jit
    def run(cache):
        state = decoding.begin(model.step, cache, rows, length, prefix=prefix)
        choice = Choice(greedy=True)
        return decoding.sample(model.step, state, keys, choice, eos_id=NEVER_ENDS).tokens

    return run(cache)


@pytest.mark.parametrize("name", SOURCES)
def test_greedy_translations_are_trax_s_token_for_token(golden, name):
    model = golden(name)
    expected = model.arrays["greedy_noeos"]
    cache = model.apply(model.arrays["src"], method="start", sizes=(expected.shape[1],))
    np.testing.assert_array_equal(greedy(model, cache, *expected.shape), expected)


@pytest.mark.parametrize("name", TEXTS)
def test_greedy_continuations_are_trax_s_token_for_token(golden, name):
    model = golden(name)
    rows, length = model.arrays["greedy_noprefix"].shape
    start = model.apply(method="start", sizes=(rows, 2 * length))
    found = greedy(model, start, rows, length)
    np.testing.assert_array_equal(found, model.arrays["greedy_noprefix"])
    given = model.arrays["prefix"]
    prefix = Prefix(given, jnp.full(rows, given.shape[1]))
    found = greedy(model, start, rows, length + given.shape[1], prefix)
    np.testing.assert_array_equal(found[:, given.shape[1] :], model.arrays["greedy_prefix"])


def beams(model, cache, size, length, prefix=None):
    """trax's beam search: no penalty, and no end."""
    search = functools.partial(
        decoding.beam_search,
        model.step,
        length_penalty=0.0,
        size=size,
        batch=1,
        length=length,
        eos_id=NEVER_ENDS,
        prefix=prefix,
    )
    tokens, scores = jax.jit(lambda cache: search(cache=cache))(cache)
    return tokens[0], scores[0]


@pytest.mark.parametrize("name", TRANSLATING)
def test_beam_search_is_trax_s(golden, name):
    model = golden(name)
    expected = model.arrays["beam3_src0_ids"]
    cache = model.apply(model.arrays["src"][:1], method="start", sizes=(expected.shape[1],))
    tokens, scores = beams(model, cache, *expected.shape)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(scores, model.arrays["beam3_src0_scores"], rtol=1e-4)


def test_beam_search_behind_a_prefix_is_trax_s(golden):
    model = golden("transformerlm")
    expected, prefix = model.arrays["beam4_prefix0_ids"], model.arrays["prefix"][:1]
    size, length = expected.shape
    more = prefix.shape[1]
    cache = model.apply(method="start", sizes=(1, length + more))
    tokens, scores = beams(model, cache, size, length + more, Prefix(prefix, jnp.array([more])))
    np.testing.assert_array_equal(tokens[:, more:], expected)
    # trax's score leaves the prefix out.
    own = decoding.log_probabilities(model.apply(prefix), prefix, jnp.ones_like(prefix, float))
    np.testing.assert_allclose(scores - own, model.arrays["beam4_prefix0_scores"], rtol=1e-4)


@pytest.mark.parametrize("name", ["transformer_copy", "transformerlm_copy"])
def test_what_trax_trained_itself_still_copies(golden, shared, name):
    model = golden(name, "real_copy")
    path = shared / "golden" / "open" / "real_copy" / f"{name}_decode.json"
    for case in json.loads(path.read_text())["cases"][:2]:
        expected = case["greedy"]
        given = jnp.array([case["inputs"]])
        length = len(expected)
        if name == "transformer_copy":
            cache = model.apply(given, method="start", sizes=(length,))
            found = greedy(model, cache, 1, length)
        else:
            more = given.shape[1]
            cache = model.apply(method="start", sizes=(1, length + more))
            prefix = Prefix(given, jnp.array([more]))
            found = greedy(model, cache, 1, length + more, prefix)[:, more:]
        assert found[0].tolist() == expected
