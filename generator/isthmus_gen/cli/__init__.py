"""The generator's commands, added to ``isthmus`` through its entry point."""

from __future__ import annotations

from typing import Any

__all__ = ["register"]


def register(app: Any) -> None:
    """Adds the generator's commands."""
    from isthmus_gen.cli import (
        bottleneck,
        bottleneck_search,
        demo,
        evaluate,
        generate,
        manifests,
        verify,
    )

    generate.register(app)
    bottleneck.register(app)
    bottleneck_search.register(app)
    verify.register(app)
    evaluate.register(app)
    manifests.register(app)
    demo.register(app)
