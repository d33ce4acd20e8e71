"""What the server asks of a unit's seal, in this order: the tag, then the counter."""

from __future__ import annotations

from isthmus.codec.frame import Octets
from isthmus.errors import SealError
from isthmus.seal import Seal, is_sealed, open_seal
from isthmus.server.keys import DeviceKeys
from isthmus.server.replay import ReplayStore

__all__ = ["SealGate"]


class SealGate:
    """Opens sealed units.

    With ``keys`` every unit must be sealed by its device, with at least ``tag_bytes_min`` bytes of
    tag, and with a counter that ``replay`` takes. Without keys a unit may be bare, or name its
    device in an unsigned seal; a signed one is refused, for nobody here can tell whether it is
    what it says.
    """

    def __init__(
        self,
        keys: DeviceKeys | None = None,
        replay: ReplayStore | None = None,
        *,
        tag_bytes_min: int = 8,
    ) -> None:
        self._keys = keys
        self._replay = replay
        self._tag_bytes_min = tag_bytes_min

    @property
    def signed(self) -> bool:
        """Whether every unit must be signed."""
        return self._keys is not None

    def open(self, data: Octets) -> Seal | None:
        """The proven seal of ``data`` with the unit inside, which nobody has looked at yet.

        None where ``data`` is a bare unit and may be one. Raises SealError, then ReplayError.
        """
        if not is_sealed(data):
            if self._keys is None:
                return None
            raise SealError(
                "seal", "is missing: the unit is bare", allowed="units that a device signed",
                remedy="sign with isth_sign and the key that `isthmus key` prints",
            )  # fmt: skip
        found = Seal.read(data)
        if self._keys is None:
            if found.tag:
                raise SealError(
                    "seal.tag", "cannot be proven: the server has no fleet secret",
                    remedy="set security.fleet_secret_file",
                )  # fmt: skip
            return found
        proven = open_seal(self._keys.key(found.device), data, tag_bytes_min=self._tag_bytes_min)
        if self._replay is not None:
            self._replay.check_and_set(proven.device, proven.counter)
        return proven

    def close(self) -> None:
        """Keeps the counters."""
        if self._replay is not None:
            self._replay.close()
