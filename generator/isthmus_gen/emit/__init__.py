"""Text of the firmware tree: C literals, the Jinja environment, the tree and its packages.

Nothing is computed here; numbers arrive ready in :class:`TreeInput`.
"""

from __future__ import annotations

from isthmus_gen.emit.environment import make_environment
from isthmus_gen.emit.tree import TreeInput, render_tree
from isthmus_gen.emit.writer import write_directory

__all__ = ["TreeInput", "make_environment", "render_tree", "write_directory"]
