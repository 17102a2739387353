"""Several devices or processes train what one device trains."""

from __future__ import annotations

import dataclasses
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
from zoo.train.sharding import MeshConfig

CHECKOUT = Path(__file__).parents[2]

PROGRAM = textwrap.dedent(
    """
    import os, pickle, signal, sys
    folder, number, processes, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    import jax
    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, number)
    import numpy as np
    import zoo
    from zoo.train import Interrupted

    def interrupt(report):
        if report.step == 3 and "validation/loss" in report.metrics and number == processes - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def end(report):
        report.state
        return number == 1 and report.step == 4

    def fail(report):
        if number == 1 and report.step == 4:
            raise OSError("no such weather")

    def train(recipe, rows, workdir, *names):
        callbacks = [{"interrupt": interrupt, "end": end, "fail": fail}[name] for name in names]
        try:
            result = zoo.fit(recipe, workdir, data=rows, callbacks=callbacks, quiet=True)
        except (ValueError, OSError, Interrupted) as error:
            return f"{type(error).__name__}: {error}"
        everywhere = all(
            len(leaf.sharding.device_set) == jax.device_count()
            for leaf in jax.tree.leaves(result.state)
        )
        state = jax.tree.map(np.asarray, (result.state.params, result.state.optimizer))
        return jax.device_count(), everywhere, state, dict(result.metrics)

    with open(f"{folder}/jobs", "rb") as file:
        results = [train(*job) for job in pickle.load(file)]
    with open(f"{folder}/results.{number}", "wb") as file:
        pickle.dump(results, file)
    """
)


def train_elsewhere(jobs, folder, *, devices, processes=1):
    """Runs jobs in processes with so many CPU devices each; what each process found.

    A job is (recipe, rows, workdir, names of callbacks of the program: one interrupts the last
    process at step 3, one ends the run in the second process at step 4, one fails there). Its
    result is (devices, whether all have the state, parameters and optimizer, metrics), or an error.
    """
    folder.mkdir(exist_ok=True)
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    for process in start(PROGRAM, folder, devices=devices, processes=processes):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return [
        pickle.loads((folder / f"results.{number}").read_bytes()) for number in range(processes)
    ]


def start(program, folder, *, devices, processes):
    """Starts the processes of a job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder), str(number), str(processes), str(port)],
            cwd=CHECKOUT,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]


def assert_close(one, many, **tolerance):
    """Asserts that a run on one device and the result of one on many are equal."""
    _, everywhere, (params, _), metrics = many
    assert everywhere
    for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
    assert metrics == pytest.approx(dict(one.metrics), abs=1e-4)


def assert_resumed(whole, interrupted, resumed, *, after):
    """Asserts that a run stopped after that step and ended in the state of an undisturbed one."""
    assert interrupted.startswith(f"Interrupted: interrupted at step {after} of 6; saved to ")
    jax.tree.map(np.testing.assert_array_equal, resumed[2], whole[2])
    assert resumed[3] == whole[3]


@pytest.fixture(scope="module")
def plan(recipe):
    """6 examples a step do not divide by 8: rows of weight 0 are added. There is dropout."""
    return recipe(batch_size=6, steps=6, eval_every=3, checkpoint_every=6, log_every=2)


@pytest.fixture(scope="module")
def image_plan(image_recipe):
    return image_recipe(steps=3, checkpoint_every=3)


@pytest.fixture(scope="module")
def one(plan, rows, tmp_path_factory):
    """The run on one device."""
    return zoo.fit(plan, tmp_path_factory.mktemp("one") / "run", data=rows, quiet=True)


@pytest.fixture(scope="module")
def eight(plan, rows, image_plan, image_rows, tmp_path_factory):
    """Runs on eight devices: of texts, the same one interrupted and resumed, images, and what
    eight devices cannot share."""
    folder = tmp_path_factory.mktemp("eight")
    split = dataclasses.replace(plan, mesh=MeshConfig(fsdp=2, tensor=2))
    jobs = [
        (plan, rows, folder / "texts"),
        (split, rows, folder / "halves", "interrupt"),
        (split, rows, folder / "halves"),
        (split, rows, folder / "split"),
        (image_plan, image_rows, folder / "images"),
        (dataclasses.replace(image_plan, batch_size=9), image_rows, folder / "nine"),
    ]
    (results,) = train_elsewhere(jobs, folder, devices=8)
    return folder, results


def assert_loads(one, folder):
    """Asserts that what many devices trained answers, on one device, like what one trained."""
    expected, found = (zoo.load(workdir)("the ship") for workdir in (one.workdir, folder))
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_eight_devices_train_and_resume_what_one_trains(one, eight):
    folder, (copied, interrupted, resumed, split, *_) = eight
    assert copied[0] == 8
    for whole, name in ((copied, "texts"), (split, "split")):
        assert_close(one, whole, rtol=1e-4, atol=1e-5)
        assert_loads(one, folder / name)
    assert_resumed(split, interrupted, resumed, after=3)


def test_batch_normalisation_is_over_all_devices(image_plan, image_rows, eight, tmp_path):
    # One image per device: means over its own rows would give quite different weights.
    one = zoo.fit(image_plan, tmp_path / "one", data=image_rows, quiet=True)
    assert_close(one, eight[1][4], rtol=1e-3, atol=1e-5)


def test_images_that_eight_devices_cannot_share_are_refused(eight):
    assert eight[1][5].startswith(
        "ConfigError: batch_size is 9, which the mesh (data 8, fsdp 1, tensor 1) cannot "
        "share equally: "
    )


def test_two_processes_train_and_resume_what_one_trains(one, plan, rows, tmp_path):
    """A signal to one of them ends both after the same step, and so does whatever else happens to
    one of them."""
    endless = dataclasses.replace(plan, steps=10**6, log_every=1)
    lone = dataclasses.replace(plan, mesh=MeshConfig(data=1))
    jobs = [
        (plan, rows, tmp_path / "whole"),
        (endless, rows, tmp_path / "halves", "interrupt"),
        (plan, rows, tmp_path / "ended", "end"),
        (plan, rows, tmp_path / "failed", "fail"),
        (lone, rows, tmp_path / "lone"),
        (dataclasses.replace(plan, seed=1), rows, tmp_path / "whole"),
    ]
    first, second = train_elsewhere(jobs, tmp_path, devices=1, processes=2)
    for whole, interrupted, ended, *_ in (first, second):
        assert whole[0] == 2
        assert_close(one, whole, rtol=1e-4, atol=1e-5)
        assert interrupted.startswith("Interrupted: interrupted at step ")
        assert ended[0] == 2
    assert first[1] == second[1]
    assert_loads(one, tmp_path / "whole")
    failed = "OSError: no such weather"
    assert (first[3], second[3]) == (
        f"OtherProcessError: process 1 of the job failed: {failed}",
        failed,
    )
    for lone, other in ((first[4], first[5]), (second[4], second[5])):
        assert (
            "mesh is data 1, fsdp 1, tensor 1: 1 of 2 devices, which leaves process 1 without any"
            in lone
        )
        assert "seed is 0 there, 1 now" in other


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit(plan, rows, tmp_path):
    jobs = [
        (plan, rows, tmp_path / "whole"),
        (plan, rows, tmp_path / "halves", "end"),
        (dataclasses.replace(plan, checkpoint_every=4), rows, tmp_path / "more", "fail"),
        (dataclasses.replace(plan, checkpoint_every=4), rows, tmp_path / "more"),
    ]
    for whole, _, failed, resumed in train_elsewhere(jobs, tmp_path, devices=1, processes=2):
        assert "no such weather" in failed
        jax.tree.map(np.testing.assert_array_equal, resumed[2], whole[2])
        assert resumed[3] == whole[3]


@pytest.mark.slow
def test_a_process_that_waits_for_a_device_ends_when_another_one_fails(plan, rows, tmp_path):
    """The other one waits in a step that the failed one never takes."""
    program = PROGRAM.replace(
        'with open(f"{folder}/jobs"',
        textwrap.dedent(
            """
            from zoo.train import processes, sharding
            processes.PATIENCE = 3.0
            put_batch, count = sharding.put_batch, [0]

            def put(batch, mesh):
                count[0] += 1
                if number == 0 and count[0] == 4:
                    raise OSError("no such file")
                return put_batch(batch, mesh)

            sharding.put_batch = put
            with open(f"{folder}/jobs\""""
        ),
    )
    (tmp_path / "jobs").write_bytes(pickle.dumps([(plan, rows, tmp_path / "run")]))
    running = start(program, tmp_path, devices=1, processes=2)
    outputs = [process.communicate(timeout=120)[1] for process in running]
    assert running[1].returncode == 1
    assert (
        "zoo: process 0 of the job failed: OSError: no such file; this process ends too"
        in (outputs[1])
    )


def test_more_devices_than_there_are_is_an_error(recipe, rows, tmp_path):
    with pytest.raises(ConfigError, match="which takes 512 devices, but there are 1 "):
        zoo.fit(recipe(mesh__data=512), tmp_path / "run", data=rows, quiet=True)
