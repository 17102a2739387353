"""Pickles of trax, read by a machine that can make only arrays and plain containers.

A pickle is a program: Python's own unpickler imports and calls whatever the file names, so whoever
wrote the file can run code. This machine knows the instructions that occur in trax's checkpoints,
and a list of names, each replaced by a few lines of this module. Nothing is imported. Reading ends
at the first name that is not in the list.

`pickletools` splits the file into instructions; the comments there say what each does.
"""

from __future__ import annotations

import itertools
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from zoo.interop import files
from zoo.interop.files import CheckpointError, Stream

MOST_INSTRUCTIONS = 10_000_000
"""Limit for one pickle. That of a Transformer with slots and history has 18,000."""


@dataclass(frozen=True)
class _Name:
    """A function or class that a pickle names; the object itself is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class _Unfinished:
    """An object between the instruction that creates it and BUILD, which gives its content."""

    finish: Callable[[Any], Any]
    value: Any = None


def _ndarray(state: Any) -> np.ndarray[Any, Any]:
    """An array from the state that `numpy.ndarray.__reduce__` returns."""
    _, shape, dtype, columns, raw = state
    return _array(raw, dtype, shape, columns)


def _array(raw: Any, dtype: Any, shape: Any, columns: bool) -> np.ndarray[Any, Any]:
    if not isinstance(raw, bytes | bytearray):
        raise CheckpointError("it has an array of Python objects, but trax's hold numbers")
    return files.array(raw, _dtype(dtype), _shape(shape), columns=columns)


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(type(length) is int for length in shape):
        raise TypeError(f"{shown(shape)} where the shape of an array belongs")
    return shape


def _dtype(value: Any) -> np.dtype[Any]:
    if isinstance(value, _Name) and value in NUMBERS:
        return np.dtype(value.name)
    if not isinstance(value, np.dtype):
        raise TypeError(f"{shown(value)} where the type of an array belongs")
    return value


def _described_dtype(code: Any, state: Any) -> np.dtype[Any]:
    """A dtype from its code, such as 'f4', and the byte order in its state."""
    _, order, *_ = state
    if not isinstance(code, str) or code not in CODES:
        raise CheckpointError(f"it has arrays of type {shown(code)}, but trax's hold numbers")
    return np.dtype(code).newbyteorder(order)


def _scalar(dtype: Any, raw: Any) -> np.ndarray[Any, Any]:
    return _array(raw, dtype, (), False)


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    return _array(raw, dtype, shape, order == "F")


def _jax_array(function: Any, arguments: Any, state: Any, aval: Any) -> np.ndarray[Any, Any]:
    """A JAX array is pickled as a NumPy array with its abstract value beside it."""
    return _ndarray(state)


def _history(state: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        raise TypeError(f"{shown(state)} where the values of a history belong")
    return state


def _shape_dtype(state: Any) -> jax.ShapeDtypeStruct:
    """An entry of an input signature, from its `__slots__`."""
    _, slots = state
    return jax.ShapeDtypeStruct(_shape(slots["shape"]), _dtype(slots["dtype"]))


CODES = ("b1", "f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)))
"""Allowed dtypes of arrays, in the form in which NumPy pickles them."""

NUMBERS = frozenset(
    _Name("numpy", name)
    for name in (
        *("bool", "bool_", "float16", "float32", "float64"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    )
)
"""NumPy's number types, which occur as dtypes of input signatures."""

FUNCTIONS: Mapping[_Name, Callable[..., Any]] = {
    _Name("numpy.core.multiarray", "_reconstruct"): lambda *ignored: _Unfinished(_ndarray),
    _Name("numpy.core.multiarray", "scalar"): _scalar,
    _Name("numpy.core.numeric", "_frombuffer"): _frombuffer,
    _Name("numpy", "dtype"): lambda code, *ignored: _Unfinished(partial(_described_dtype, code)),
    _Name("jax._src.array", "_reconstruct_array"): _jax_array,
    _Name("jax._src.device_array", "reconstruct_device_array"): _jax_array,
    _Name("collections", "defaultdict"): lambda factory: {},
}
"""Replacements for the functions that a pickle calls with REDUCE."""

CLASSES: Mapping[_Name, Callable[[Any], Any]] = {
    _Name("trax.supervised.history", "History"): _history,
    _Name("trax.shapes", "ShapeDtype"): _shape_dtype,
}
"""Replacements for the classes that NEWOBJ instantiates: functions of the instance's state."""

ARGUMENTS = {_Name("numpy", "ndarray"), _Name("builtins", "list"), *NUMBERS}
"""Names that only occur as arguments of the others."""


def load(stream: Stream) -> Any:
    """The content of a pickle of trax: dicts, lists, tuples, numbers, strings, arrays, shapes.

    The entries of an input signature become `jax.ShapeDtypeStruct`s, and a history its dict.

    Raises:
      CheckpointError: the pickle names something that no checkpoint of trax does, or has too many
        instructions.
      ValueError, TypeError, LookupError, …: it is not a pickle, or a broken one.
    """
    machine = _Machine()
    operations = _operations(stream)
    for instruction, value in itertools.islice(operations, MOST_INSTRUCTIONS):
        if instruction == "STOP":
            (result,) = machine.stack
            if not stream.at_end():
                raise CheckpointError("something follows the pickle in it")
            return result
        if not machine.run(instruction, value):
            raise CheckpointError(_unknown(instruction, operations))
    raise CheckpointError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")


def _operations(stream: Stream) -> Iterator[tuple[str, Any]]:
    """The instructions with their arguments, as `pickletools.genops` gives them.

    But backslashes in lines of text stay as they are: `genops` may warn of them, and who silences
    a warning silences those of other threads too.
    """
    source: Any = stream  # the readers use only the methods read and readline
    while code := stream.read(1):
        opcode = OPCODES.get(code)
        if opcode is None:
            raise ValueError(f"there is no instruction {code!r}")
        if opcode.name in LINES:
            yield opcode.name, " ".join(_line(stream) for _ in range(LINES[opcode.name]))
        else:
            yield opcode.name, opcode.arg.reader(source) if opcode.arg else None
        if opcode.name == "STOP":
            return
    raise ValueError("the pickle ends before its instruction STOP")


def _line(stream: Stream) -> str:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ValueError("the pickle ends inside a line of text")
    return line[:-1].decode("ascii")


OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}

LINES = {"GLOBAL": 2, "INST": 2, "STRING": 1, "PERSID": 1}
"""Instructions whose argument is lines of text, and how many."""


def _unknown(instruction: str, following: Iterator[tuple[str, Any]]) -> str:
    """The message for an unknown instruction, unless a later foreign name says more."""
    for later, value in itertools.islice(following, MOST_INSTRUCTIONS):
        if later in ("GLOBAL", "INST"):
            _known(*value.split(" ", 1))
    return f"its pickle has the instruction {instruction}, which no checkpoint of trax does"


def _known(module: Any, name: Any) -> _Name:
    """The name, if it is in the list. `numpy.core` is called `numpy._core` in NumPy 2."""
    named = _Name(shown(module).replace("numpy._core.", "numpy.core.", 1), shown(name))
    if named not in FUNCTIONS and named not in CLASSES and named not in ARGUMENTS:
        raise CheckpointError(
            f"it names {named}, which no checkpoint of trax does; it was refused, and nothing in "
            "the file was run"
        )
    return named


def shown(value: Any) -> str:
    """A value for a message, in ASCII, because a text may contain control sequences.

    The content of a container is not shown: it may contain itself a billion times.
    """
    plain = isinstance(value, str | int | float | _Name | None)
    return ascii(f"{value!s:.60}")[1:-1] if plain else f"a {type(value).__name__}"


class _Machine:
    """The stack machine that executes pickles, with the instructions that trax's need."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, instruction: str, value: Any) -> bool:
        """Executes an instruction with its argument; False if it is unknown."""
        push = self.stack.append
        match instruction:
            case "PROTO" | "FRAME":
                pass
            case (
                "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE"
                | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8"
            ):  # fmt: skip
                push(value)
            case "NONE":
                push(None)
            case "NEWTRUE" | "NEWFALSE":
                push(instruction == "NEWTRUE")
            case "EMPTY_TUPLE":
                push(())
            case "EMPTY_LIST":
                push([])
            case "EMPTY_DICT":
                push({})
            case "MARK":
                self.marks.append(len(self.stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(self._pop(int(instruction[-1]))))
            case "TUPLE":
                push(tuple(self._pop_to_mark()))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._update(self._pop(2))
            case "SETITEMS":
                self._update(self._pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[value] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                item = self.memo[value]
                finished = isinstance(item, _Unfinished) and item.value is not None
                push(item.value if finished else item)
            case "GLOBAL":
                push(_known(*value.split(" ", 1)))
            case "STACK_GLOBAL":
                push(_known(*self._pop(2)))
            case "REDUCE":
                push(self._call(*self._pop(2)))
            case "NEWOBJ":
                push(self._instance(*self._pop(2)))
            case "BUILD":
                push(self._finished(*self._pop(2)))
            case _:
                return False
        return True

    def _pop(self, number: int) -> list[Any]:
        """The topmost items, in the order in which they were pushed."""
        items = self.stack[-number:]
        if len(items) < number:
            raise IndexError("the stack of the pickle is empty")
        del self.stack[-number:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("APPEND to something that is not a list")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("SETITEM on something that is not a dict")
        # Only strings: hashing a tuple of tuples of … can take exponential time.
        if not all(isinstance(key, str) for key in items[::2]):
            raise TypeError("a key that is not a string")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or function not in FUNCTIONS:
            raise CheckpointError(f"it calls {shown(function)}, which no checkpoint of trax does")
        return FUNCTIONS[function](*arguments)

    def _instance(self, cls: Any, arguments: Any) -> _Unfinished:
        if not isinstance(cls, _Name) or cls not in CLASSES:
            raise CheckpointError(
                f"it makes an instance of {shown(cls)}, which no checkpoint of trax does"
            )
        if not isinstance(arguments, tuple) or arguments:
            raise TypeError(f"{shown(arguments)} where no arguments belong")
        return _Unfinished(CLASSES[cls])

    def _finished(self, unfinished: Any, state: Any) -> Any:
        if not isinstance(unfinished, _Unfinished):
            raise CheckpointError(
                f"it sets the state of {shown(unfinished)}, which no checkpoint of trax does"
            )
        unfinished.value = unfinished.finish(state)
        return unfinished.value
