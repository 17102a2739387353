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

import zoo
from zoo.config import ConfigError

CHECKOUT = Path(__file__).parents[2]

PROGRAM = textwrap.dedent(
    """
    import os, pickle, signal, sys
    job, number, processes, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    import jax
    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, number)
    import numpy as np
    import zoo
    recipe, rows, workdir = pickle.load(open(job, "rb"))

    def terminate_the_last_process(report):
        if report.step == 3 and number == processes - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    ended = ""
    try:
        callbacks = [terminate_the_last_process]
        result = zoo.fit(recipe, workdir, data=rows, callbacks=callbacks, quiet=True)
    except zoo.train.Interrupted as interrupted:
        ended = str(interrupted)
        result = zoo.fit(recipe, workdir, data=rows, quiet=True)
    params = jax.tree.map(np.asarray, result.state.params)
    answer = jax.device_count(), ended, params, dict(result.metrics)
    pickle.dump(answer, open(f"{job}.{number}", "wb"))
    """
)


def train_elsewhere(recipe, rows, folder, *, devices, processes=1):
    """Runs a recipe, interrupted at step 3 and resumed, in processes with some CPU devices each.

    Returns:
      For each process: devices in all, how it was interrupted, parameters and metrics at the end.
    """
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
    return [pickle.loads((folder / f"job.{number}").read_bytes()) for number in range(processes)]


@pytest.mark.parametrize(
    ("devices", "processes", "ends_after"),
    [(8, 1, 3), (1, 2, 4)],
    ids=["8 devices", "2 processes"],
)
def test_many_devices_train_what_one_trains_even_if_interrupted(
    recipe, rows, tmp_path, devices, processes, ends_after
):
    # 6 examples a step do not divide by 8: rows of weight 0 are added. Several processes agree to
    # end when they report, after steps 2, 4 and 6, although only the last of them was signalled.
    recipe = recipe(batch_size=6, steps=6, eval_every=3, checkpoint_every=6, log_every=2)
    one = zoo.fit(recipe, tmp_path / "one", data=rows, quiet=True)
    answers = train_elsewhere(recipe, rows, tmp_path / "many", devices=devices, processes=processes)
    for count, ended, params, metrics in answers:
        assert count == devices * processes
        assert ended.startswith(f"interrupted at step {ends_after} of 6; saved to ")
        for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert metrics == pytest.approx(dict(one.metrics), abs=1e-4)
    # What several devices trained loads on one.
    alone, together = (zoo.load(tmp_path / name) for name in ("one", "many/run"))
    expected = alone("the ship sails the sea").probabilities
    assert together("the ship sails the sea").probabilities == pytest.approx(expected, abs=1e-4)


def test_batch_normalisation_is_over_all_devices(image_recipe, image_rows, tmp_path):
    # One image a device: means over its own rows would give other weights altogether.
    recipe = image_recipe(steps=3, checkpoint_every=3)
    one = zoo.fit(recipe, tmp_path / "one", data=image_rows, quiet=True)
    ((_, _, params, metrics),) = train_elsewhere(recipe, image_rows, tmp_path / "many", devices=8)
    for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert metrics == pytest.approx(dict(one.metrics), abs=1e-4)


def test_more_devices_than_there_are_is_an_error(recipe, rows, tmp_path):
    with pytest.raises(ConfigError, match=r"mesh.data is 512, but there are 1 device\(s\)"):
        zoo.fit(recipe(mesh__data=512), tmp_path / "run", data=rows, quiet=True)
