"""Isthmus: cut a trained network at one tensor, code that tensor, decode it on the host."""

from __future__ import annotations

__version__ = "0.1.0"
