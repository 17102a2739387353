"""Names and folders: whatever is asked for, it is found or refused.

A message shows a path as it is, so it has several lines if the path has.
"""

from __future__ import annotations

import shutil

from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, long_texts, scalars

NAMES = st.one_of(
    any_texts,
    long_texts,
    st.text("./~:\\ab-_*[]?", max_size=12),
    st.sampled_from(
        [
            *(".", "..", "/", "~", "~nobody", "~/", "/dev/null", "gs://a/b"),
            *(
                "file:///a",
                "http://[",
                "C:\\a",
                "a.toml",
                "card.toml",
                "a.py:f",
                "a.json",
                ":",
                "[[",
            ),
        ]
    ),
    any_texts.map(lambda text: f"{text}.py:f"),
    any_texts.map(lambda text: f"{text}.json"),
    any_texts.map(lambda text: f"{text}.toml"),
)


@holds(few=40, seconds=10, name=NAMES)
def test_any_name_is_found_or_refused(name, tmp_path, monkeypatch):
    import zoo
    from zoo import models

    monkeypatch.chdir(tmp_path)
    for find in (zoo.load, zoo.card, zoo.recipe, zoo.create, models.create):
        assert isinstance(asked(find, name, lines=True), Refused), find
    for names in (zoo.list_models, zoo.list_recipes, zoo.list_pretrained):
        assert isinstance(names(name), tuple)
    assert isinstance(asked(zoo.load, "bag_of_embeddings_imdb", device=name, lines=True), Refused)


@holds(few=15, seconds=20, name=NAMES)
def test_any_name_of_a_file_is_refused_where_there_is_none(name, tmp_path, monkeypatch):
    import zoo
    from zoo import preprocessing, tokenizers
    from zoo.interop import trax
    from zoo.pipelines import arrays

    monkeypatch.chdir(tmp_path)
    for kind in ("words", "chars", "bytes", "ids", "subwords", "sentencepiece"):
        assert isinstance(asked(tokenizers.load, kind, name, lines=True), Refused)
    assert isinstance(asked(preprocessing.read, name, lines=True), Refused)
    assert isinstance(asked(trax.read, name, lines=True), Refused)
    assert isinstance(asked(lambda: arrays.arrays(name).open(), lines=True), Refused)
    assert isinstance(asked(zoo.evaluate, name, lines=True), Refused)
    assert isinstance(asked(zoo.load, "bag_of_embeddings_imdb", code=name, lines=True), Refused)


FILES = st.dictionaries(
    st.sampled_from(["card.toml", "a.toml", "b.toml", "recipe.json", "checkpoints", "a.vocab"])
    | st.text("abc .-é", min_size=1, max_size=5).filter(lambda text: text.strip(". ")),
    st.binary(max_size=30)
    | st.sampled_from([b"", b'name = "a"\n', b'name = "a"\ntask = "tagging"\n[config]\n', None]),
    max_size=4,
)


@holds(few=20, seconds=20, files=FILES, name=st.text("abé .-[]*%\n", min_size=1, max_size=6))
def test_any_folder_is_refused_unless_it_is_a_model(files, name, tmp_path, monkeypatch):
    import zoo

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / (name.strip(". ") or "a")
    folder.mkdir()
    try:
        for file, content in files.items():
            if content is None:
                (folder / file).mkdir()
            else:
                (folder / file).write_bytes(content)
        for source in (folder, str(folder), folder.name):
            for ask in (zoo.load, zoo.card, zoo.evaluate):
                assert isinstance(asked(ask, source, lines="\n" in name), Refused)
        assert isinstance(asked(zoo.export, folder, tmp_path / "out", lines="\n" in name), Refused)
    finally:
        shutil.rmtree(folder)


@holds(few=20, seconds=10, value=scalars.filter(lambda value: not isinstance(value, str)))
def test_what_is_no_name_is_refused(value):
    import zoo

    for find in (zoo.load, zoo.card):
        assert isinstance(asked(find, value), Refused)
