"""Several devices and processes give what one device gives."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]

PROGRAM = textwrap.dedent(
    """
    import os, pickle, sys
    job, number, processes, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    import jax
    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, number)
    import zoo
    recipe, rows, workdir = pickle.load(open(job, "rb"))
    result = zoo.fit(recipe, workdir, data=rows, quiet=True)
    import numpy as np
    params = jax.tree.map(np.asarray, result.state.params)
    pickle.dump((jax.device_count(), params, dict(result.metrics)), open(f"{job}.{number}", "wb"))
    """
)


def train_elsewhere(recipe, rows, folder, *, devices, processes=1):
    """Runs the recipe in processes with so many CPU devices each; what process 0 found."""
    folder.mkdir()
    job = folder / "job"
    job.write_bytes(pickle.dumps((recipe, rows, folder / "run")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(job), str(number), str(processes), str(port)],
            cwd=CHECKOUT,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return pickle.loads((folder / "job.0").read_bytes())


@pytest.mark.parametrize(
    ("devices", "processes"), [(8, 1), (1, 2)], ids=["8 devices", "2 processes"]
)
def test_many_devices_train_what_one_trains(recipe, rows, tmp_path, devices, processes):
    import zoo

    # 6 examples a step do not divide by 8: rows of weight 0 fill up. Without dropout,
    # whose masks may differ.
    plan = recipe(batch_size=6, steps=6, eval_every=6, checkpoint_every=3, model__dropout_rate=0.0)
    one = zoo.fit(plan, tmp_path / "one", data=rows, quiet=True)
    count, params, metrics = train_elsewhere(
        plan, rows, tmp_path / "many", devices=devices, processes=processes
    )
    assert count == devices * processes
    for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert metrics == pytest.approx(dict(one.metrics), abs=1e-4)
    # A run of several devices loads on one.
    assert zoo.load(tmp_path / "many" / "run")("the ship").label in ("sea", "sky")


def test_batch_normalisation_is_over_all_devices(image_recipe, image_rows, tmp_path):
    import zoo

    # One image a device: means of its own rows alone would give other weights altogether.
    plan = image_recipe(steps=3, checkpoint_every=3)
    one = zoo.fit(plan, tmp_path / "one", data=image_rows, quiet=True)
    _, params, metrics = train_elsewhere(plan, image_rows, tmp_path / "many", devices=8)
    for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert metrics == pytest.approx(dict(one.metrics), abs=1e-4)


def test_more_devices_than_there_are_is_an_error(recipe, rows, tmp_path):
    import zoo
    from zoo.config import ConfigError

    with pytest.raises(ConfigError, match=r"mesh.data is 512, but 1 device\(s\) are there"):
        zoo.fit(recipe(mesh__data=512), tmp_path / "run", data=rows, quiet=True)
