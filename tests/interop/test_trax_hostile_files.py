"""Files that were made to run code, to fill the memory or to take for ever: all are refused."""

from __future__ import annotations

import collections
import copyreg
import functools
import gzip
import importlib
import io
import operator
import os
import pickle
import random
import runpy
import struct
import subprocess
import time
import tracemalloc

import numpy as np
import pytest

from zoo.interop import files, trax, unpickling

WEIGHTS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)]

# Pickles as they come: an object whose pickle calls a function.


class Calls:
    """Pickled, it is a call: `Calls(os.system, "…")`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


COMMAND = "touch /tmp/zoo-was-here"

CALLS = {
    "posix.system": Calls(os.system, COMMAND),
    "builtins.eval": Calls(eval, "__import__('os').system('" + COMMAND + "')"),
    "builtins.exec": Calls(exec, "import os"),
    "builtins.getattr": Calls(getattr, Calls(importlib.import_module, "os"), "system"),
    "builtins.__import__": Calls(__import__, "os"),
    "io.open": Calls(open, "/tmp/zoo-was-here", "w"),
    "builtins.bytearray": Calls(bytearray, 1 << 40),
    "subprocess.Popen": Calls(subprocess.Popen, ["touch", "/tmp/zoo-was-here"]),
    "importlib.import_module": Calls(importlib.import_module, "antigravity"),
    "runpy.run_path": Calls(runpy.run_path, "/tmp/zoo-was-here"),
    "operator.attrgetter": Calls(operator.attrgetter, "system"),
    "functools.partial": Calls(functools.partial, print, 1),
    "_pickle.loads": Calls(pickle.loads, b"."),
    "numpy.load": Calls(np.load, "weights.npy", None, True),
    "collections.OrderedDict": collections.OrderedDict(a=1),
    "datetime.date": __import__("datetime").date(2020, 1, 1),
}


def refused(path):
    """The one line of the error, which must come at once and without much memory."""
    start = time.monotonic()
    tracemalloc.start()
    with pytest.raises(trax.CheckpointError) as error:
        trax.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20
    assert time.monotonic() - start < 5
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message.removeprefix(str(path))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", CALLS)
def test_a_foreign_name_is_refused_wherever_it_stands(write, name, protocol):
    call = CALLS[name]
    first = {"builtins.getattr": "importlib.import_module"}.get(name, name)  # its argument
    names = {name, first, *({"_io.open"} if name == "io.open" else ())}  # as of Python 3.13
    if protocol < 3:  # as Python 2 called them
        python_2 = {"builtins": "__builtin__", "subprocess": "commands", "_pickle": "pickle"}
        names = {".".join([python_2.get(m, m), n]) for m, n in (one.split(".") for one in names)}
    places = [call, {"flat_weights": call}, {"flat_weights": [1.5, call]}]
    if protocol >= 3:  # before that, arrays themselves have names that are not trax's
        places.append({"flat_weights": [*WEIGHTS, call]})
    for place in places:
        message = refused(write(place, protocol=protocol))
        wanted = (
            f": it names {n}, which no checkpoint of trax does; it was refused, and nothing in the "
            "file was run"
            for n in names
        )
        assert message in wanted
    assert not os.path.exists("/tmp/zoo-was-here")


# Pickles written by hand.

PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + pickle.STACK_GLOBAL


SYSTEM = name("os", "system")
RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
NDARRAY = name("numpy", "ndarray")
DTYPE = name("numpy", "dtype")
SHAPE_DTYPE = name("trax.shapes", "ShapeDtype")
HISTORY = name("trax.supervised.history", "History")
NONE, ONE = pickle.NONE, pickle.BININT1 + b"\x01"
FLOAT32 = (
    DTYPE + text("f4") + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + pickle.REDUCE
    + pickle.MARK + ONE + text("<") + NONE * 3 + ONE * 2 + ONE + pickle.TUPLE + pickle.BUILD
)  # fmt: skip
ARRAY = RECONSTRUCT + NDARRAY + pickle.EMPTY_TUPLE + NONE + pickle.TUPLE3 + pickle.REDUCE


def array_state(shape: bytes, dtype: bytes, raw: bytes) -> bytes:
    state = ONE + shape + dtype + pickle.NEWFALSE + pickle.SHORT_BINBYTES + bytes([len(raw)]) + raw
    return pickle.MARK + state + pickle.TUPLE + pickle.BUILD


HUGE = pickle.LONG1 + b"\x07" + (1 << 50).to_bytes(7, "little") + pickle.TUPLE1
DOUBLED = pickle.EMPTY_TUPLE + (pickle.MEMOIZE + pickle.BINGET + b"%c" + pickle.TUPLE2) * 60
DOUBLED = DOUBLED % tuple(range(60))
"""A tuple of twice a tuple of twice a tuple …: 2 to the power of 60 empty ones."""

BY_HAND = {
    "strings from the memo": (
        text("system") + pickle.MEMOIZE + text("os") + pickle.MEMOIZE
        + pickle.BINGET + b"\x01" + pickle.BINGET + b"\x00" + pickle.STACK_GLOBAL,
        "it names os.system,",
    ),
    "a name with dots": (name("os", "path.join.__globals__"), "it names os.path.join.__globals__,"),
    "dots behind an allowed class": (
        name("collections", "defaultdict.__init__"),
        "it names collections.defaultdict.__init__,",
    ),
    "an allowed name cut elsewhere": (
        name("numpy", "core.multiarray._reconstruct"),
        "it names numpy.core.multiarray._reconstruct,",
    ),
    "a name for the terminal": (
        name("os\n", "\x1b[2Jsystem"),
        "it names os\\n.\\x1b[2Jsystem,",
    ),
    "a name that is no string": (ONE + ONE + pickle.STACK_GLOBAL, "it names 1.1,"),
    "a name of 2^60 parts": (DOUBLED + text("a") + pickle.STACK_GLOBAL, "it names a tuple.a,"),
    "INST": (b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n", "it names os.system,"),
    "OBJ": (pickle.MARK + SYSTEM + text(COMMAND) + pickle.OBJ, "it names os.system,"),
    "NEWOBJ": (SYSTEM + pickle.EMPTY_TUPLE + pickle.NEWOBJ, "it names os.system,"),
    "a foreign name after an unknown instruction": (
        b"S'x'\n" + b"cos\nsystem\n",
        "it names os.system,",
    ),
    "a persistent id": (b"Pid\n", "its pickle has the instruction PERSID, wh"),
    "a persistent id from the stack": (text("id") + pickle.BINPERSID, "instruction BINPERSID, wh"),
    "the extension registry": (pickle.EXT1 + b"\xf0", "its pickle has the instruction EXT1, wh"),
    "NEWOBJ_EX": (
        SHAPE_DTYPE + pickle.EMPTY_TUPLE + pickle.EMPTY_DICT + pickle.NEWOBJ_EX,
        "its pickle has the instruction NEWOBJ_EX, wh",
    ),
    "a call of what a call gave": (
        FLOAT32 + pickle.EMPTY_TUPLE + pickle.REDUCE,
        "it calls a Float32DType, which no checkpoint of trax does",
    ),
    "a call of a string": (text("eval") + pickle.EMPTY_TUPLE + pickle.REDUCE, "it calls eval"),
    "a call of 2^60 tuples": (
        DOUBLED + pickle.EMPTY_TUPLE + pickle.REDUCE,
        "it calls a tuple, which",
    ),
    "a call of an allowed class": (
        NDARRAY + HUGE + pickle.TUPLE1 + pickle.REDUCE,
        "it calls numpy.ndarray, which",
    ),
    "an instance of an allowed function": (
        RECONSTRUCT + pickle.EMPTY_TUPLE + pickle.NEWOBJ,
        "it makes an instance of numpy.core.multiarray._reconstruct, which",
    ),
    "an instance with arguments": (
        HISTORY + ONE + pickle.TUPLE1 + pickle.NEWOBJ,
        "(TypeError: a tuple where no arguments belong)",
    ),
    "state for a class": (
        SHAPE_DTYPE + NONE + pickle.EMPTY_DICT + pickle.TUPLE2 + pickle.BUILD,
        "it sets the state of trax.shapes.ShapeDtype, which",
    ),
    "state for a function": (
        RECONSTRUCT + NONE + pickle.EMPTY_DICT + pickle.TUPLE2 + pickle.BUILD,
        "it sets the state of numpy.core.multiarray._reconstruct, which",
    ),
    "state for a dict": (
        pickle.EMPTY_DICT + pickle.EMPTY_DICT + pickle.BUILD,
        "it sets the state of a dict, which",
    ),
    "state twice": (
        ARRAY + array_state(ONE + pickle.TUPLE1, FLOAT32, b"1234") + pickle.NONE + pickle.BUILD,
        "it sets the state of a ndarray, which",
    ),
    "a history that is none": (
        HISTORY + pickle.EMPTY_TUPLE + pickle.NEWOBJ + ONE + pickle.BUILD,
        "(TypeError: 1 where the values of a history belong)",
    ),
    "a shape that lies": (
        ARRAY + array_state(HUGE, FLOAT32, b"1234"),
        "it has 4 bytes for an array (1125899906842624,) of float32",
    ),
    "a shape below zero": (
        ARRAY + array_state(pickle.BININT + b"\xff\xff\xff\xff" + pickle.TUPLE1, FLOAT32, b""),
        "it has 0 bytes for an array (-1,) of float32",
    ),
    "a shape that is none": (
        ARRAY + array_state(text("12"), FLOAT32, b"1234"),
        "(TypeError: 12 where the shape of an array belongs)",
    ),
    "a shape of nothing and everything": (
        ARRAY + array_state(HUGE[:-1] * 2 + pickle.BININT1 + b"\0" + pickle.TUPLE3, FLOAT32, b""),
        "(ValueError: array is too big",
    ),
    "a type that is none": (
        ARRAY + array_state(ONE + pickle.TUPLE1, text("f4"), b"1234"),
        "(TypeError: f4 where the type of an array belongs)",
    ),
    "a buffer that is too short": (
        name("numpy.core.numeric", "_frombuffer")
        + pickle.MARK + pickle.SHORT_BINBYTES + b"\x041234" + FLOAT32 + HUGE + text("C")
        + pickle.TUPLE + pickle.REDUCE,
        "it has 4 bytes for an array (1125899906842624,) of float32",
    ),
    "a length that lies": (
        pickle.BINBYTES8 + struct.pack("<Q", 1 << 40) + b"1234",
        "(ValueError: expected 1099511627776 bytes in a bytes8, but only",
    ),
    "a frame that lies": (pickle.FRAME + struct.pack("<Q", 1 << 40) + NONE, "but this is None"),
    "a memo that would be huge": (
        pickle.EMPTY_DICT + pickle.LONG_BINPUT + struct.pack("<I", (1 << 32) - 1),
        "but this is a dict of ",
    ),
    "a memo that is empty": (pickle.BINGET + b"\x07", "(KeyError: 7)"),
    "a stack that is empty": (pickle.TUPLE3, "(IndexError: the stack of the pickle is empty)"),
    "a mark that is missing": (pickle.TUPLE, "(IndexError: pop from empty list)"),
    "items for a tuple": (
        pickle.EMPTY_TUPLE + ONE + pickle.APPEND,
        "(TypeError: APPEND to something that is not a list)",
    ),
    "entries for a list": (
        pickle.EMPTY_LIST + ONE + ONE + pickle.SETITEM,
        "(TypeError: SETITEM on something that is not a dict)",
    ),
    "a key of 2^60 tuples": (
        pickle.EMPTY_DICT + DOUBLED + ONE + pickle.SETITEM,
        "(TypeError: a key that is not a string)",
    ),
    "a step of 2^60 tuples": (
        pickle.EMPTY_DICT + pickle.MARK + text("flat_weights") + pickle.EMPTY_LIST + text("step")
        + DOUBLED + pickle.SETITEMS,
        "(TypeError: float() argument must be",
    ),
    "weights of 2^60 tuples": (
        pickle.EMPTY_DICT + text("flat_weights") + DOUBLED + pickle.SETITEM,
        "it has a tree of more than 100,000 arrays and containers",
    ),
    "weights that hold themselves": (
        pickle.EMPTY_DICT + text("flat_weights") + pickle.EMPTY_LIST + pickle.MEMOIZE
        + pickle.BINGET + b"\x00" + pickle.APPEND + pickle.SETITEM,
        "it has a tree of more than 100,000 arrays and containers",
    ),
    "an array without a state": (
        pickle.EMPTY_DICT + text("flat_weights") + pickle.EMPTY_LIST + ARRAY + pickle.APPEND
        + pickle.SETITEM,
        "it has a _Unfinished where an array belongs",
    ),
}  # fmt: skip


def test_a_history_that_repeats_itself_is_refused(write):
    reports = [(1, 1.0)] * 1000
    metrics = {str(number): reports for number in range(1000)}
    history = {"_values": {str(number): metrics for number in range(1000)}}
    file = {"flat_weights": [], "step": 1, "history": history}
    path = write(pickle.dumps(file, protocol=4))
    assert path.stat().st_size < 50_000
    assert refused(path) == ": it has a history of more than 1,000,000 reports"


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("case", BY_HAND)
def test_a_pickle_written_by_hand_is_refused(write, case, packed, monkeypatch):
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "system"))
    monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.system)
    body, message = BY_HAND[case]
    path = write(PROTO + body + pickle.STOP, f"model.pkl{'.gz' if packed else ''}")
    assert message in refused(path)
    assert not os.path.exists("/tmp/zoo-was-here")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([None, []], object), "it has arrays of type O8, but trax's hold numbers"),
        (np.array(["text"]), "it has arrays of type U4, but"),
        (np.zeros(2, [("a", "f4")]), "it has arrays of type V4, but"),
        (np.array(["2020-01-01"], "M8[D]"), "it has arrays of type M8, but"),
        (np.zeros(2, np.complex64), "it has arrays of type c8, but"),
    ],
    ids=["objects", "strings", "records", "dates", "complex"],
)
def test_arrays_of_anything_but_numbers_are_refused(write, array, message):
    for protocol in (3, 5):
        assert message in refused(write({"flat_weights": [array]}, protocol=protocol))
    stream = io.BytesIO()
    np.save(stream, array)
    write(stream.getvalue(), "model.weights.npy.gz")
    assert "but trax's hold numbers" in refused(write({"flat_weights": 1}))


def npy_header(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("shape", ["(1 << 40,)", "(1099511627776,)", "(-1,)", "('x',)", "None"])
def test_an_npy_file_whose_header_lies_is_refused(write, shape):
    write(npy_header(shape) + b"1234", "model.weights.npy.gz")
    assert "model.weights.npy.gz" in refused(write({"flat_weights": 1}))


def test_a_file_that_unpacks_to_too_much_is_refused(write, monkeypatch):
    monkeypatch.setattr(files, "UNPACKED", 2**20)
    zeros = np.zeros(2**20, np.float32)
    message = ": it unpacks to more than 1,048,576 bytes, more than any weights; nothing is read"
    assert refused(write({"flat_weights": [zeros]})) == message
    write(npy_header("(1048576,)") + zeros.tobytes(), "model.weights.npy.gz")
    assert refused(write({"flat_weights": 1})).endswith(message)
    monkeypatch.setattr(files, "RATIO", 2000)  # for a file of a few kB, more than there is in it
    assert len(trax.read(write({"flat_weights": [zeros]})).weights) == 1


def test_a_pickle_of_endless_instructions_is_refused(write, monkeypatch):
    monkeypatch.setattr(unpickling, "MOST_INSTRUCTIONS", 5000)
    endless = write(PROTO + pickle.EMPTY_LIST * 10_000 + pickle.STOP)
    assert refused(endless) == ": it has more than 5,000 instructions"
    assert "instruction POP," in refused(write(PROTO + pickle.POP * 10_000 + pickle.STOP))


# Files that are damaged.


def test_a_file_that_is_empty_or_no_pickle_is_refused(write):
    assert refused(write(b"", "model.pkl")) == ": the file is empty"
    for number, content in enumerate((b"hello world", b"\x00" * 64, b"\x93NUMPY", b"{}", b"\x80")):
        assert "cut short, damaged or not a checkpoint of trax" in refused(
            write(content, f"{number}.pkl")
        ) or "its pickle has the instruction" in refused(write(content, f"{number}.pkl.gz"))
    assert "something follows the pickle" in refused(write(pickle.dumps({"flat_weights": []}) * 2))


def test_a_file_that_is_cut_anywhere_is_refused(write):
    path = write({"flat_weights": WEIGHTS, "flat_state": []})
    whole = path.read_bytes()
    plain = gzip.decompress(whole)
    for data in (whole, plain):
        for end in range(1, len(data)):
            path.write_bytes(data[:end])
            with pytest.raises(trax.CheckpointError) as error:
                trax.read(path)
            assert "\n" not in str(error.value)


def test_a_gzip_file_with_a_changed_byte_is_refused(write):
    path = write({"flat_weights": WEIGHTS})
    whole = path.read_bytes()
    header, refusals = 10, 0  # the time and the system in the header do not matter
    for position in range(header, len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        try:  # some bits at the end of the packed data mean nothing
            np.testing.assert_array_equal(trax.read(path).weights[0], WEIGHTS[0])
        except trax.CheckpointError:
            refusals += 1
    assert refusals >= len(whole) - header - 1


def test_whatever_is_in_a_pickle_it_is_read_or_refused(write):
    """Changed bytes, of which no other error, no endless loop and no call comes."""
    path = write({"flat_weights": WEIGHTS, "step": 3, "slots": (None, (1.5, "x"))}, "model.pkl")
    whole = path.read_bytes()
    chance = random.Random(0)
    refusals = 0
    for _ in range(800):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            trax.read(path)
        except trax.CheckpointError:
            refusals += 1
    assert refusals > 400
