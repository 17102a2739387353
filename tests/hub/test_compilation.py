"""Compiled programs: where they are kept, for whom, and when JAX's own settings stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

CHECKOUT = Path(__file__).parents[2]

SETTINGS = {
    "jax_compilation_cache_dir": None,
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 1.0,
    "jax_compilation_cache_max_size": -1,
}
"""JAX's defaults."""


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """What JAX is set to, at first as if nobody had set anything; a user with an empty home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    for name, value in SETTINGS.items():
        monkeypatch.delenv(name.upper(), raising=False)
        jax.config.update(name, value)
    yield lambda: {name: getattr(jax.config, name) for name in SETTINGS}
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_in_a_folder_that_only_the_user_can_enter(settings, tmp_path, monkeypatch):
    from zoo.hub import compilation

    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "shared"))
    compilation.use_cache()
    folder = compilation.folder()
    assert settings()["jax_compilation_cache_dir"] == str(folder)
    assert folder.parent == tmp_path / ".cache" / "zoo-xla"
    assert not (tmp_path / "shared").exists()
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700] * 2
    assert settings()["jax_compilation_cache_max_size"] == compilation.MOST_BYTES


def test_the_folder_is_one_machine_s_and_one_version_s(monkeypatch):
    import importlib.metadata
    import platform

    from zoo.hub import compilation

    here = compilation.folder()
    assert here == compilation.folder()
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "another")
        elsewhere = compilation.folder()
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "_processor", lambda: "avx512")
        newer = compilation.folder()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: "99")
        later = compilation.folder()
    assert len({here, elsewhere, newer, later}) == 4


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_folder_that_others_can_enter_is_closed(settings, mode):
    from zoo.hub import compilation

    compilation.folder().mkdir(parents=True)
    compilation.folder().chmod(mode)
    compilation.use_cache()
    assert compilation.folder().stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_not_used(settings, monkeypatch):
    from zoo.hub import compilation

    compilation.folder().mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    compilation.use_cache()
    assert settings() == SETTINGS


def test_a_link_is_not_followed(settings, tmp_path):
    from zoo.hub import compilation

    (tmp_path / "theirs").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "zoo-xla").symlink_to(tmp_path / "theirs")
    compilation.use_cache()
    assert settings() == SETTINGS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_compilation_cache_dir", "/somewhere"),
        ("jax_enable_compilation_cache", False),
    ],
)
def test_a_cache_that_the_user_has_set_up_or_switched_off_stays(settings, name, value):
    from zoo.hub import compilation

    jax.config.update(name, value)
    compilation.use_cache()
    assert settings() == {**SETTINGS, name: value}
    jax.config.update(name, SETTINGS[name])


def test_an_empty_variable_switches_it_off(settings, monkeypatch):
    from zoo.hub import compilation

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    compilation.use_cache()
    assert settings() == SETTINGS


def test_a_size_that_the_user_has_chosen_stays(settings):
    from zoo.hub import compilation

    jax.config.update("jax_compilation_cache_max_size", 5_000)
    compilation.use_cache()
    assert settings()["jax_compilation_cache_max_size"] == 5_000


def test_a_cache_that_cannot_be_written_is_no_error(settings, tmp_path):
    from zoo.hub import compilation

    (tmp_path / ".cache").write_text("")
    compilation.use_cache()
    assert settings() == SETTINGS


def test_folders_that_nobody_uses_any_more_are_deleted(settings):
    from zoo.hub import compilation

    root = compilation.folder().parent
    for name, days in (("old", 61), ("recent", 59)):
        (root / name).mkdir(parents=True)
        (root / name / "program").write_text("")
        os.utime(root / name, (time.time() - days * 24 * 3600,) * 2)
    compilation.use_cache()
    assert {path.name for path in root.iterdir()} == {"recent", compilation.folder().name}


def test_a_processor_is_known_by_what_it_can_do(monkeypatch):
    from zoo.hub import compilation

    here = compilation._processor()
    core = "processor : {}\ncpu MHz : {}\nmodel name : EPYC\nflags : {}\n"
    seen = []
    for cpuinfo in (
        core.format(0, 2500, "avx2"),
        core.format(0, 3100, "avx2") + core.format(1, 2600, "avx2"),
        core.format(0, 2500, "avx2 avx512f"),
    ):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=cpuinfo, **__: text)
        seen.append(compilation._processor())
    assert seen[0] == seen[1] != seen[2]
    assert here not in seen


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

    chosen = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "XDG_CACHE_HOME")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(chosen)}

    def process() -> int:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=CHECKOUT,
            env={**environment, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return int(ended.stdout)

    assert process() == 0
    assert process() == 1
