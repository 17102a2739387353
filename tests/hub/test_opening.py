"""From a name or a folder to a model: what is found, and every message where nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

CHECKOUT = Path(__file__).parents[2]


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    import zoo

    with pytest.raises(
        FileNotFoundError,
        match=r"neither a run nor an exported model: it should hold one card .* found none",
    ):
        zoo.load(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(FileNotFoundError, match=r"found a\.toml, b\.toml"):
        zoo.load(tmp_path)


def test_an_unknown_name_is_a_lookup_error():
    import zoo

    with pytest.raises(
        LookupError, match="no published model or run folder named 'transfomer_ende'"
    ):
        zoo.load("transfomer_ende")


def test_every_published_card_can_be_read():
    import zoo

    for name in zoo.list_pretrained():
        card = zoo.card(name)
        assert card.name == name
        fetched = any(file.urls for file in card.files)
        assert bool(card.alternative) == fetched, "what is fetched names a model that need not be"


def test_published_weights_are_small_enough_to_be_installed():
    sizes = [path.stat().st_size for path in (CHECKOUT / "pretrained").iterdir() if path.is_file()]
    assert max(sizes) <= 20e6
    assert sum(sizes) <= 60e6


@pytest.fixture
def compilation_cache():
    """A process in which JAX has no folder for what it compiles, and leaves the next test none."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.jax_compilation_cache_dir
    for name, value in before.items():
        jax.config.update(name, value)


def test_what_is_compiled_lies_in_the_zoo_s_cache(compilation_cache, tmp_path, monkeypatch):
    from zoo.hub import compilation

    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    compilation.use_cache()
    assert compilation_cache() == str(tmp_path / "cache" / "xla")
    assert (tmp_path / "cache" / "xla").is_dir()


def test_a_folder_that_the_user_chose_for_it_stays(compilation_cache, tmp_path):
    from zoo.hub import compilation

    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    compilation.use_cache()
    assert compilation_cache() == str(tmp_path)


def test_a_cache_that_cannot_be_written_is_no_error(compilation_cache, tmp_path, monkeypatch):
    from zoo.hub import compilation

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    compilation.use_cache()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    compilation.use_cache()
    assert compilation_cache() is None


def test_a_second_process_does_not_compile_again(tmp_path):
    program = """
import jax
from zoo.hub import compilation
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
compilation.COMPILE_TIME = 0.0
compilation.use_cache()
jax.jit(lambda x: x * 2 + 1)(3.0)
print(hits.count("/jax/compilation_cache/cache_hits"))
"""

    chosen = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(chosen)}

    def process() -> int:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=CHECKOUT,
            env={**environment, "ZOO_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return int(ended.stdout)

    assert process() == 0
    assert process() == 1
