"""Files with urls: fetched from a local server, verified, converted, kept; and all that goes wrong.

Every failure is one line that names what was tried, and leaves no broken cache.
"""

from __future__ import annotations

import dataclasses
import fcntl
import gzip
import hashlib
import http.server
import pickle
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import types
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]
D, FF, VOCABULARY, POSITIONS = 512, 2048, 33300, (1, 2048, 512)
NORM = [(D,), (D,)]
ATTENTION = [(D, D), (D,)] * 4
FEED_FORWARD = [(D, FF), (FF,), (FF, D), (D,)]
ENDE = [
    *((VOCABULARY, D), POSITIONS),
    *(NORM + ATTENTION + NORM + FEED_FORWARD) * 6,
    *(*NORM, POSITIONS),
    *(NORM + ATTENTION + NORM + ATTENTION + NORM + FEED_FORWARD) * 6,
    *(*NORM, (D, VOCABULARY), (VOCABULARY,)),
]
"""The arrays of trax's published translator, in its order (FORMAT.md, section 10)."""

SMALLER = r"\. smaller needs no download: zoo\.load\('smaller'\)$"


@dataclass
class Server:
    """Answers of a web server, which a test fills in; `asked` are the paths that were asked for."""

    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    """What it claims to send, where that is not what it sends."""
    delay: float = 0.0
    resumes: bool = True
    """Whether it can send the rest of a file."""
    asked: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    """The `Range` of each request."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def server(monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            served.asked.append(self.path)
            body = served.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            wanted = self.headers["Range"]
            served.ranges.append(wanted)
            if wanted and served.resumes:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                body = body[start:]
                self.send_response(206)
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(served.lengths.get(self.path, len(body))))
            self.end_headers()
            time.sleep(served.delay)
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        served = Server(listening.server_port)
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield served
        listening.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The model's folder in an empty cache."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    return tmp_path / "cache" / "toy"


@pytest.fixture
def model(tmp_path):
    """(config, variables): an MLP so small that nothing of it takes time."""
    from zoo.models.mlp import MLPConfig

    config = MLPConfig(input_shape=(8, 8, 1), num_classes=2, hidden_sizes=(3,))
    numbers = np.random.default_rng(0)
    return config, jax.tree.map(
        lambda leaf: numbers.standard_normal(leaf.shape, np.float32), config.variable_shapes()
    )


@pytest.fixture
def publish(server, model, tmp_path):
    """Writes a card whose only file is on the server, and gives its path."""
    from zoo.storage.cards import Card, File

    def write(body: bytes, *urls: str, name: str = "toy.safetensors", **changes: object) -> Path:
        file = File(
            name=name,
            sha256=hashlib.sha256(body).hexdigest(),
            size=len(body),
            urls=tuple(urls) or (server.url("/" + name),),
        )
        server.files.setdefault("/" + name, body)
        card = Card(
            name="toy",
            task="image_classification",
            config=model[0],
            labels=("no", "yes"),
            preprocessing={"height": 8, "width": 8, "channels": 1},
            files=(dataclasses.replace(file, **changes),),
            alternative="smaller",
        )
        (tmp_path / "card").mkdir(exist_ok=True)
        card.save(tmp_path / "card" / "toy.toml")
        return tmp_path / "card" / "toy.toml"

    return write


@pytest.fixture
def body(model, tmp_path):
    """The model's weights as the bytes of a safetensors file."""
    from zoo.storage import weights

    weights.save(tmp_path / "weights", model[1])
    return (tmp_path / "weights").read_bytes()


@pytest.fixture
def trax(model, monkeypatch):
    """A stand-in for the reader of trax's checkpoints: the paths that were read."""
    read = []
    module = types.ModuleType("zoo.interop.trax")
    module.read = lambda path: read.append(path) or path.read_bytes()
    module.to_variables = lambda checkpoint, config: model[1]
    package = types.ModuleType("zoo.interop")
    package.trax = module
    monkeypatch.setitem(sys.modules, "zoo.interop", package)
    monkeypatch.setitem(sys.modules, "zoo.interop.trax", module)
    return read


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.is_dir() else set()


def refused(card: Path) -> str:
    """The one line with which loading fails."""
    import zoo
    from zoo.hub.fetching import HubError

    with pytest.raises(HubError) as error:
        zoo.load(card)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_file_is_fetched_once_and_then_read_from_the_cache(server, cache, publish, body, model):
    import zoo

    card = publish(body)
    loaded = zoo.load(card)
    np.testing.assert_array_equal(
        loaded.variables["params"]["head"]["kernel"], model[1]["params"]["head"]["kernel"]
    )
    assert loaded(np.zeros((8, 8), np.uint8)) == zoo.load(card)(np.zeros((8, 8), np.uint8))
    assert server.asked == ["/toy.safetensors"]
    assert names(cache) == {"toy.safetensors", "toy.safetensors.json"}


def test_what_is_fetched_is_announced(cache, publish, body, capsys):
    import zoo

    zoo.load(publish(body))
    assert re.search(r"zoo: fetching http://.*/toy.safetensors \(0.0 MB\)", capsys.readouterr().err)


def test_a_checkpoint_of_trax_is_verified_converted_and_then_read_as_safetensors(
    server, cache, publish, trax, model
):
    import zoo

    card = publish(b"a pickle", name="toy.pkl.gz", format="trax")
    first = zoo.load(card)
    np.testing.assert_array_equal(
        first.variables["params"]["head"]["kernel"], model[1]["params"]["head"]["kernel"]
    )
    assert names(cache) == {"toy.pkl.gz.safetensors", "toy.pkl.gz.safetensors.json"}
    zoo.load(card)
    assert (len(trax), server.asked) == (1, ["/toy.pkl.gz"])


def test_nothing_is_unpickled_that_is_not_the_card_s_file(server, cache, publish, trax):
    card = publish(b"a pickle", name="toy.pkl.gz", format="trax")
    server.files["/toy.pkl.gz"] = b"a trojan"
    refused(card)
    (cache / "toy.pkl.gz").write_bytes(b"a trojan")
    (card.parent / "toy.pkl.gz").write_bytes(b"a trojan")
    message = refused(card)
    assert message.count("its sha256 is " + hashlib.sha256(b"a trojan").hexdigest()) == 3
    assert trax == []


def test_a_checkpoint_beside_the_card_is_converted_and_stays(server, cache, publish, trax):
    import zoo

    card = publish(b"a pickle", name="toy.pkl.gz", format="trax")
    (card.parent / "toy.pkl.gz").write_bytes(b"a pickle")
    zoo.load(card)
    assert server.asked == []
    assert (card.parent / "toy.pkl.gz").is_file()
    assert names(cache) == {"toy.pkl.gz.safetensors", "toy.pkl.gz.safetensors.json"}


def test_a_checkpoint_that_does_not_fit_the_card_is_refused(cache, publish, trax, model):
    import zoo
    from zoo.storage.cards import CardError

    del model[1]["params"]["head"]
    with pytest.raises(CardError) as error:
        zoo.load(publish(b"a pickle", name="toy.pkl.gz", format="trax"))
    message = str(error.value)
    assert message.startswith("toy.pkl.gz is the file that the card 'toy' names, but not a trax ch")
    assert "+ params/head/kernel [3, 2]" in message
    assert names(cache) == {"toy.pkl.gz"}, "what was fetched is right, and stays for a better card"


@pytest.mark.shared
def test_a_checkpoint_that_trax_wrote_goes_the_whole_way(server, cache, shared, tmp_path):
    pytest.importorskip("zoo.interop.trax", reason="needs the reader of trax's checkpoints")
    from zoo import hub
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.models.trax.bag_of_embeddings import BagOfEmbeddingsQuirks
    from zoo.storage.cards import Card, File

    golden = shared / "golden" / "open" / "classifier"
    server.files["/bag.pkl.gz"] = body = (golden / "bag_of_embeddings.pkl.gz").read_bytes()
    card = Card(
        name="toy",
        task="text_classification",
        labels=("a", "b", "c"),
        config=BagOfEmbeddingsConfig(
            vocab_size=50,
            num_classes=3,
            d_model=16,
            trax=BagOfEmbeddingsQuirks(average_padding=True),
        ),
        files=(
            File(
                name="bag.pkl.gz",
                sha256=hashlib.sha256(body).hexdigest(),
                size=len(body),
                urls=(server.url("/bag.pkl.gz"),),
                format="trax",
            ),
        ),
    )
    card.save(tmp_path / "toy.toml")
    arrays = np.load(golden / "bag_of_embeddings.npz")
    for _ in range(2):
        model = hub.open_model(tmp_path / "toy.toml")
        logits = model.card.config.build().apply(
            model.variables, jax.numpy.asarray(arrays["tokens"])
        )
        np.testing.assert_allclose(
            jax.nn.log_softmax(logits), arrays["log_probs"], rtol=1e-4, atol=2e-5
        )
    assert server.asked == ["/bag.pkl.gz"]
    assert names(cache) == {"bag.pkl.gz.safetensors", "bag.pkl.gz.safetensors.json"}


@pytest.mark.slow
@pytest.mark.shared
def test_the_published_translator_goes_the_whole_way(server, cache, shared, tmp_path):
    """A checkpoint of exactly its configuration, with random weights, and its own vocabulary."""
    import zoo
    from zoo.storage.cards import Card

    arrays = [np.random.default_rng(0).normal(0, 0.05, s).astype(np.float32) for s in ENDE]
    checkpoint = {"flat_weights": arrays, "flat_state": [np.float32(0.1)] * 43, "step": 100_000}
    bodies = (
        gzip.compress(pickle.dumps(checkpoint, protocol=3), compresslevel=1),
        (shared / "golden" / "open" / "vocab" / "ende_32k.subword").read_bytes(),
    )
    card = Card.read(CHECKOUT / "pretrained" / "transformer_ende.toml")
    vocabulary = card.files[1]
    assert vocabulary.sha256 == hashlib.sha256(bodies[1]).hexdigest()
    files = [
        dataclasses.replace(
            file,
            sha256=hashlib.sha256(body).hexdigest(),
            size=len(body),
            urls=(server.url("/" + file.name),),
        )
        for file, body in zip(card.files, bodies, strict=True)
    ]
    dataclasses.replace(card, files=tuple(files)).save(tmp_path / "ende.toml")
    server.files |= {"/" + file.name: body for file, body in zip(files, bodies, strict=True)}

    sentence = "It is nice to learn new things today!"
    answers = []
    for _ in range(2):
        translator = zoo.load(tmp_path / "ende.toml")
        answers.append(translator(sentence, beam_size=1, max_new_tokens=8))
    assert answers[0] == answers[1]
    np.testing.assert_array_equal(
        translator.variables["params"]["embedding"]["embedding"], arrays[0]
    )
    assert server.asked == ["/ende_wmt32k.pkl.gz", "/ende_32k.subword"]
    kept = {"ende_wmt32k.pkl.gz.safetensors", "ende_32k.subword"}
    assert names(cache.with_name("transformer_ende")) == kept | {f"{name}.json" for name in kept}


def test_the_second_url_is_used_when_the_first_fails(server, cache, publish, body):
    import zoo

    gone, right = server.url("/gone"), server.url("/toy.safetensors")
    zoo.load(publish(body, gone, f"http://127.0.0.1:{closed_port()}/x", right))
    assert server.asked == ["/gone", "/toy.safetensors"]
    assert names(cache) == {"toy.safetensors", "toy.safetensors.json"}


def test_a_file_that_was_placed_by_hand_is_verified_and_used(server, cache, publish, body):
    import zoo

    card = publish(body)
    cache.mkdir(parents=True)
    (cache / "toy.safetensors").write_bytes(body)
    zoo.load(card)
    zoo.load(card)
    assert server.asked == []


def test_the_message_says_what_was_tried_and_how_to_do_without(server, cache, publish, body):
    port = closed_port()
    card = publish(body, server.url("/gone"), f"http://127.0.0.1:{port}/x", "ftp://nowhere/y")
    digest = hashlib.sha256(body).hexdigest()
    assert re.fullmatch(
        r"toy\.safetensors \(0\.0 MB\) of 'toy' is not available: "
        rf"{server.url('/gone')}: 404 Not Found; "
        rf"http://127.0.0.1:{port}/x: no connection \(Failed to establish .* refused\); "
        r"ftp://nowhere/y: No connection adapters were found for 'ftp://nowhere/y'\. "
        rf"To add it by hand, put the file with sha256 {digest} at {cache}/toy\.safetensors"
        + SMALLER,
        refused(card),
    )
    assert names(cache) == set()


def test_a_file_of_another_hash_is_not_kept(server, cache, publish, body):
    card = publish(body)
    server.files["/toy.safetensors"] = other = bytes(reversed(body))
    assert f"its sha256 is {hashlib.sha256(other).hexdigest()}" in refused(card)
    assert names(cache) == set()


def test_a_file_that_is_shorter_is_not_kept(server, cache, publish, body):
    card = publish(body)
    server.files["/toy.safetensors"] = body[:100]
    assert f"100 bytes instead of {len(body):,}" in refused(card)
    assert names(cache) == set()


@pytest.mark.parametrize("resumes", [True, False])
def test_a_transfer_that_breaks_off_goes_on_at_the_next_call(
    server, cache, publish, body, resumes, monkeypatch
):
    import zoo
    from zoo.hub import fetching

    monkeypatch.setattr(fetching, "CHUNK", 50)
    card = publish(body)
    server.files["/toy.safetensors"] = body[:100]
    server.lengths["/toy.safetensors"] = len(body)
    assert (
        "/toy.safetensors: the connection was lost (0.0 MB are kept, and the next call goes on "
        "from there). To add" in refused(card)
    )
    assert names(cache) == {"toy.safetensors.part"}
    server.files["/toy.safetensors"] = body
    server.lengths.clear()
    server.resumes = resumes
    zoo.load(card)
    assert server.ranges == [None, "bytes=100-"]
    assert names(cache) == {"toy.safetensors", "toy.safetensors.json"}


def test_no_more_is_written_than_the_card_promises(server, cache, publish, body, monkeypatch):
    from zoo.hub import fetching

    monkeypatch.setattr(fetching, "CHUNK", 50)
    written = []
    verify = fetching._verify
    monkeypatch.setattr(
        fetching, "_verify", lambda path, file: written.append(path) or verify(path, file)
    )
    card = publish(body)
    server.files["/toy.safetensors"] = body + bytes(100_000)
    assert f"more than the {len(body):,} bytes that the card names" in refused(card)
    assert (written, names(cache)) == ([], set())


def test_a_server_that_says_nothing_is_given_up(server, cache, publish, body, monkeypatch):
    from zoo.hub import fetching

    monkeypatch.setattr(fetching, "TIMEOUT", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        card = publish(body, f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        assert "/x: no answer within 0.1 s. To add" in refused(card)


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    server, cache, publish, body, monkeypatch
):
    full = types.SimpleNamespace(total=10**9, used=10**9 - 10, free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert "no space left: 0.0 MB are needed, 0.0 MB are free. To add" in refused(publish(body))
    assert (server.asked, names(cache)) == ([], set())


def test_a_disk_that_fills_up_leaves_nothing_behind(cache, publish, trax, monkeypatch):
    from zoo.storage import weights

    def save(path, variables):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save", save)
    card = publish(b"a pickle", name="toy.pkl.gz", format="trax")
    assert f"{cache}: No space left on device. To add" in refused(card)
    assert names(cache) == {"toy.pkl.gz"}


def test_a_cache_that_cannot_be_made_is_named(publish, body, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    assert f"{tmp_path}/file/toy: Not a directory. To add" in refused(publish(body))


@pytest.mark.parametrize("url", ["/toy.safetensors", "/gone"])
def test_offline_nothing_is_asked_for(server, cache, publish, body, monkeypatch, url):
    import zoo

    monkeypatch.setenv("ZOO_OFFLINE", "1")
    card = publish(body, server.url(url))
    message = refused(card)
    assert f"{server.url(url)}: not asked, because ZOO_OFFLINE is set. To add it by hand" in message
    assert server.asked == []
    (cache / "toy.safetensors").write_bytes(body)
    zoo.load(card)
    assert server.asked == []


SPOILT = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "with a broken header": lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
    "gone": lambda path: path.unlink(),
    "with a receipt that cannot be read": lambda path: Path(f"{path}.json").write_text("{"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_cache_is_mended(server, cache, publish, body, trax, how):
    import zoo

    cards = {
        "toy.safetensors": lambda: publish(body),
        "toy.pkl.gz.safetensors": lambda: publish(b"a pickle", name="toy.pkl.gz", format="trax"),
    }
    for name, card in cards.items():
        zoo.load(card())
        whole = (cache / name).read_bytes()
        SPOILT[how](cache / name)
        zoo.load(card())
        assert (cache / name).read_bytes() == whole


def test_a_card_with_new_weights_fetches_them(server, cache, publish, body, model):
    import zoo
    from zoo.storage import weights

    zoo.load(publish(body))
    weights.save(cache / "new", jax.tree.map(np.negative, model[1]))
    new = (cache / "new").read_bytes()
    assert len(new) == len(body)
    server.files["/toy.safetensors"] = new
    kernel = zoo.load(publish(new)).variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(kernel, -model[1]["params"]["head"]["kernel"])


def test_a_vocabulary_is_fetched_too(server, cache, publish, body, tmp_path):
    from zoo import hub, tokenizers
    from zoo.storage import cards

    vocabulary = b"'<pad>_'\n'<EOS>_'\n'the_'\n"
    card = cards.Card.read(publish(body))
    words = cards.File(
        name="toy.subword",
        sha256=hashlib.sha256(vocabulary).hexdigest(),
        size=len(vocabulary),
        urls=(server.url("/v"),),
    )
    server.files["/v"] = vocabulary
    card = dataclasses.replace(
        card, files=(*card.files, words), tokenizer={"kind": "subwords", "file": "toy.subword"}
    )
    card.save(tmp_path / "card" / "toy.toml")
    tokenizer = hub.open_model(tmp_path / "card").tokenizer
    assert isinstance(tokenizer, tokenizers.SubwordTokenizer)
    assert "toy.subword" in names(cache)


def test_of_two_processes_at_once_one_fetches_and_both_are_right(server, cache, publish, body):
    server.delay = 0.5
    card = publish(body)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from zoo.hub import fetching\n"
        "from zoo.storage.cards import Card\n"
        "path = Path(sys.argv[1])\n"
        "card = Card.read(path)\n"
        "print(fetching.path_of(card, card.files[0], path.parent).stat().st_size)\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, card],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert [out for out, _ in ended] == [f"{len(body)}\n"] * 2
    assert server.asked == ["/toy.safetensors"]


def test_who_waits_for_another_process_is_told(cache, publish, body, capsys):
    import zoo

    cache.mkdir(parents=True)
    with (cache / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.2, lambda: fcntl.flock(other, fcntl.LOCK_UN)).start()
        zoo.load(publish(body))
    err = capsys.readouterr().err
    assert err.startswith("zoo: another process is fetching toy; waiting for it\n")


@pytest.mark.parametrize(
    ("left", "asked"), [("half", 1), ("all", 0), ("another file's", 2), ("too much", 2)]
)
def test_a_process_that_is_killed_while_fetching_harms_nobody(
    server, cache, publish, body, left, asked
):
    import zoo

    card = publish(body)
    half = {
        "half": body[: len(body) // 2],
        "all": body,
        "another file's": b"half",
        "too much": body + b"x",
    }[left]
    cache.mkdir(parents=True)
    (cache / "toy.safetensors.part").write_bytes(half)
    (cache / ".lock").touch()
    zoo.load(card)
    assert len(server.asked) == asked
    assert names(cache) == {"toy.safetensors", "toy.safetensors.json"}


def test_without_a_home_folder_the_message_names_the_variable(publish, body, monkeypatch):
    import pwd

    def nobody(_):
        raise KeyError

    card = publish(body)
    for name in ("ZOO_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert "no home folder" in (message := refused(card))
    assert "set ZOO_CACHE to a folder" in message
    monkeypatch.setenv("ZOO_CACHE", "~/cache")
    assert "set ZOO_CACHE to a folder" in refused(card)
