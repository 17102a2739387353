"""Pickles for `trax.read`: objects of any kind, instructions in any order, changed bytes."""

from __future__ import annotations

import gzip
import pickle
import pickletools
import struct
import warnings

import numpy as np
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, scalars

SMALL = st.sampled_from(
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 3), np.float64),
        np.asfortranarray(np.ones((2, 3), ">f4")),
        np.float32(1.5),
        np.array("text"),
        np.array([None]),
        np.arange(3, dtype=np.uint16),
    ]
)

TREES = st.recursive(
    SMALL | scalars.filter(lambda value: type(value) is not object and value is not ...),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(any_texts, inner, max_size=3),
    ),
    max_leaves=8,
)

KEYS = st.sampled_from(
    [
        *("flat_weights", "weights", "flat_state", "state", "slots", "slots_per_task", "step"),
        *("opt_params", "history", "input_signature"),
    ]
)

CONTENTS = st.one_of(
    st.builds(dict, st.dictionaries(KEYS, TREES, max_size=4), flat_weights=TREES),
    st.dictionaries(KEYS, st.lists(SMALL, max_size=3) | TREES, max_size=4),
    st.builds(
        lambda history: {"flat_weights": [], "history": {"_values": history}},
        st.dictionaries(
            st.sampled_from(["train", "eval"]),
            st.dictionaries(any_texts, st.lists(st.tuples(scalars, scalars)), max_size=2) | TREES,
        )
        | TREES,
    ),
    TREES,
)


def pickled(content, protocol):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pickle.dumps(content, protocol=protocol)
        except (pickle.PicklingError, UnicodeEncodeError, TypeError):
            return pickle.dumps(repr(content), protocol=2)


def changed(content, places):
    content = bytearray(content)
    for place, length, new in places:
        place %= len(content) + 1
        content[place : place + length] = new
    return bytes(content)


PLACES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), max_size=4
)

WORDS = (
    *("numpy", "dtype", "numpy.core.multiarray", "_reconstruct", "scalar", "ndarray", "f4", "os"),
    *("trax.supervised.history", "History", "trax.shapes", "ShapeDtype", "system", "builtins"),
    *(
        "collections",
        "defaultdict",
        "list",
        "flat_weights",
        "history",
        "_values",
        "step",
        "float32",
    ),
)


def instruction(opcode, number, data, words):
    """An opcode with an argument of its kind."""
    name = opcode.arg.name if opcode.arg else ""
    if not name:
        return opcode.code.encode("latin-1")
    if "nl" in name:
        lines = words if "pair" in name else words[:1]
        argument = b"".join(word.encode() + b"\n" for word in lines)
    elif name in ("uint1", "uint2", "int4", "uint4", "uint8", "float8"):
        form = {"uint1": "B", "uint2": "<H", "int4": "<i", "uint4": "<I"}.get(name, "<Q")
        argument = struct.pack(form, number % 256)
    else:
        data = words[0].encode() if "unicode" in name or "string" in name else data
        size = {"1": "B", "4": "<I", "8": "<Q"}[name[-1]]
        argument = struct.pack(size, len(data)) + data
    return opcode.code.encode("latin-1") + argument


USUAL = [
    opcode
    for opcode in pickletools.opcodes
    if opcode.name
    in (
        *("MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"),
        *("SETITEM", "SETITEMS", "APPEND", "APPENDS", "STACK_GLOBAL", "SHORT_BINUNICODE", "NONE"),
        *("REDUCE", "BUILD", "NEWOBJ", "BINGET", "MEMOIZE", "BINPUT", "BININT1", "SHORT_BINBYTES"),
    )
]

PROGRAMS = st.lists(
    st.builds(
        instruction,
        st.sampled_from(USUAL) | st.sampled_from(pickletools.opcodes),
        st.integers(0, 255) | st.integers(0, 3),
        st.binary(max_size=9),
        st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)),
    ),
    max_size=30,
).map(lambda parts: b"\x80\x04" + b"".join(parts) + b".")


def check(path, content):
    from zoo.interop import trax

    path.write_bytes(content)
    found = asked(trax.read, path)
    if isinstance(found, Refused):
        assert found.mistake is trax.CheckpointError
        return
    assert all(isinstance(array, np.ndarray) for array in (*found.weights, *found.state))
    assert found.step is None or type(found.step) is int
    config = trax.config("MLP", layer_widths=(3, 2))
    asked(trax.to_variables, found, config, lines=True)


@holds(
    few=60,
    seconds=10,
    content=CONTENTS,
    protocol=st.integers(0, 5),
    places=PLACES | st.just([]),
    packed=st.booleans(),
)
def test_any_object_is_read_or_refused(tmp_path, content, protocol, places, packed):
    written = changed(pickled(content, protocol), places)
    check(tmp_path / "model.pkl", gzip.compress(written) if packed else written)


@holds(few=100, seconds=10, program=PROGRAMS)
def test_any_instructions_are_read_or_refused(tmp_path, program):
    check(tmp_path / "model.pkl", program)


CALLS = st.one_of(
    any_texts,
    st.builds(
        "{}({}={})".format,
        st.sampled_from(["Transformer", "TransformerLM", "MLP", "Resnet50", "ReformerLM", "GRULM"]),
        st.sampled_from(["vocab_size", "d_model", "n_layers", "max_len", "mode", "layer_widths"]),
        st.sampled_from(["1", "-1", "(", "'a'", "(1, 2)", "[1]", "None", "1e9", "x()", "2**99"])
        | any_texts,
    ),
    st.sampled_from(["MLP(" + "(" * 500, "MLP(x=" + "-" * 9000 + "1)", "MLP(**{})", "MLP(*[1])"]),
)


@holds(few=60, seconds=10, call=CALLS)
def test_any_constructor_call_is_understood_or_refused(call):
    from zoo.interop import trax
    from zoo.models.base import ModelConfig

    found = asked(trax.parse_call, call)
    assert isinstance(found, Refused | ModelConfig)
