"""The pages for users of trax: what their snippets compute is what trax computed."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from unittest import SkipTest

import blocks
import numpy as np
import pytest

PAGES = blocks.CHECKOUT / "docs" / "from_trax"


def values(page, folder, *, after, before=None):
    """The variables of a page whose blocks between two headings have run in a folder.

    Of the marked blocks those run that read trax's files; those that train on real data do not.
    """
    document = blocks.SYBIL.parse(PAGES / page)
    document.namespace["__name__"] = "__page__"
    start = document.text.index(f"\n{after}\n")
    end = document.text.index(f"\n{before}\n") if before else len(document.text)
    with contextlib.chdir(folder):
        for example in document:
            if not start < example.region.start < end:
                continue
            if isinstance(example.parsed, tuple):  # a mark: what is to be done, and why
                document.namespace["fast"] = "../shared" not in example.parsed[1]
            with contextlib.suppress(SkipTest):
                example.evaluate()
    return document.namespace


@pytest.fixture
def golden(shared):
    """The folder of what trax computed."""
    return shared / "golden" / "open"


# Arithmetic and layers


@pytest.fixture(scope="module")
def layers_page(tmp_path_factory):
    return values(
        "layers.md",
        tmp_path_factory.mktemp("layers"),
        after="## `trax.fastmath` is `jax.numpy`",
        before="## Combinators",
    )


def test_fast_math_prints_what_trax_s_readme_prints(layers_page):
    page = layers_page
    np.testing.assert_array_equal(page["product"], [12.0, 15.0, 18.0])
    np.testing.assert_allclose(page["tanh"], [0.99999994] * 3, 1e-7)
    assert page["grad_f"](1.0) == 4.0
    assert page["y"].shape == (15, 32)


@pytest.mark.shared
def test_a_layer_of_one_s_own_is_trax_s_embedding(layers_page, golden):
    arrays = np.load(golden / "layers" / "layers.npz")
    embedding = layers_page["Embedding"](*arrays["emb_table"].shape)
    found = embedding.apply({"params": {"embedding": arrays["emb_table"]}}, arrays["emb_ids"])
    np.testing.assert_array_equal(found, arrays["emb_out"])


@pytest.mark.shared
def test_the_layers_of_the_table_compute_what_trax_computed(golden):
    import jax.numpy as jnp
    from flax import linen as nn

    from zoo.models import layers

    arrays = np.load(golden / "layers" / "layers.npz")
    x, image, ids = (jnp.asarray(arrays[name]) for name in ("ln_x", "img", "mask_ids"))

    def parameters(name):
        kinds = {"kernel": "kernel", "bias": "bias", "scale": "scale", "gamma": "scale"}
        found = {
            new: arrays[f"{name}_{old}"] for old, new in kinds.items() if f"{name}_{old}" in arrays
        }
        return {"params": found}

    def equal(found, name):
        np.testing.assert_allclose(found, arrays[name], 1e-4, 2e-5, err_msg=name)

    equal(nn.LayerNorm(use_fast_variance=False).apply(parameters("ln"), x), "ln_y")
    for name, layer in {
        "conv_valid": nn.Conv(4, (3, 2), padding="VALID"),
        "conv_same_s2": nn.Conv(4, (3, 3), (2, 2), "SAME"),
    }.items():
        equal(layer.apply(parameters(name), image), f"{name}_y")
    equal(nn.Conv(4, (3,), padding="CAUSAL").apply(parameters("causalconv"), x), "causalconv_y")
    equal(nn.max_pool(image, (3, 3), (2, 2)), "maxpool_3_2")
    equal(nn.avg_pool(image, (3, 3), (2, 2), "SAME", count_include_pad=False), "avgpool_3_2_same")
    equal(layers.shift_right(ids), "shift_right")
    equal((ids != 0)[:, None, None, :], "padding_mask")
    points = jnp.asarray(arrays["act_x"])
    equal(nn.gelu(points, approximate=False), "act_Gelu")
    equal(nn.gelu(points), "act_FastGelu")
    equal(jnp.clip(1 + points, 0, 1), "act_HardSigmoid")
    for name in ("Relu", "Elu", "Selu", "Softplus", "Sigmoid", "Swish"):
        equal(getattr(nn, name.lower())(points), f"act_{name}")

    norm = {"scale": arrays["bn_gamma"], "bias": arrays["bn_beta"]}
    state = {"mean": arrays["bn_mean0"].ravel(), "var": arrays["bn_var0"].ravel()}
    variables = {"params": norm, "batch_stats": state}
    trained, new = nn.BatchNorm(use_running_average=False, momentum=0.9).apply(
        variables, image, mutable=["batch_stats"]
    )
    equal(trained, "bn_train_y")
    equal(new["batch_stats"]["mean"][None, None, None], "bn_mean1")
    equal(new["batch_stats"]["var"][None, None, None], "bn_var1")


# Models


@pytest.mark.slow
@pytest.mark.shared
def test_imported_checkpoints_answer_as_trax_did(tmp_path, golden):
    import zoo

    page = values("models.md", tmp_path, after="## Your own checkpoint")
    case = json.loads((golden / "loop" / "legacy2020_ende.json").read_text())["cases"][0]
    assert page["text"] == case["text"]
    assert page["ids"] == case["ids"]
    assert page["translation"] == case["detok"]

    arrays = np.load(golden / "transformer" / "transformerlm.npz")
    np.testing.assert_allclose(page["logits"], arrays["logits"], 1e-4, 2e-5)
    prompt, answer = (
        " ".join(map(str, arrays[name][0])) for name in ("prefix", "greedy_prefix_eos1")
    )
    language_model = zoo.load(tmp_path / "my_lm")
    found = language_model.generate(prompt, temperature=0, max_new_tokens=12)
    assert found.split() == answer.split()

    tagger, arrays = (
        zoo.load(tmp_path / "my_tagger"),
        np.load(golden / "real_soccer_ner" / "io.npz"),
    )
    words, tags = (
        (golden / "real_soccer_ner" / f"{name}.txt").read_text().splitlines()
        for name in ("words", "tags")
    )
    sentence = [int(i) for i in arrays["test_tokens"][0] if i < len(words)]
    found = tagger([[words[i] for i in sentence]])[0]
    expected = [tags[i] for i in arrays["test_argmax"][0][: len(sentence)]]
    assert [tag.label for tag in found] == expected
    assert set(expected) != {"O"}


# Data


@pytest.mark.shared
def test_batches_and_ids_are_trax_s(tmp_path, golden):
    page = values(
        "data.md", tmp_path, after="## A generator of your own", before="## Your own file"
    )
    made = list(page["pair_batches"].as_numpy_iterator())
    with np.load(golden / "data" / "bucket_by_length.npz") as arrays:
        assert len(made) == len(arrays.files) // 3
        for number, batch in enumerate(made):
            for place, name in enumerate(("inputs", "targets", "weights")):
                np.testing.assert_array_equal(batch[name], arrays[f"b{number:03d}_{place}"])
    cases = json.loads((golden / "tokenizer" / "en_8k.subword.json").read_text())["cases"]
    for case in cases:
        assert page["tokenizer"].encode(case["text"]) == case["ids"]
        assert page["tokenizer"].decode(case["ids"]) == case["detok"]


# Training


@pytest.mark.shared
def test_the_loop_line_by_line_has_the_losses_of_trax_s_loop(tmp_path, golden):
    page = values("training.md", tmp_path, after="## Optimizers")
    facts = json.loads((golden / "loop" / "lm_adam.json").read_text())
    assert facts["lr_schedule"] == "lr_schedules.warmup_and_rsqrt_decay(4, 0.02)"
    assert facts["optimizer"] == "optimizers.Adam(0.01)"
    np.testing.assert_allclose(page["history"], facts["losses"], 2e-5)


# Tables


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_what_the_tables_name_exists(page):
    from zoo import train

    names = {"ops": "zoo.pipelines.ops", "nn": "flax.linen", "jnp": "jax.numpy"}
    for row in re.findall(r"^\| (.*) \| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE):
        for dotted in re.findall(r"`(?:\w+ = )?((?:zoo|ops|nn|jnp|jax)(?:\.\w+)+)", row[1]):
            first, *rest = dotted.split(".")
            found = importlib.import_module(names.get(first, first))
            for place, name in enumerate(rest, start=1):
                with contextlib.suppress(ImportError):
                    importlib.import_module(".".join([names.get(first, first), *rest[:place]]))
                assert hasattr(found, name), f"{page.name}: {dotted}"
                found = getattr(found, name)
        for name in re.findall(r"`([A-Z]\w+)\([a-z_]+=", row[1]):
            assert hasattr(train, name) or name == "ByteTokenizer", f"{page.name}: {name}"
