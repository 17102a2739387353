"""The recipes. Importing this package imports none of them."""
