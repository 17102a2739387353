"""zoo.checkpoints: latest and best kept together, broken checkpoints, full disks."""

import errno
import math
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.storage import checkpoints
from zoo.storage.checkpoints import Best, Checkpoints, CheckpointWarning

BEST = Best("validation/accuracy", "max")


def save(store, step, accuracy=None, values=None):
    metrics = None if accuracy is None else {"validation/accuracy": accuracy}
    values = np.full((3,), float(step)) if values is None else values
    variables = {"params": {"w": jnp.asarray(values, jnp.float32)}}
    store.save(
        step,
        variables=variables,
        optimizer=(jnp.zeros(3),),
        progress={"step": step},
        metrics=metrics,
    )
    store.finish()


def target(*shape):
    return {"params": {"w": jnp.zeros(shape or 3)}}


@pytest.fixture
def store(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", BEST)
    yield store
    store.close()


def truncate(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_best_and_the_latest_are_both_kept_also_by_a_new_process(store):
    for step, accuracy in [(1, 0.5), (2, 0.9), (3, None), (4, 0.7)]:
        save(store, step, accuracy)
    assert store.steps() == (2, 4)
    assert store.best_step() == 2
    again = Checkpoints(store.folder, BEST)
    save(again, 5, 0.1)
    assert again.steps() == (2, 5)
    step, variables, optimizer, _, progress = again.restore(
        variables=target(), optimizer=(jnp.ones(3),)
    )
    assert (step, progress) == (5, {"step": 5})
    np.testing.assert_array_equal(variables["params"]["w"], 5.0)
    np.testing.assert_array_equal(optimizer[0], 0.0)
    again.close()


def test_several_latest_are_kept_and_their_mean_is_read(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", latest=3)
    for step in (1, 2, 4, 9):
        save(store, step)
    assert store.steps() == (2, 4, 9)
    step, variables = store.variables(target(), "average")
    assert step == 9
    np.testing.assert_allclose(variables["params"]["w"], 5.0)
    store.close()


def test_lower_is_better_with_mode_min(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", Best("validation/accuracy", "min"))
    for step, value in [(1, 0.2), (2, 0.1), (3, 0.3)]:
        save(store, step, value)
    assert store.best_step() == 2
    store.close()


def test_a_predictor_reads_the_best_the_latest_or_a_step(store):
    for step, accuracy in [(1, 0.9), (2, 0.5)]:
        save(store, step, accuracy)
    reader = Checkpoints(store.folder, BEST, read_only=True)
    assert reader.variables(target())[0] == 1
    assert reader.variables(target(), "latest")[0] == 2
    step, variables = reader.variables(target(), 2)
    assert step == 2
    np.testing.assert_array_equal(variables["params"]["w"], 2.0)
    with pytest.raises(FileNotFoundError, match="has no checkpoint of step 7; it has 1, 2"):
        reader.variables(target(), 7)
    reader.close()


def test_a_half_written_checkpoint_is_put_aside_and_the_one_before_is_used(store):
    for step, accuracy in [(1, 0.9), (2, 0.5)]:
        save(store, step, accuracy)
    truncate(store.folder / "2")
    with pytest.warns(
        CheckpointWarning,
        match="the checkpoint of step 2 in .* cannot be read ",
    ):
        step, *_ = store.restore(variables=target(), optimizer=(jnp.ones(3),))
    assert step == 1
    assert (store.folder / "2.unreadable").is_dir()
    save(store, 2, 0.6)
    assert store.steps() == (1, 2)
    truncate(store.folder / "2")
    with pytest.warns(CheckpointWarning):
        store.restore(variables=target(), optimizer=(jnp.ones(3),))
    assert (store.folder / "2.unreadable.2").is_dir()


def test_where_no_checkpoint_can_be_read_all_stay_and_nothing_starts_afresh(store):
    save(store, 1, 0.5)
    truncate(store.folder / "1")
    with (
        pytest.warns(CheckpointWarning),
        pytest.raises(OSError, match=r"none of the checkpoints in .* \(step 1\) can be read; fi"),
    ):
        store.restore(variables=target(), optimizer=(jnp.ones(3),))
    assert store.steps() == (1,)


def test_no_checkpoint_restores_nothing_and_no_readable_one_is_an_error(store):
    assert store.restore(variables=target(), optimizer=(jnp.ones(3),)) is None
    save(store, 1, 0.5)
    truncate(store.folder / "1")
    with (
        pytest.warns(CheckpointWarning),
        pytest.raises(FileNotFoundError, match="has no readable checkpoint; found 1"),
    ):
        store.variables(target())


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: No space left on device"),
    ],
)
def test_a_full_disk_names_the_step_and_leaves_the_last_checkpoint(store, monkeypatch, error):
    save(store, 1, 0.5)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(store._manager, "save", fail)
    with pytest.raises(
        OSError,
        match=r"the checkpoint of step 2 could not be written to .*"
        r"No space left.*step 1 is intact",
    ):
        save(store, 2, 0.6)
    assert store.steps() == (1,)


def test_a_file_that_cannot_be_written_whole_leaves_the_last_checkpoint(store):
    """The kernel's own error: no file may grow beyond 64 KiB for a while."""
    save(store, 1, 0.5)
    noise = np.random.default_rng(0).normal(size=100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"step 2 could not be written to .*File too large.*step 1 is intact"
        ):
            save(store, 2, 0.6, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.steps() == (1,)
    save(store, 2, 0.6, noise)
    assert store.variables(target(*noise.shape), "latest")[0] == 2


def test_restored_arrays_have_the_sharding_of_the_target_not_that_they_were_saved_with(store):
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    save(store, 1, 0.5)  # on a single device
    sharding = NamedSharding(Mesh(jax.devices()[:1], "data"), PartitionSpec())
    placed = jax.device_put(target(), sharding)
    _, variables, *_ = store.restore(variables=placed, optimizer=(jnp.ones(3),))
    assert variables["params"]["w"].sharding == sharding


def test_a_disk_that_is_too_full_is_noticed_before_anything_is_written(store, monkeypatch):
    from types import SimpleNamespace

    save(store, 1, 0.5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(
        OSError, match=r"0.0 MB are needed, 0.0 MB are free; the checkpoint of step 1"
    ):
        save(store, 2, 0.6)
    assert store.steps() == (1,)


def test_better_is_more_or_less_as_the_mode_says():
    assert Best("validation/accuracy", "max").better(0.9, 0.8)
    assert not Best("validation/accuracy", "max").better(0.8, 0.9)
    assert Best("validation/loss", "min").better(0.8, 0.9)
    assert not Best("validation/loss", "min").better(0.9, 0.8)
    assert Best("validation/loss", "min").better(0.9, None)
    assert not Best("validation/loss", "min").better(math.nan, None)
    assert not Best("validation/accuracy", "max").better(math.inf, 0.5)
    assert Best("validation/loss", "min").better(0.5, math.nan)
    assert not Best("validation/loss", "min").better(math.nan, 0.5)


def flaky(store, monkeypatch, errors):
    """Makes the next attempts to read fail."""
    read, left = store._manager.restore, list(errors)

    def restore(*args, **kwargs):
        if left:
            raise left.pop(0)
        return read(*args, **kwargs)

    monkeypatch.setattr(store._manager, "restore", restore)
    monkeypatch.setattr(checkpoints, "PAUSES", (0.0, 0.0))


WORDS = [
    OSError(errno.EIO, "Input/output error"),
    ValueError("UNAVAILABLE: Error reading local file: [OS error: 116] Stale file handle"),
]


@pytest.mark.parametrize("error", WORDS)
def test_a_file_system_that_fails_for_a_moment_costs_no_checkpoint(store, monkeypatch, error):
    for step in (1, 2):
        save(store, step)
    flaky(store, monkeypatch, [error] * 2)
    step, *_ = store.restore(variables=target(), optimizer=(jnp.ones(3),))
    assert (step, store.steps()) == (2, (2,))


@pytest.mark.parametrize("error", WORDS)
def test_a_file_system_that_goes_on_failing_is_an_error_and_changes_nothing(
    store, monkeypatch, error
):
    save(store, 1, 0.5)
    save(store, 2)
    flaky(store, monkeypatch, [error] * 9)
    with pytest.raises(OSError, match=r"step 2 in .* cannot be read at the moment .*; nothing was"):
        store.restore(variables=target(), optimizer=(jnp.ones(3),))
    with pytest.raises(OSError, match=r"step 1 in .* cannot be read at the moment"):
        store.variables(target())
    assert store.steps() == (1, 2)


def test_other_arrays_than_those_asked_for_are_an_error_with_both_sides(store):
    save(store, 1, 0.5)
    save(store, 2)
    for variables, optimizer, difference in [
        (target(4), (jnp.ones(3),), r"variables/params/w is \(3,\) there and \(4,\) here"),
        (target(), (jnp.ones(3), {"m": jnp.ones(2)}), "optimizer/1/m is missing there and .2,. he"),
        (target(), (), r"optimizer/0 is \(3,\) there and missing here"),
    ]:
        with pytest.raises(
            ConfigError, match=f"step 2 .* another model or optimizer: {difference}"
        ):
            store.restore(variables=variables, optimizer=optimizer)
    assert store.steps() == (1, 2)


def test_a_lack_of_memory_is_not_a_broken_checkpoint(store, monkeypatch):
    save(store, 1)
    flaky(store, monkeypatch, [MemoryError()])
    with pytest.raises(MemoryError):
        store.restore(variables=target(), optimizer=(jnp.ones(3),))


def test_metrics_that_are_half_written_hide_no_checkpoint(store):
    save(store, 1, 0.5)
    truncate(store.folder / "1" / "metrics")
    reader = Checkpoints(store.folder, BEST, read_only=True)
    assert reader.variables(target())[0] == 1
    reader.close()


def test_the_mean_leaves_out_a_best_one_that_is_older(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", BEST, latest=2)
    for step, accuracy in [(1, 0.9), (2, 0.5), (3, 0.4), (4, 0.3)]:
        save(store, step, accuracy)
    assert store.steps() == (1, 3, 4)
    step, variables = store.variables(target(), "average")
    assert step == 4
    np.testing.assert_allclose(variables["params"]["w"], 3.5)
    store.close()


def test_two_threads_that_open_checkpoints_leave_the_logger_as_it_was(caplog):
    import logging

    from zoo.storage import checkpoints

    logger = logging.getLogger("absl")
    level = logger.level
    one, two = checkpoints._quiet(), checkpoints._quiet()

    def report(text):
        return logging.LogRecord("absl", logging.ERROR, "/orbax/a.py", 1, text, None, None)

    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    logger.handle(report("while the other reads"))
    two.__exit__(None, None, None)
    logger.handle(report("after both"))
    assert logger.level == level
    assert [record.message for record in caplog.records] == ["after both"]


def test_what_is_saved_is_the_state_of_its_step_though_the_next_steps_overwrite_it(store):
    """`save` returns when the arrays are copied: their memory is donated by the next step."""
    step = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    values = {f"w{n}": jnp.full(500_000, float(n)) for n in range(10)}
    for number in (1, 2):
        store.save(number, variables=values, optimizer=(jnp.zeros(3),), progress={}, metrics=None)
        for _ in range(20):
            values = step(values)
    for number, added in ((1, 0), (2, 20)):
        if number in store.steps():
            saved = store.variables(values, number)[1]
            for n in range(10):
                np.testing.assert_array_equal(saved[f"w{n}"], n + added)
    assert store.steps() == (2,)


def test_a_save_that_fails_in_the_background_is_reported_and_the_last_one_stays(store):
    """First by whoever asks next, in any way; then saving goes on."""
    noise = np.random.default_rng(0).normal(size=100_000)
    asks = (store.finish, store.steps, store.best_step, lambda: until_known(store))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number, ask in enumerate(asks, 1):
        save(store, 10 * number, number / 10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
        try:
            with pytest.raises(OSError, match=rf"step {10 * number + 1} could not .* is intact"):
                begin(store, 10 * number + 1, noise)
                ask()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert store.steps() == (10 * number,)
        assert Checkpoints(store.folder, BEST, read_only=True).steps() == (10 * number,)


def begin(store, step, values):
    variables = {"params": {"w": jnp.asarray(values, jnp.float32)}}
    store.save(step, variables=variables, optimizer=(jnp.zeros(3),), progress={}, metrics=None)


def until_known(store):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        store.check()
        time.sleep(0.01)


def test_a_folder_that_vanishes_is_reported(store):
    save(store, 1, 0.5)
    shutil.rmtree(store.folder)
    with pytest.raises(OSError, match="step 2 could not be written"):
        save(store, 2, 0.6)


def test_closing_waits_for_the_last_save_and_warns_if_it_fails(tmp_path):
    told = []
    store = Checkpoints(tmp_path / "checkpoints", warn=told.append)
    begin(store, 1, np.zeros(9))
    store.close()
    assert Checkpoints(store.folder, read_only=True).steps() == (1,)
    store = Checkpoints(tmp_path / "checkpoints", warn=told.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        begin(store, 2, np.random.default_rng(0).normal(size=100_000))
        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (text,) = told
    assert "step 2 could not be written" in text and "step 1 is intact" in text


def test_best_latest_and_permanent_ones_are_kept_side_by_side(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", BEST, latest=2, every=4)
    for step in range(1, 12):
        save(store, step, 0.9 if step == 3 else 0.1)
    assert store.steps() == (3, 4, 8, 10, 11)
    store.close()
    reader = Checkpoints(store.folder, BEST, read_only=True)
    step, variables = reader.variables(target(), "average")
    assert step == 11
    np.testing.assert_allclose(variables["params"]["w"], 10.5)
