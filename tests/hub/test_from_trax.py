"""`zoo import-trax`: a folder that `zoo.load` reads, and every reason for which there is none."""

from __future__ import annotations

import gzip
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def arrays(*shapes):
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


BAG = arrays((6, 4), (4, 3), (3,))
BAG_CALL = "BagOfEmbeddings(vocab_size=6, d_feature=4, n_classes=3)"
MLP = arrays((12, 5), (5,), (5, 2), (2,))


@pytest.fixture
def checkpoint(tmp_path):
    """Writes arrays as trax's `Layer.save_to_file` did."""

    def write(weights):
        path = tmp_path / "model.pkl.gz"
        path.write_bytes(gzip.compress(pickle.dumps({"flat_weights": weights})))
        return path

    return write


@pytest.fixture
def vocabulary(tmp_path):
    """One of trax's files of subwords: the characters of ASCII, each in quotes."""
    path = tmp_path / "ascii.subword"
    path.write_text("'<pad>'\n'<EOS>'\n" + "".join(f"'{chr(i)}'\n" for i in range(32, 127)))
    return path


ASCII = 2 + 95
"""Its entries."""


def test_a_text_classifier_reads_ids_where_there_is_no_vocabulary(
    zoo_command, checkpoint, tmp_path
):
    import zoo

    out = tmp_path / "topics"
    code, printed, err = zoo_command(
        "import-trax", checkpoint(BAG), "--call", BAG_CALL, "--out", out
    )
    assert (code, err) == (0, "")
    assert printed == f"{out}: topics.safetensors (0.00 MB)\n"
    classifier = zoo.load(out)
    assert classifier.card.labels == ("0", "1", "2")
    assert classifier.card.description == "Imported from model.pkl.gz, a checkpoint of trax."
    found = classifier("3 5")
    ids = np.array([3, 5])  # trax would average padding too, so there is none
    expected = jax.nn.softmax(jnp.asarray(BAG[0])[ids].mean(axis=0) @ BAG[1] + BAG[2])
    for label, probability in found.probabilities.items():
        assert probability == pytest.approx(float(expected[int(label)]), rel=1e-5)


def bag_of(rows):
    from zoo.interop import trax

    call = f"BagOfEmbeddings(vocab_size={rows}, d_feature=4, n_classes=3)"
    return arrays((rows, 4), (4, 3), (3,)), trax.parse_call(call)


def test_a_vocabulary_goes_with_the_model(checkpoint, vocabulary, tmp_path, capsys):
    import zoo
    from zoo.hub.from_trax import import_trax

    weights, config = bag_of(ASCII)
    card = import_trax(checkpoint(weights), tmp_path / "a", config, vocabulary=vocabulary)
    assert [file.name for file in card.files] == ["a.safetensors", "a.vocab"]
    assert capsys.readouterr().err == ""
    assert zoo.load(tmp_path / "a").tokenizer.encode("Ab") == [2 + 33, 2 + 66, 2 + 63]


def test_a_vocabulary_may_be_smaller_than_the_model_but_not_larger(
    checkpoint, vocabulary, tmp_path, capsys
):
    from zoo.hub.from_trax import import_trax

    weights, config = bag_of(ASCII + 3)
    import_trax(checkpoint(weights), tmp_path / "a", config, vocabulary=vocabulary)
    assert capsys.readouterr().err == (
        "zoo: the vocabulary has 97 entries, the model 100: the last 3 have no text\n"
    )
    weights, config = bag_of(ASCII - 1)
    with pytest.raises(ValueError, match="has 97 entries, but the model only 96: it is another"):
        import_trax(checkpoint(weights), tmp_path / "b", config, vocabulary=vocabulary)
    assert not (tmp_path / "b").exists()


def test_a_registered_model_takes_its_open_sizes_from_the_file(zoo_command, checkpoint, tmp_path):
    import zoo

    path = checkpoint(arrays((6, 256), (256, 3), (3,)))
    out = tmp_path / "topics"
    code, _, err = zoo_command("import-trax", path, "--model", "bag_of_embeddings", "--out", out)
    assert (code, err) == (0, "")
    config = zoo.card(out).config
    assert (config.vocab_size, config.num_classes, config.trax) == (6, 3, None)


@pytest.mark.parametrize("shape", [(2, 2, 3), (3, 4, 1)])
def test_an_image_classifier_sees_bytes_as_they_come(zoo_command, checkpoint, tmp_path, shape):
    import zoo

    square = shape == (2, 2, 3)
    flags = [] if square else ["--image-shape", *shape]
    out = tmp_path / "digits"
    code, _, err = zoo_command(
        *("import-trax", checkpoint(MLP), "--call", "MLP(layer_widths=(5, 2))", "--out", out),
        *flags,
    )
    assert (code, err) == (0, "")
    image = np.arange(12, dtype=np.uint8).reshape(shape)
    found = zoo.load(out)(image).probabilities
    hidden = np.maximum(image.ravel() @ MLP[0] + MLP[1], 0)
    expected = jax.nn.softmax(hidden @ MLP[2] + MLP[3])
    assert [found["0"], found["1"]] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)


@pytest.mark.shared
def test_a_network_of_convolutions_takes_images_of_its_usual_size(zoo_command, shared, tmp_path):
    import zoo

    file = shared / "golden" / "open" / "vision" / "wideresnet_n1.pkl.gz"
    golden = np.load(file.with_suffix("").with_suffix(".npz"))
    out = tmp_path / "wide"
    call = "WideResnet(n_blocks=1, n_output_classes=7)"
    code, _, err = zoo_command("import-trax", file, "--call", call, "--out", out)
    assert (code, err) == (0, "")
    classifier = zoo.load(out)
    assert classifier.card.config.input_shape == (32, 32, 3)
    expected = jax.nn.softmax(golden["eval_logits"])
    for image, probabilities in zip(golden["images"], expected, strict=True):
        found = classifier(image).probabilities
        for label, probability in found.items():
            assert probability == pytest.approx(float(probabilities[int(label)]), abs=1e-4)
    code, _, err = zoo_command(
        *("import-trax", file, "--call", call, "--out", tmp_path / "other"),
        *("--image-shape", 64, 64, 3),
    )
    assert code == 2
    assert "the checkpoint has 36 arrays, which do not fit the 36 of the WideResNetConfig" in err


def test_the_classes_of_a_classifier_may_have_names(zoo_command, checkpoint, tmp_path):
    import zoo

    names = tmp_path / "names.txt"
    names.write_text("day\nnight\n")
    call = ("--call", "MLP(layer_widths=(5, 2))", "--labels", names)
    code, _, err = zoo_command("import-trax", checkpoint(MLP), *call, "--out", tmp_path / "a")
    assert (code, err) == (0, "")
    assert zoo.card(tmp_path / "a").labels == ("day", "night")
    for text, message in (
        ("day\nnight\ndusk\n", " has 3 labels, but the model 2 classes: it is another model's"),
        ("day\n\nnight\n", ", line 2 is empty; it must be a label"),
    ):
        names.write_text(text)
        code, _, err = zoo_command("import-trax", checkpoint(MLP), *call, "--out", tmp_path / "b")
        assert (code, err) == (2, f"zoo: {names}{message}\n")
    assert not (tmp_path / "b").exists()


def test_labels_are_for_classifiers(checkpoint, tmp_path):
    from zoo.hub.from_trax import import_trax
    from zoo.interop import trax

    path = checkpoint(arrays((6, 4), (8, 4), (4,), (4,), (4, 6), (6,)))
    config = trax.config("TransformerLM", vocab_size=6, d_model=4, n_heads=2, n_layers=1, max_len=8)
    with pytest.raises(ValueError, match=r"labels \(.*\) are for a classifier; this is a model of"):
        import_trax(path, tmp_path / "out", config, labels=tmp_path / "names.txt")


MISTAKES = {
    "neither call nor model": ([], "give either --call or --model: a checkpoint does not"),
    "both": (["--call", "MLP()", "--model", "mlp"], "give either --call or --model: "),
    "another model's call": (
        ["--call", "MLP(layer_widths=(5, 3))"],
        "the checkpoint has 4 arrays, which do not fit the 4 of the MLPConfig",
    ),
    "an unknown model": (
        ["--call", "PolicyAndValue()"],
        "no model of trax named 'PolicyAndValue' ",
    ),
    "no square image": (
        ["--call", "MLP(layer_widths=(5, 2))", "--image-shape", "4", "4", "1"],
        "the model takes 12 values, which are not a 4 x 4 x 1 image; give image_shape: height,",
    ),
    "no image at all": (
        ["--call", "MLP(layer_widths=(5, 2), flatten=False)"],
        "an MLP with flatten=False takes no images; use zoo.interop.trax in Python",
    ),
    "no file": (["--call", "MLP()"], "there is no file"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_leaves_no_folder(zoo_command, checkpoint, tmp_path, case):
    flags, message = MISTAKES[case]
    path = tmp_path / "nothing.pkl.gz" if case == "no file" else checkpoint(MLP)
    code, out, err = zoo_command("import-trax", path, *flags, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith("zoo: ")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_model_of_no_square_image_asks_for_its_shape(checkpoint, tmp_path):
    from zoo.hub.from_trax import import_trax
    from zoo.interop import trax

    path = checkpoint(arrays((14, 5), (5,), (5, 2), (2,)))
    with pytest.raises(
        ValueError, match="the model takes 14 values, which are not a square image; g"
    ):
        import_trax(path, tmp_path / "out", trax.parse_call("MLP((5, 2))"))


def test_a_model_without_a_task_is_for_python(tmp_path):
    from zoo.hub.from_trax import import_trax

    class TransformerDecoderConfig:
        pass

    with pytest.raises(ValueError, match="a TransformerDecoderConfig has no task that"):
        import_trax(tmp_path / "x", tmp_path / "out", TransformerDecoderConfig())


def test_a_folder_of_another_model_is_left_alone(checkpoint, tmp_path):
    from zoo.hub.from_trax import import_trax

    (tmp_path / "other.toml").write_text("")
    weights, config = bag_of(6)
    with pytest.raises(FileExistsError, match=r"holds another model already \(other.toml\)"):
        import_trax(checkpoint(weights), tmp_path, config)


# Taggers: words and tags in files of their own.

TAGGER = arrays((6, 2), (4, 8), (8,), (2, 3), (3,))
TAGGER_CALL = "LSTMTagger(vocab_size=6, d_model=2, n_classes=3)"


@pytest.fixture
def tagger_files(tmp_path):
    """Words of which the first is one like others, and tags; gives their flags."""
    pytest.importorskip("zoo.models.lstm")

    def write(words="the\nman\n\nu.s.\nUNK\n", tags="O\nPLA\nREF"):
        (tmp_path / "words.txt").write_bytes(words.encode())
        (tmp_path / "tags.txt").write_bytes(tags.encode())
        return ["--words", tmp_path / "words.txt", "--tags", tmp_path / "tags.txt"]

    return write


def test_a_tagger_has_its_words_and_its_tags(zoo_command, checkpoint, tagger_files, tmp_path):
    import zoo

    flags = ["--call", TAGGER_CALL, *tagger_files(), "--out", tmp_path / "players"]
    code, printed, err = zoo_command("import-trax", checkpoint(TAGGER), *flags)
    assert (code, err) == (
        0,
        "zoo: the vocabulary has 5 entries, the model 6: the last 1 have no text\n",
    )
    assert "players.safetensors" in printed
    assert "players.vocab" in printed
    tagger = zoo.load(tmp_path / "players")
    assert tagger.card.labels == ("O", "PLA", "REF")
    # The other words have no capital letter, so words are lowered first.
    assert tagger.tokenizer.encode_words(["The", "U.S.", "", "goal", "UNK"]) == [0, 3, 2, 4, 4]
    answer = tagger("The man, the U.S.")
    assert [tag.word for tag in answer] == ["The", "man", ",", "the", "U.S."]
    assert {tag.label for tag in answer} <= {"O", "PLA", "REF"}
    code, out, _ = zoo_command("verify", tmp_path / "players")
    assert code == 0
    assert "FAILED" not in out


def test_a_tagger_without_files_reads_ids_and_numbers_its_tags(
    zoo_command, checkpoint, tagger_files, tmp_path
):
    import zoo

    flags = ["--call", TAGGER_CALL, "--out", tmp_path / "tagger"]
    code, _, err = zoo_command("import-trax", checkpoint(TAGGER), *flags)
    assert (code, err) == (0, "")
    tagger = zoo.load(tmp_path / "tagger")
    assert tagger.card.labels == ("0", "1", "2")
    assert len(tagger("0 5 5")) == 3


def test_words_with_capital_letters_are_not_lowered(
    zoo_command, checkpoint, tagger_files, tmp_path
):
    import zoo

    flags = ["--call", TAGGER_CALL, *tagger_files("the\nThe\nMan\na\nb\nc\n")]
    code, _, err = zoo_command("import-trax", checkpoint(TAGGER), *flags, "--out", tmp_path / "x")
    assert code == 0
    assert err == (
        f"zoo: {tmp_path}/words.txt has no entry for unknown words (UNK, <UNK>, <unk>, [UNK]): "
        "sentences with other words are refused\n"
    )
    tagger = zoo.load(tmp_path / "x")
    assert tagger.tokenizer.encode_words(["The", "the"]) == [1, 0]
    with pytest.raises(ValueError, match="'man' is not in the vocabulary"):
        tagger("The man")


BROKEN = {
    "too many words": (
        {"words": "a\nb\nc\nd\ne\nf\ng\n"},
        "words.txt has 7 entries, but the model only 6: it is another model's",
    ),
    "too few tags": (
        {"tags": "O\nPLA\n"},
        "tags.txt has 2 tags, but the model 3 classes: it is another model's",
    ),
    "too many tags": (
        {"tags": "O\nPLA\nREF\nMAN\n"},
        "tags.txt has 4 tags, but the model 3 classes: it is another model's",
    ),
    "an empty tag": ({"tags": "O\n\nREF\n"}, "tags.txt, line 2 is empty; it must be a tag"),
    "a tag twice": (
        {"tags": "O\nPLA\nO\n"},
        "tags.txt: 'O' is in line 1 and again in line 3; each entry must occur once",
    ),
    "a word twice": (
        {"words": "a\nb\nb\n"},
        "words.txt: 'b' is in line 2 and again in line 3; each entry must occur once",
    ),
    "counts beside the words": (
        {"words": "the\t12\nman\t3\n"},
        "words.txt, line 1: 'the\\t12' has white space; each line must be one entry, because the",
    ),
    "no words": ({"words": ""}, "words.txt is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_files_that_do_not_fit_a_tagger_leave_no_folder(
    zoo_command, checkpoint, tagger_files, tmp_path, case
):
    contents, message = BROKEN[case]
    flags = ["--call", TAGGER_CALL, *tagger_files(**contents), "--out", tmp_path / "out"]
    code, _, err = zoo_command("import-trax", checkpoint(TAGGER), *flags)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_subwords_are_not_for_a_tagger(zoo_command, checkpoint, tagger_files, tmp_path):
    flags = ["--call", TAGGER_CALL, "--vocab", tmp_path / "x.vocab", "--out", tmp_path / "out"]
    code, _, err = zoo_command("import-trax", checkpoint(TAGGER), *flags)
    assert (code, err) == (
        2,
        f"zoo: a tagger takes words, not subwords: give {tmp_path}/x.vocab as words, if it has one "
        "a line\n",
    )


@pytest.mark.parametrize("name", ["words", "tags"])
def test_words_and_tags_are_for_a_tagger(zoo_command, checkpoint, tmp_path, name):
    flags = ["--call", BAG_CALL, f"--{name}", "x.txt", "--out", tmp_path / "out"]
    code, _, err = zoo_command("import-trax", checkpoint(BAG), *flags)
    assert (code, err) == (
        2,
        f"zoo: {name} (x.txt) are for a tagger; this is a model of text_classification\n",
    )


@pytest.mark.shared
def test_a_tagger_that_others_trained_with_trax_tags_as_it_did(zoo_command, shared, tmp_path):
    import zoo

    pytest.importorskip("zoo.models.lstm")
    folder = shared / "golden" / "open" / "real_soccer_ner"
    code, _, err = zoo_command(
        *("import-trax", folder / "model.pkl.gz", "--out", tmp_path / "soccer"),
        *("--call", "LSTMTagger(vocab_size=4691, d_model=50, n_classes=6)"),
        *("--words", folder / "words.txt", "--tags", folder / "tags.txt"),
    )
    assert (code, err) == (
        0,
        "zoo: the vocabulary has 4690 entries, the model 4691: the last 1 have no text\n",
    )
    tagger = zoo.load(tmp_path / "soccer")
    words = (folder / "words.txt").read_text(encoding="utf-8").splitlines()
    expected = np.load(folder / "io.npz")
    for split in ("test", "val"):
        padding = expected[f"{split}_labels"] < 0
        sentences = [
            [words[token] for token in row[: np.argmax(pad) if pad.any() else None]]
            for row, pad in zip(expected[f"{split}_tokens"], padding, strict=True)
        ]
        for answer, row in zip(tagger(sentences), expected[f"{split}_log_probs"], strict=True):
            probabilities = np.exp(row[: len(answer)])
            labels = [tagger.card.labels[index] for index in probabilities.argmax(axis=-1)]
            assert [tag.label for tag in answer] == labels
            assert [tag.probability for tag in answer] == pytest.approx(
                probabilities.max(axis=-1).tolist(), abs=1e-5
            )
    (neuer,) = (tag for tag in tagger("Manuel Neuer saves the penalty.") if tag.word == "Neuer")
    assert neuer.label in tagger.card.labels


@pytest.mark.shared
def test_a_reformer_goes_on_with_a_text_as_in_trax(zoo_command, shared, tmp_path):
    import zoo

    call = (
        "ReformerLM(21, d_model=12, d_ff=20, d_attention_key=4, d_attention_value=6, n_layers=2,"
        " n_heads=2, max_len=32, ff_activation=tl.Relu, pos_type='axial', pos_axial_shape=(4, 8),"
        " pos_d_axial_embs=(4, 8), attention_type=[functools.partial(tl.SelfAttention, chunk_len=8,"
        " n_chunks_before=1), functools.partial(tl.LSHSelfAttention, chunk_len=8, n_hashes=3,"
        " n_buckets=[4, 4])])"
    )
    file = shared / "golden" / "open" / "reformer" / "reformerlm_axial_mixed.pkl.gz"
    out = tmp_path / "mixed"
    code, _, err = zoo_command("import-trax", file, "--call", call, "--out", out)
    assert (code, err) == (0, "")
    model = zoo.load(out)
    assert model.max_len == 32
    assert len(model.generate("3 4 5", max_new_tokens=5, temperature=0.0).split()) == 5
    scores = model.score(["3 4 5", "6 7 8 9 10"])
    assert scores[0] == pytest.approx(model.score("3 4 5"), abs=1e-4)
