"""Seals on what arrives: opened, checked and taken off before anything inside is looked at."""

from __future__ import annotations

from isthmus.codec.frame import Octets
from isthmus.errors import SealError
from isthmus.seal import Seal, is_sealed, open_seal
from isthmus.server.config import SecurityConfig
from isthmus.server.keys import DeviceKeys
from isthmus.server.replay import ReplayStore

__all__ = ["Unsealer"]


class Unsealer:
    """Takes seals off.

    With a fleet secret every unit must be signed by its device, with a tag and a counter that hold.
    Without one a unit may be bare, or name its device in an unsigned seal; a signed one is refused,
    for nobody here can tell whether it is what it says. The tag comes first of all; the counter is
    used up last, by ``spend``, when nothing else stands against the unit.
    """

    def __init__(self, config: SecurityConfig) -> None:
        self._keys: DeviceKeys | None = None
        self._replay: ReplayStore | None = None
        self._tag_bytes_min = config.tag_bytes_min
        if config.fleet_secret_file is not None:
            self._keys = DeviceKeys.from_file(config.fleet_secret_file)
            self._replay = ReplayStore(config.replay_file, window=config.replay_window)

    @property
    def signed(self) -> bool:
        """Whether units must be signed."""
        return self._keys is not None

    def open(self, data: Octets, told: str) -> Seal | None:
        """The seal of a unit and the unit inside; None where there is no seal. SealError.

        ``told`` is the device as the link names it; a seal of another one is refused.
        """
        if not is_sealed(data):
            if self._keys is not None:
                raise SealError(
                    "seal", "is missing: the unit is bare", allowed="units that a device signed",
                    remedy="sign with isth_sign and the key that `isthmus key` prints",
                )  # fmt: skip
            return None
        seal = Seal.read(data)
        if self._keys is not None:
            seal = open_seal(self._keys.key(seal.device), data, tag_bytes_min=self._tag_bytes_min)
        elif seal.tag:
            raise SealError(
                "seal.tag", "cannot be proven: the server has no fleet secret",
                allowed="units without a tag", remedy="set security.fleet_secret_file",
            )  # fmt: skip
        if told and told != str(seal.device):
            raise SealError("seal.device", f"is {seal.device}, and the link says {told!r:.60}")
        return seal

    def spend(self, seal: Seal | None) -> None:
        """Uses up the counter of a proven seal; ReplayError where it was used before."""
        if seal is not None and self._replay is not None:
            self._replay.check_and_set(seal.device, seal.counter)

    def close(self) -> None:
        """Writes the replay windows; later units are refused."""
        if self._replay is not None:
            self._replay.close()
