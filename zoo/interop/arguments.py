"""Reading the arguments of trax's constructors: layers by name, calls written in Python."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo import config as configs
from zoo.config import ConfigError

if TYPE_CHECKING:
    from zoo.models.layers import Activation

ACTIVATIONS: Mapping[str, Activation] = {
    "Relu": "relu",
    "ParametricRelu": "relu",  # max(a · x, 0), and a is 1
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Selu": "selu",
    "Gelu": "gelu",
    "FastGelu": "gelu_tanh",
    "Swish": "swish",
    "Softplus": "softplus",
    "Tanh": "tanh",
    "HardTanh": "hard_tanh",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "trax_hard_sigmoid",
    "Exp": "exp",
    "ThresholdedLinearUnit": "thresholded",
}
"""trax's layer -> the zoo's name."""


def activation(layer: str) -> Activation:
    """The zoo's name of an activation.

    Raises:
      ConfigError: no activation of trax has this name.
    """
    name = layer.rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"no activation of trax named {layer!r} is known"
            f"{configs.did_you_mean(name, ACTIVATIONS)} (known: {', '.join(ACTIVATIONS)})"
        )
    return ACTIVATIONS[name]


def expression(text: str) -> ast.expr:
    """The syntax tree of an expression.

    Raises:
      ConfigError: it is not Python.
    """
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{text!r:.200} is not a call in Python: {error}") from error


def evaluate(node: ast.expr, text: str) -> Any:
    """The value of an argument, which is a literal or the name of a layer. Nothing is executed.

    Raises:
      ConfigError: it is neither.
    """
    name = last_name(node)
    if name is not None:
        return name
    if isinstance(node, ast.List):
        return [evaluate(item, text) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        keys = [evaluate(key, text) for key in node.keys if key is not None]
        return dict(zip(keys, (evaluate(item, text) for item in node.values), strict=True))
    if isinstance(node, ast.Call) and last_name(node.func) == "partial" and len(node.args) == 1:
        # The form of attention types: functools.partial(tl.LSHSelfAttention, chunk_len=64)
        arguments = {str(keyword.arg): evaluate(keyword.value, text) for keyword in node.keywords}
        return {"type": evaluate(node.args[0], text), **arguments}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # a TypeError: a list as the key of a dict
        raise ConfigError(
            f"{text!r:.200}: {ast.unparse(node)!r:.200} is neither a literal nor the name of a "
            "layer; write its value"
        ) from None


def last_name(node: ast.expr) -> str | None:
    """`Gelu` for `Gelu`, `tl.Gelu` and `trax.layers.Gelu`; None if it is not a dotted name."""
    last = node.id if isinstance(node, ast.Name) else None
    if isinstance(node, ast.Attribute) and last_name(node.value) is not None:
        last = node.attr
    return last
