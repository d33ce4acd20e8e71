"""The generator's commands, added to ``isthmus`` through its entry point."""

from __future__ import annotations

from typing import Any

__all__ = ["register"]


def register(app: Any) -> None:
    """Adds ``cuts``, ``generate``, ``verify``, ``evaluate``, ``targets`` and ``demo``."""
    from isthmus_gen.cli import demo, evaluate, generate, verify

    generate.register(app)
    verify.register(app)
    evaluate.register(app)
    demo.register(app)
