"""What all tests share. `zoo` is imported inside fixtures only: the jaxtyping plugin must see
zoo.models before anything imports it (see `addopts` in pyproject.toml)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import platform
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pooch
import pytest


def program_cache() -> Path:
    """The folder in which JAX keeps what the tests compile: one for all checkouts on a machine.

    Compiled programs fit only the JAX and the CPU that they were compiled for.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = "\n".join(sorted({x for x in lines if x.startswith(("model name", "flags", "Feat"))}))
    except OSError:  # not Linux
        cpu = platform.machine() + platform.processor()
    version = importlib.metadata.version("jaxlib")
    return Path(pooch.os_cache("zoo-tests")) / f"xla-{version}-{zlib.crc32(cpu.encode()):08x}"


# Before JAX and TensorFlow are imported. Processes that a test starts inherit all of it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # expected values must not depend on the machine
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Nearly all of the tests' time goes into compiling, mostly what an earlier run compiled too.
with contextlib.suppress(OSError):
    program_cache().mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(program_cache()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for each core
    for threads in (
        "NPROC",  # XLA
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ):
        os.environ.setdefault(threads, "1")

import jax  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"
NO_SHARED = f"needs the data folder {SHARED}, which is not there"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--soak", action="store_true", help="run the tests marked soak too")


def pytest_configure(config: pytest.Config) -> None:
    # A sum of [B, T] and [T] is more often a mistake than meant: say it, or broadcast in the open.
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if not hasattr(config, "workerinput"):
        forget_old_programs()


def forget_old_programs(days: float = 30) -> None:
    """Bounds the cache of compiled programs: each is compiled again after some time."""
    for program in program_cache().parent.glob("xla-*/*"):
        if program.stat().st_mtime < time.time() - days * 24 * 3600:
            program.unlink(missing_ok=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skip = {
        mark: f"runs with --{mark}"
        for mark in ("slow", "soak")
        if not config.getoption(f"--{mark}")
    }
    if not SHARED.is_dir():
        skip["shared"] = NO_SHARED
    if any(item.get_closest_marker("gpu") for item in items) and jax.default_backend() == "cpu":
        skip["gpu"] = "needs an accelerator: JAX_PLATFORMS=cuda pytest -m gpu"
    for item in items:
        for mark, reason in skip.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Data come from ../shared where it is; nothing is read from or left in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TFDS_DATA_DIR", raising=False)
        if (SHARED / "data").is_dir():
            patch.setenv("ZOO_DATA_DIR", str(SHARED / "data"))
        yield


@pytest.fixture(scope="session", autouse=True)
def reference_precision() -> Iterator[None]:
    """On an accelerator float32 products are float32, as the expected values are."""
    with (
        jax.default_matmul_precision("highest")
        if jax.default_backend() != "cpu"
        else (contextlib.nullcontext())
    ):
        yield


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """Compiled programs stay in memory for as long as the process lives: drop each module's."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def drawing() -> Iterator[Callable[[Path], None]]:
    """What draws a run's learning curve; it takes as long as a tiny training, so it is off."""
    from zoo.train import learning_curve

    with pytest.MonkeyPatch.context() as patch:
        draw = learning_curve.draw
        patch.setattr(learning_curve, "draw", lambda folder: None)
        yield draw


@pytest.fixture
def learning_curve(drawing: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets the runs of this test draw their learning curve: the file's name."""
    from zoo.train import learning_curve

    monkeypatch.setattr(learning_curve, "draw", drawing)
    return learning_curve.CURVE


@pytest.fixture
def shared() -> Path:
    """The folder ../shared beside the checkout: real data sets and trax's reference values."""
    if not SHARED.is_dir():
        pytest.skip(NO_SHARED)
    return SHARED


@pytest.fixture
def key(request: pytest.FixtureRequest) -> Callable[[], jax.Array]:
    """Gives a new PRNG key at each call, so that none is used twice; the same ones in every run."""
    keys = itertools.count()
    root = jax.random.key(zlib.crc32(request.node.nodeid.encode()))
    return lambda: jax.random.fold_in(root, next(keys))


@pytest.fixture(scope="session")
def toy_tagger() -> type:
    """The config class of a tiny tagger: sums of what comes before a word, and of what comes after.

    With padding it does as a recurrent tagger does: sums leave `pad_id` out, if there is one.
    """
    from dataclasses import dataclass

    import jax.numpy as jnp
    from flax import linen as nn

    from zoo.models.base import ModelConfig

    @dataclass(frozen=True, kw_only=True)
    class ToyTaggerConfig(ModelConfig):
        vocab_size: int | None = None
        num_classes: int | None = None
        d_model: int = 8
        bidirectional: bool = True
        pad_id: int | None = 0

        @property
        def reads_padding(self) -> bool:
            return self.pad_id is None and self.bidirectional

        def build(self) -> nn.Module:
            return ToyTagger(self)

        def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
            return (jax.ShapeDtypeStruct((batch, 8), jnp.int32),)

    class ToyTagger(nn.Module):
        config: ToyTaggerConfig

        @nn.compact
        def __call__(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
            config = self.config
            vectors = nn.Embed(config.size_of("vocab_size"), config.d_model)(tokens)
            if config.pad_id is not None:
                vectors = jnp.where(tokens[..., None] != config.pad_id, vectors, 0.0)
            parts = [vectors, jnp.cumsum(vectors, axis=1)]
            if config.bidirectional:
                parts.append(jnp.cumsum(vectors[:, ::-1], axis=1)[:, ::-1])
            hidden = jnp.concatenate(parts, axis=-1)
            return nn.Dense(config.size_of("num_classes"), name="head")(hidden)

    return ToyTaggerConfig


@pytest.fixture
def zoo_command(capsys):
    """Runs the command in this process: (exit code, standard output, standard error)."""

    def call(*words):
        from zoo.cli import main

        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call
