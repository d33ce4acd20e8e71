"""Pictures of what devices saw, reconstructed from the frames that the monitor keeps.

Only where the operator has switched it on (``[dashboard] pictures``) and the bundle has a picture
decoder. Nothing is computed until somebody asks, then one picture at a time in a thread of its own,
with pauses between them: a fifth of one core at most. What is asked again within half a second gets
the same picture.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isthmus.bundle import Bundle
from isthmus.errors import BusyError, RequestError
from isthmus.picture import PictureDecoder, has_picture
from isthmus.server.counts import Served
from isthmus.server.png import png_bytes

if TYPE_CHECKING:
    from isthmus.server.monitor import Kept, Monitor

__all__ = ["FRAME_TIME", "Made", "Pictures"]

FRAME_TIME = "x-isthmus-time"
"""The header that says of which frame a picture is: its ``time`` in ``/api/device``."""

_PERIOD = 0.5  # seconds for which a device's picture is given again
_SHARE = 0.2  # of the time that pictures are computed
_WAITING = 8  # requests that wait, at most
_KEPT = 32


class Made(NamedTuple):
    """A device's picture: its frame's bundle and number, that frame's time, the PNG, its age."""

    frame: str
    time: float
    png: bytes
    at: float


class Pictures:
    """The pictures of a server. Its methods are called on the event loop's thread."""

    def __init__(self, monitor: Monitor, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitor = monitor
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="isthmus-picture")
        self._decoders: dict[str, PictureDecoder] = {}
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._one = asyncio.Lock()
        self._next = -np.inf
        self._waiting = 0

    def has(self, name: str) -> bool:
        """Whether the device's last frame can be shown as a picture."""
        kept = self._monitor.kept(name)
        return kept is not None and _bundle(kept.served) is not None

    async def picture(self, name: str) -> Made:
        """The picture of a device's frame kept last, or of one less than half a second older.

        RequestError where no frame is kept or its bundle has no picture decoder, BusyError where
        too many requests wait, BundleError where the decoder is damaged.
        """
        kept = self._find(name)
        known = self._known(name, kept)
        if known is not None:
            return known
        if self._waiting >= _WAITING:
            raise BusyError("pictures", f"{_WAITING} requests wait", remedy="ask again later")
        self._waiting += 1
        try:
            async with self._one:
                return await self._next_picture(name)
        finally:
            self._waiting -= 1

    def _find(self, name: str) -> Kept:
        kept = self._monitor.kept(name)
        if kept is None:
            raise RequestError("name", f"is {name!r:.80}", allowed="a device with a frame kept")
        if _bundle(kept.served) is None:
            raise RequestError(
                "name", f"is {name!r:.80}, whose bundle has no picture decoder",
                remedy="generate the bundle with --reconstruct-input",
            )  # fmt: skip
        return kept

    def _known(self, name: str, kept: Kept) -> Made | None:
        """The picture made last, if it is of this frame or was made just now."""
        made = self._made.get(name)
        if made is None:
            return None
        fresh = 0 <= self._clock() - made.at < _PERIOD
        return made if fresh or (made.frame, made.time) == (_frame(kept), kept.time) else None

    async def _next_picture(self, name: str) -> Made:
        """Waits for its turn, and makes the picture of the frame that is then kept."""
        kept = self._find(name)
        known = self._known(name, kept)  # somebody who waited before may have made it
        if known is not None:
            return known
        pause = self._next - self._clock()
        if pause > 0:
            await asyncio.sleep(pause)
            kept = self._find(name)
        begun = self._clock()
        png = await asyncio.get_running_loop().run_in_executor(self._pool, self._make, kept)
        now = self._clock()
        self._next = now + (now - begun) * (1 / _SHARE - 1)
        self._made.pop(name, None)
        made = self._made[name] = Made(_frame(kept), kept.time, png, now)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return made

    def _make(self, kept: Kept) -> bytes:
        """In the thread: decodes the levels to a picture that spans 0..255."""
        decoder = self._decoder(kept.served)
        missing = None if kept.received is None else ~kept.received[np.newaxis]
        picture = decoder.of_levels(kept.levels[np.newaxis], kept.answer.rung, missing)[0]
        if decoder.peak != 255:
            picture = (picture * (255.0 / decoder.peak) + 0.5).astype(np.uint8)
        return png_bytes(picture)

    def _decoder(self, served: Any) -> PictureDecoder:
        key = f"{served.name} {served.version}"
        found = self._decoders.get(key)
        if found is None:
            found = self._decoders[key] = PictureDecoder(served.bundle)
        return found


def _bundle(served: Served) -> Bundle | None:
    """The bundle of what is served, where it has a picture decoder."""
    bundle = getattr(served, "bundle", None)
    return bundle if isinstance(bundle, Bundle) and has_picture(bundle) else None


def _frame(kept: Kept) -> str:
    """A kept frame's bundle and number."""
    return f"{kept.served.name} {kept.served.version} {kept.answer.sequence}"
