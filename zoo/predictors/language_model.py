"""Text -> more text."""

from __future__ import annotations
