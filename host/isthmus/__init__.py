"""Isthmus: cut a trained network at one tensor, code that tensor, decode it on the host.

    from isthmus import BackHalf, Decoder

    decoder = Decoder("bundle")
    answers = BackHalf("bundle")(decoder.decode(frame).features)

The core needs numpy and cffi; what runs the back half is imported when it is used.
"""

from __future__ import annotations

from isthmus.backhalf import BackHalf
from isthmus.bundle import Bundle
from isthmus.decoder import Decoded, Decoder
from isthmus.errors import FrameError, IsthmusError
from isthmus.profile import Profile

__all__ = [
    "BackHalf",
    "Bundle",
    "Decoded",
    "Decoder",
    "FrameError",
    "IsthmusError",
    "Profile",
    "__version__",
]

__version__ = "0.1.0"
