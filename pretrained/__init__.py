"""Published weights: a card NAME.toml, NAME.safetensors, and NAME.vocab or NAME.model.

Imported as `zoo.pretrained` and read with `importlib.resources.files("zoo.pretrained")`.
"""
