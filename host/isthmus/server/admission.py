"""Who may send how much: rates, a device's share of the queue, and quarantine. No clock, no IO."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from isthmus.errors import BusyError, QuarantineError, RateLimitError
from isthmus.server.config import LimitsConfig, QuarantineConfig

__all__ = ["Admission"]


@dataclass(slots=True)
class _Device:
    waiting: int = 0
    tokens: float = 0.0
    refilled: float = 0.0
    failures: int = 0
    window: float = 0.0
    until: float = 0.0


class Admission:
    """The limits of each device and of the whole queue.

    Times are seconds of any steady clock. The state of ``limits.devices`` devices is kept: those
    heard of last, and those that have frames waiting.
    """

    def __init__(self, limits: LimitsConfig, quarantine: QuarantineConfig) -> None:
        self._limits = limits
        self._quarantine = quarantine
        self._devices: OrderedDict[str, _Device] = OrderedDict()
        self.waiting = 0

    def check(self, name: str, now: float) -> None:
        """QuarantineError where the device is shut out; for what is not yet known to be a frame."""
        device = self._devices.get(name)
        if device is not None and device.until > now:
            raise QuarantineError(
                f"device {name}"[:80], f"is shut out for {device.until - now:.0f} s",
                remedy="it sent too many frames that had to be refused",
            )  # fmt: skip

    def enter(self, name: str, now: float) -> None:
        """Counts a frame in; BusyError, RateLimitError or QuarantineError where it may not."""
        if self.waiting >= self._limits.queue:
            raise BusyError(
                "queue", f"holds {self.waiting} frames", allowed=f"{self._limits.queue}",
                remedy="send again later",
            )  # fmt: skip
        self.check(name, now)
        device = self._device(name, now)
        if device.waiting >= self._limits.device_queue:
            raise BusyError(
                f"device {name}"[:80], f"has {device.waiting} frames waiting",
                allowed=f"{self._limits.device_queue}", remedy="wait for answers",
            )  # fmt: skip
        if self._limits.device_rate:
            self._spend(name, device, now)
        device.waiting += 1
        self.waiting += 1

    def leave(self, name: str) -> None:
        """A frame that entered was answered or refused."""
        self.waiting -= 1
        device = self._devices.get(name)
        if device is not None and device.waiting:
            device.waiting -= 1

    def refund(self, name: str) -> None:
        """What entered was not the device's: its rate has nothing to do with it."""
        device = self._devices.get(name)
        if device is not None and self._limits.device_rate:
            device.tokens += 1.0

    def failed(self, name: str, now: float) -> bool:
        """A frame of the device was bad; whether that shuts it out from now on."""
        rule = self._quarantine
        if not rule.failures:
            return False
        device = self._device(name, now)
        if now - device.window > rule.window_s:
            device.window, device.failures = now, 0
        device.failures += 1
        if device.failures < rule.failures:
            return False
        device.failures = 0
        device.until = now + rule.seconds
        return True

    def shut_out(self, now: float) -> list[str]:
        """The devices in quarantine."""
        return [name for name, device in self._devices.items() if device.until > now]

    def _spend(self, name: str, device: _Device, now: float) -> None:
        limits = self._limits
        gained = (now - device.refilled) * limits.device_rate
        device.tokens = min(float(limits.device_burst), device.tokens + gained)
        device.refilled = now
        if device.tokens < 1.0:
            raise RateLimitError(
                f"device {name}"[:80], "sends too fast",
                allowed=f"{limits.device_rate:g} frames a second",
            )  # fmt: skip
        device.tokens -= 1.0

    def _device(self, name: str, now: float) -> _Device:
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = _Device(
                tokens=float(self._limits.device_burst), refilled=now, window=now
            )
            if len(self._devices) > self._limits.devices:
                self._forget(name, now)
        else:
            self._devices.move_to_end(name)
        return device

    def _forget(self, newest: str, now: float) -> None:
        """Forgets devices that owe nothing, those silent longest first.

        Only the sixteen oldest are looked at; of these, those that are shut out or have frames
        waiting go to the end, so that others are looked at next. Where there are twice as many
        devices as there should be, one that is shut out is forgotten, too.
        """
        devices, limit = self._devices, self._limits.devices
        oldest = [name for name in islice(devices, 16) if name != newest]
        for name in oldest:
            if devices[name].waiting or devices[name].until > now:
                devices.move_to_end(name)
            elif len(devices) > limit:
                del devices[name]
        if len(devices) > 2 * limit:
            for name in [name for name in oldest if name in devices and not devices[name].waiting]:
                del devices[name]
                return
