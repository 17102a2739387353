"""Published models: fetching, opening, exporting, verifying and importing them."""

from zoo.hub.exporting import export, write_model
from zoo.hub.fetching import HubError
from zoo.hub.opening import (
    StoredModel,
    card,
    find,
    list_pretrained,
    load,
    load_tokenizer,
    open_model,
)

__all__ = [
    "HubError",
    "StoredModel",
    "card",
    "export",
    "find",
    "list_pretrained",
    "load",
    "load_tokenizer",
    "open_model",
    "write_model",
]
