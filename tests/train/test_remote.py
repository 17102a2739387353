"""Runs whose folder is in a bucket: trained, interrupted, resumed, loaded, measured, exported.

The bucket is on this machine (tests/bucket.py). Orbax writes to it through TensorStore's own driver
of Google Cloud Storage.
"""

from __future__ import annotations

import os
import re
import signal

import jax
import numpy as np
import pytest
from bucket import in_place_of_google

import zoo
from zoo.cli import main
from zoo.config import Mistake
from zoo.storage import remote
from zoo.train import Interrupted, reporting, signals


@pytest.fixture(scope="module")
def bucket():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "_event_files", lambda folder: None)  # TensorFlow asks Google
        with in_place_of_google(patch) as bucket:
            yield bucket


@pytest.fixture(scope="module")
def finished(bucket, recipe, rows):
    """A finished run in the bucket."""
    return zoo.fit(recipe(), "gs://bucket/runs/one", data=rows, quiet=True)


def assert_same(a, b):
    for one, other in zip(jax.tree.leaves(a.state), jax.tree.leaves(b.state), strict=True):
        if not jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one, other)
    assert dict(a.metrics) == dict(b.metrics)


def steps_in(text):
    return re.findall(r'"step": (\d+), "(\w+)/', text)


def test_a_run_is_what_it_is_in_a_local_folder(bucket, finished, recipe, rows, tmp_path, capsys):
    local = zoo.fit(recipe(), tmp_path / "one", data=rows, quiet=True)
    assert_same(finished, local)
    here = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("one/*")}
    there = {"/".join(name.split("/")[1:3]) for name in bucket.objects if "runs/one/" in name}
    assert {name for name in here if "events" not in name} - there == {"one/.lock"}
    for name in ("card.toml", "recipe.json", "vocabulary.vocab"):
        found = bucket.objects[f"runs/one/{name}"].decode()
        assert re.sub("seconds = .*", "", found) == re.sub(
            "seconds = .*", "", (tmp_path / "one" / name).read_text()
        )
    records = bucket.objects["runs/one/metrics.jsonl"].decode()
    assert steps_in(records) == steps_in((tmp_path / "one/metrics.jsonl").read_text()) != []

    model = zoo.load("gs://bucket/runs/one")
    assert "zoo: gs://bucket/runs/one at step 2 (best " in capsys.readouterr().err
    texts = [text for text, _ in rows]
    assert model(texts) == zoo.load(tmp_path / "one")(texts)
    assert zoo.evaluate("gs://bucket/runs/one", data=rows) == zoo.evaluate(
        tmp_path / "one", data=rows
    )
    zoo.export("gs://bucket/runs/one", tmp_path / "out")
    assert zoo.load(tmp_path / "out")(texts) == model(texts)
    assert main(["show", "gs://bucket/runs/one"]) == 0
    assert "BagOfEmbeddingsConfig" in capsys.readouterr().out


def test_a_resumed_run_ends_as_one_that_was_never_interrupted(bucket, finished, recipe, rows):
    def terminate(report):
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    there = "gs://bucket/runs/halves"
    with pytest.raises(Interrupted, match=f"saved to {there}"):
        zoo.fit(recipe(), there, data=rows, callbacks=[terminate], quiet=True)
    assert_same(zoo.fit(recipe(), there, data=rows, quiet=True), finished)
    records = bucket.objects["runs/halves/metrics.jsonl"].decode()
    assert steps_in(records) == steps_in(bucket.objects["runs/one/metrics.jsonl"].decode())


def test_an_exported_model_may_be_there_too(bucket, finished, rows, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    there, texts = "gs://bucket/models/topics", [text for text, _ in rows]
    zoo.export("gs://bucket/runs/one", there)
    names = {name for name in bucket.objects if name.startswith("models/")}
    assert names == {f"models/topics/topics.{end}" for end in ("toml", "safetensors", "vocab")}
    assert zoo.load(there)(texts) == zoo.load("gs://bucket/runs/one")(texts)
    with pytest.raises(FileExistsError, match=r"holds another model already \(topics\.toml\)"):
        bucket.put("models/other/topics.toml", bucket.objects["models/topics/topics.toml"])
        zoo.export("gs://bucket/runs/one", "gs://bucket/models/other")
    assert main(["verify", there]) == 0
    weights = "models/topics/topics.safetensors"
    bucket.put(weights, bucket.objects[weights][:-1] + b"!")
    assert zoo.load(there)(texts)  # from the cache
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "empty"))
    with pytest.raises(OSError, match=r"gs://bucket/models/topics/\S+: its sha256 is "):
        zoo.load(there)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["died in the middle of a save", "left a damaged checkpoint"])
def test_a_run_with_half_a_checkpoint_resumes_from_the_one_before(
    end, bucket, finished, recipe, rows
):
    """Orbax renames nothing there: half of a checkpoint lies under its final name."""
    for name in list(bucket.objects):
        if name.startswith("runs/one/"):
            bucket.put(name.replace("one", "half"), bucket.objects[name])
    last = [name for name in bucket.objects if name.startswith("runs/half/checkpoints/4/")]
    for name in last:
        if "damaged" in end:
            bucket.objects[name] = bucket.objects[name][:7]
        elif name.endswith("commit_success.txt") or "/optimizer/" in name:
            del bucket.objects[name]
    bucket.objects["runs/half/card.toml"] = re.sub(
        rb"(?s)\[(metrics|training)\].*?(?=\n\[|\Z)", b"", bucket.objects["runs/half/card.toml"]
    )
    assert_same(zoo.fit(recipe(), "gs://bucket/runs/half", data=rows, quiet=True), finished)
    aside = any("half/checkpoints/4.unreadable/" in name for name in bucket.objects)
    assert aside == ("damaged" in end)
    for name in list(bucket.objects):
        if name.startswith("runs/half/"):
            del bucket.objects[name]


# TensorStore tells Orbax of further failing writes when Orbax has ceased to listen.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_bucket_that_takes_no_more_keeps_the_last_checkpoint(
    bucket, finished, recipe, rows, monkeypatch
):
    there = "gs://bucket/runs/full"
    monkeypatch.setattr(bucket, "refused", re.compile("checkpoints/4/"))
    with pytest.raises(OSError, match=r"step 4 could not be written .*step 2 is intact"):
        zoo.fit(recipe(), there, data=rows, quiet=True)
    assert zoo.load(there).card.checkpoint == 2
    monkeypatch.setattr(bucket, "refused", re.compile("metrics.jsonl"))
    with pytest.raises(OSError, match=r"full/metrics\.jsonl cannot be written \(Forbidden"):
        zoo.fit(recipe(), there, data=rows, quiet=True)
    monkeypatch.setattr(bucket, "refused", re.compile("(?!)"))
    assert_same(zoo.fit(recipe(), there, data=rows, quiet=True), finished)


@pytest.mark.slow
def test_an_object_named_stop_ends_a_run(bucket, recipe, rows, monkeypatch):
    monkeypatch.setattr(signals, "LOOKS_FAR_EVERY", 0.0)
    bucket.put("runs/stopped/STOP", b"")
    with pytest.raises(Interrupted, match="interrupted at step 1"):
        zoo.fit(recipe(), "gs://bucket/runs/stopped", data=rows, quiet=True)
    assert "runs/stopped/STOP" not in bucket.objects


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://bucket/run", r"on Google Cloud Storage \(gs://BUCKET/…\); copy or mount it"),
        ("gs://", "gs:// names no bucket; write gs://BUCKET/FOLDER"),
        ("gs://bucket/run", r"needs the package gcsfs: pip install 'flax-zoo\[gcs\]'"),
    ],
)
def test_what_cannot_be_reached_is_one_line(url, says, monkeypatch, capsys):
    monkeypatch.setattr(remote, "is_installed", lambda: False)
    for call in (zoo.load, zoo.card, lambda url: zoo.fit("mlp_digits", url)):
        with pytest.raises(Mistake, match=says):
            call(url)
    assert main(["train", "mlp_digits", "--workdir", url]) == 2
    assert main(["export", url, "--out", "out"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(re.search(says, line) for line in lines)


def test_a_bucket_that_does_not_answer_is_one_line(bucket, monkeypatch, capsys):
    def refuse(self, path):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("bucket.ObjectStore.exists", refuse)
    for words in (["train", "mlp_digits", "--workdir"], ["eval"], ["show"]):
        assert main([*words, "gs://bucket/away"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("gs://bucket/away cannot be reached (" in line for line in lines)


def test_a_bucket_that_cannot_be_written_to_is_refused_before_the_work(bucket, monkeypatch):
    monkeypatch.setattr(bucket, "refused", re.compile("read_only"))
    with pytest.raises(OSError, match=r"^gs://bucket/read_only/\S+ cannot be written \(Forbidden"):
        zoo.fit("mlp_digits", "gs://bucket/read_only")


def test_a_profile_needs_a_local_folder(bucket):
    with pytest.raises(Mistake, match="a profile is written to a local folder only"):
        zoo.fit("mlp_digits", "gs://bucket/run", profile_at=2)
