"""Published models: fetching, opening, exporting, verifying and importing them."""

from zoo.hub.adapting import with_adapter
from zoo.hub.exporting import export, write_model
from zoo.hub.fetching import HubError
from zoo.hub.opening import (
    StoredModel,
    card,
    find,
    list_pretrained,
    load,
    load_tokenizer,
    open_base,
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
    "open_base",
    "open_model",
    "with_adapter",
    "write_model",
]
