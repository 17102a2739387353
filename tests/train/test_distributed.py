"""The start of one process of many: who takes part, how that is known, and what is refused."""

from __future__ import annotations

import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from zoo.config import ConfigError
from zoo.train import distributed
from zoo.train.distributed import _Place, _place, _roll_call

CHECKOUT = Path(__file__).parents[2]
SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
}


def place(monkeypatch, environment, *given):
    for name in (*SLURM, *OPEN_MPI, "JAX_LOCAL_DEVICE_IDS", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return _place(*(given or (None, None, None)), os.environ)


@pytest.mark.parametrize(
    ("environment", "given", "expected"),
    [
        ({}, (), None),
        ({}, ("node1:12", 2, 0), _Place("node1:12", 2, 0)),
        ({}, ("node1:12", 1, 0), None),
        (SLURM, (), _Place("node003:61457", 2, 1, (0,))),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, (), None),
        (SLURM | {"JAX_LOCAL_DEVICE_IDS": "0,1"}, (), _Place("node003:61457", 2, 1)),
        (SLURM, ("node1:12", 3, 0), _Place("node1:12", 3, 0)),
        (
            {"JAX_COORDINATOR_ADDRESS": "a.b:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
            (),
            _Place("a.b:1", 2, 1),
        ),
    ],
)
def test_the_place_of_a_process_is_given_or_found(environment, given, expected, monkeypatch):
    assert place(monkeypatch, environment, *given) == expected


def test_open_mpi_says_the_place_of_a_process(monkeypatch):
    found = place(monkeypatch, OPEN_MPI)
    assert (found.processes, found.process, found.local_devices) == (4, 2, (2,))
    assert found.coordinator.startswith("10.96.0.1:")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("node1:12", None, None), "needs --distributed.processes and --distributed.process too"),
        ((None, 2, 0), "needs --distributed.coordinator too"),
        (("node1:12", 2, 2), "distributed.process is 2; of 2 processes it is 0 to 1"),
        (("node1", 2, 0), "is 'node1'; it must be HOST:PORT"),
    ],
)
def test_half_a_place_is_refused(given, message, monkeypatch):
    with pytest.raises(ConfigError, match=message):
        place(monkeypatch, {}, *given)


def test_a_number_in_the_environment_that_is_none_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="JAX_NUM_PROCESSES is 'two'"):
        place(monkeypatch, {"JAX_NUM_PROCESSES": "two"})


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def roll_call(*processes, timeout=20.0):
    """Of each process, given as (number, how many it thinks there are): "" or its error."""
    port, results = free_port(), ["?"] * len(processes)

    def call(position, number, count):
        try:
            connections = _roll_call(_Place(f"127.0.0.1:{port}", count, number), timeout)
            results[position] = ""
            for connection in connections.values():
                connection.close()
        except ConfigError as error:
            results[position] = str(error)

    threads = [
        threading.Thread(target=call, args=(position, *process))
        for position, process in enumerate(processes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_processes_that_agree_go_on():
    assert roll_call((2, 3), (0, 3), (1, 3)) == ["", "", ""]


def test_processes_that_do_not_agree_on_their_number_all_say_so():
    first, second = roll_call((0, 2), (1, 3))
    assert first == second
    assert first.endswith("process 0 was started as one of 2, process 1 as one of 3")


def test_a_number_that_comes_twice_is_refused():
    assert set(roll_call((0, 3), (1, 3), (1, 3))) == {"two processes were started as number 1"}


def test_processes_that_do_not_appear_are_named():
    first, second = roll_call((0, 4), (2, 4), timeout=0.5)
    assert first.startswith("process 1, 3 of 4 did not appear within 0.5 s")
    assert second == first
    (alone,) = roll_call((1, 2), timeout=0.1)
    assert re.match(r"process 0 did not answer at 127.0.0.1:\d+ within 0.1 s .* gives up", alone)


def test_what_else_knocks_at_the_port_is_ignored():
    port, found = free_port(), []
    first = threading.Thread(
        target=lambda: found.append(_roll_call(_Place(f"127.0.0.1:{port}", 2, 0), 20.0))
    )
    first.start()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            break
        except OSError:
            pass
    other = _roll_call(_Place(f"127.0.0.1:{port}", 2, 1), 20.0)
    first.join()
    assert set(found[0]) == {1} and set(other) == {0}
    for connection in (*found[0].values(), *other.values()):
        connection.close()


def test_a_process_that_leaves_without_a_good_bye_ends_the_others(monkeypatch):
    ended = []

    class Ended(Exception):
        pass

    def end(number):
        ended.append(number)
        raise Ended

    monkeypatch.setattr(distributed, "_end", end)
    ours, theirs = socket.socketpair()
    theirs.sendall(distributed.BYE)
    theirs.close()
    distributed._watch({1: ours})
    assert not ended
    ours.close()
    ours, theirs = socket.socketpair()
    third, of_third = socket.socketpair()
    theirs.close()
    with pytest.raises(Ended):
        distributed._watch({1: ours, 2: third})
    assert ended == [1]
    assert of_third.recv(9) == b"1"
    for connection in (ours, third, of_third):
        connection.close()


# What starts the processes of a cluster.


def script():
    return (CHECKOUT / "deploy" / "slurm.sbatch").read_text()


def container():
    jobset = yaml.safe_load((CHECKOUT / "deploy" / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (workers,) = jobset["spec"]["replicatedJobs"]
    return jobset, workers, workers["template"]["spec"]


def test_both_start_the_same_command():
    (start,) = (line for line in script().splitlines() if line.startswith("srun "))
    words = shlex.split(start)
    command = words[words.index("zoo") :]
    assert command == ["zoo", "train", "$@"]
    _, _, job = container()
    (pod,) = job["template"]["spec"]["containers"]
    assert pod["command"] == command[:2]
    example = re.search(r"sbatch deploy/slurm.sbatch (.*)", script())[1]
    assert pod["args"] == shlex.split(example)


def test_the_jobset_tells_each_pod_its_place(monkeypatch):
    jobset, workers, job = container()
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"] == 2
    (pod,) = job["template"]["spec"]["containers"]
    environment = {item["name"]: item.get("value", "1") for item in pod["env"]}
    name = jobset["metadata"]["name"]
    first = f"{name}-{workers['name']}-0-0.{name}"  # JobSet's name of the pod with index 0
    assert place(monkeypatch, environment) == _Place(f"{first}:1234", job["completions"], 1)


def test_the_script_is_one_of_bash():
    subprocess.run(["bash", "-n"], input=script(), text=True, check=True)
    options = re.findall(r"^#SBATCH (--[a-z-]+)=?", script(), re.MULTILINE)
    assert len(options) == len(set(options)) == 9


SRUN = """\
#!{python}
import os, subprocess, sys

words = [word for word in sys.argv[1:] if not word.startswith("--kill-on-bad-exit")]
running = [
    subprocess.Popen(words, env={{**os.environ, "SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)}})
    for n in range(int(os.environ["SLURM_NTASKS"]))
]
sys.exit(max(process.wait() for process in running))
"""


@pytest.mark.slow
def test_the_script_trains_under_an_srun_of_two_local_processes(tmp_path):
    srun = tmp_path / "srun"
    srun.write_text(SRUN.format(python=sys.executable))
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
    }
    job = [str(CHECKOUT / "deploy" / "slurm.sbatch"), "mlp_digits", "--steps", "20"]
    for steps in ("20", "30"):  # the second one resumes
        job[-1] = steps
        ended = subprocess.run(
            ["bash", *job, "--workdir", str(tmp_path / "run")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        log = (tmp_path / "run" / "train.log").read_text()
        assert "2 device(s) (data 2, fsdp 1, tensor 1)" in log
        assert f"{steps} steps in" in log
