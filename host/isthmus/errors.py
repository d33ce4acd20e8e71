"""Every error Isthmus raises, as one tree and one numbered table.

The number of an error is part of the format: the C runtime returns it, Python raises it and the
vectors under ``tests/vectors`` name it. The table below is the single source; ``isth_status.h``
is written from it and a test holds the two together. Numbers are never reused.

    IsthmusError
     |- FrameError           1..29   what a decoder (or encoder) finds wrong; shared with C
     |   |- TruncatedError, VersionError, FlagsError, ProfileMismatchError, RungError, SliceError,
     |   |- LengthError, ChecksumError, TrailingError, PayloadError, LevelError, SequenceError,
     |   `- MissingSliceError, BufferTooSmallError, StateError, ArgumentError
     |- ModelError          40..49   the trained network: loading, operators, cuts
     |- DataError           50..59   data files: missing, shape, dtype, empty, not finite
     |- BundleError         60..69   a bundle or one of its files
     |- TargetError         70..79   boards, budgets, tools, builds, emulation
     |- UsageError          80..89   options, outputs, missing extras, training that fails
     `- ServerError         90..109  what the server refuses, with the HTTP status it answers
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ERROR_TABLE", "ArgumentError", "BackHalfError", "BodyTooLargeError", "BudgetError",
    "BufferTooSmallError", "BuildError", "BundleEditedError", "BundleError",
    "BundleFormatError", "BundleMissingError", "BusyError", "ChecksumError", "ConfigError",
    "CutIllegalError", "CutUnknownError", "DataDtypeError", "DataEmptyError", "DataError",
    "DataFileError", "DataNotFiniteError", "DataShapeError", "DigestUnknownError",
    "DrainingError", "EmulationError", "ErrorRow", "FlagsError", "FrameError", "IsthmusError",
    "LengthError", "LevelError", "LinkError", "MismatchError", "MissingExtraError",
    "MissingSliceError", "ModelError", "ModelFileError", "ModelLoadError", "ModelOperatorError",
    "ModelUnknownError", "OptionError", "OutputError", "PayloadError", "ProfileMismatchError",
    "QuarantineError", "RateLimitError", "ReplayError", "RequestError", "RungError",
    "SealError", "SequenceError", "ServerError", "SliceError", "StateError",
    "TargetDefinitionError", "TargetError", "TargetUnknownError", "ToolMissingError",
    "TrailingError", "TrainingError", "TruncatedError", "UnauthorizedError", "UnavailableError",
    "UsageError", "VersionError", "frame_error",
]  # fmt: skip


class IsthmusError(Exception):
    """Base of every error of Isthmus.

    ``path`` says where (a field such as ``frame.header.version``, a file, an option), ``what`` what
    was found, ``allowed`` what would have been accepted and ``remedy`` what to do. The text of the
    exception is one line made of the four.
    """

    code: int = 0
    name: str = "ok"
    exit_code: int = 3
    printed: bool = False
    """Whether a command's JSON object already holds this error (``--json`` prints one object)."""

    def __init__(self, path: str, what: str, *, allowed: str = "", remedy: str = "") -> None:
        self.path = path
        self.what = what
        self.allowed = allowed
        self.remedy = remedy
        text = f"{path}: {what}"
        if allowed:
            text += f"; allowed: {allowed}"
        if remedy:
            text += f"; {remedy}"
        super().__init__(text)

    def as_dict(self) -> dict[str, str | int]:
        """The error as a JSON object (used by ``--json``)."""
        return {
            "code": self.code,
            "name": self.name,
            "path": self.path,
            "what": self.what,
            "allowed": self.allowed,
            "remedy": self.remedy,
        }

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.path, self.what, self.allowed, self.remedy))


def _rebuild(
    cls: type[IsthmusError], path: str, what: str, allowed: str, remedy: str
) -> IsthmusError:
    return cls(path, what, allowed=allowed, remedy=remedy)


class FrameError(IsthmusError):
    """A frame that must not be decoded, or an encoder call that cannot be carried out."""


class TruncatedError(FrameError):
    code, name = 1, "truncated"


class VersionError(FrameError):
    code, name = 2, "version"


class FlagsError(FrameError):
    code, name = 3, "flags"


class ProfileMismatchError(FrameError):
    code, name = 4, "profile"


class RungError(FrameError):
    code, name = 5, "rung"


class SliceError(FrameError):
    code, name = 6, "slice"


class LengthError(FrameError):
    code, name = 7, "length"


class ChecksumError(FrameError):
    code, name = 8, "checksum"


class TrailingError(FrameError):
    code, name = 9, "trailing"


class PayloadError(FrameError):
    code, name = 10, "payload"


class LevelError(FrameError):
    code, name = 11, "level"


class SequenceError(FrameError):
    code, name = 12, "sequence"


class MissingSliceError(FrameError):
    code, name = 13, "missing_slice"


class BufferTooSmallError(FrameError):
    code, name = 14, "buffer"


class StateError(FrameError):
    code, name = 15, "state"


class ArgumentError(FrameError):
    code, name = 16, "argument"


class ModelError(IsthmusError):
    """The trained network cannot be used as asked."""


class ModelFileError(ModelError):
    code, name = 40, "model_file"


class ModelLoadError(ModelError):
    code, name = 41, "model_load"


class ModelOperatorError(ModelError):
    code, name = 42, "model_operator"


class CutUnknownError(ModelError):
    code, name = 43, "cut_unknown"


class CutIllegalError(ModelError):
    code, name = 44, "cut_illegal"


class DataError(IsthmusError):
    """A data file cannot be used as asked."""


class DataFileError(DataError):
    code, name = 50, "data_file"


class DataShapeError(DataError):
    code, name = 51, "data_shape"


class DataDtypeError(DataError):
    code, name = 52, "data_dtype"


class DataEmptyError(DataError):
    code, name = 53, "data_empty"


class DataNotFiniteError(DataError):
    code, name = 54, "data_not_finite"


class BundleError(IsthmusError):
    """A bundle, or a file in it, cannot be used."""


class BundleMissingError(BundleError):
    code, name = 60, "bundle_missing"


class BundleFormatError(BundleError):
    code, name = 61, "bundle_format"


class BundleEditedError(BundleError):
    code, name = 62, "bundle_edited"


class TargetError(IsthmusError):
    """A target, its budget, its tools or its run."""


class TargetUnknownError(TargetError):
    code, name = 70, "target_unknown"


class TargetDefinitionError(TargetError):
    code, name = 71, "target_definition"


class BudgetError(TargetError):
    code, name = 72, "budget"


class ToolMissingError(TargetError):
    code, name = 73, "tool_missing"
    exit_code = 4


class BuildError(TargetError):
    code, name = 74, "build"


class EmulationError(TargetError):
    code, name = 75, "emulation"


class MismatchError(TargetError):
    code, name = 76, "mismatch"
    exit_code = 1


class UsageError(IsthmusError):
    """The call itself."""


class OptionError(UsageError):
    code, name = 80, "option"
    exit_code = 2


class OutputError(UsageError):
    code, name = 81, "output"


class MissingExtraError(UsageError):
    code, name = 82, "missing_extra"
    exit_code = 4


class TrainingError(UsageError):
    code, name = 83, "training"


class ServerError(IsthmusError):
    """What the decoding server refuses; ``status`` is the HTTP status of the refusal."""

    status: int = 400


class RequestError(ServerError):
    code, name = 90, "request"


class ModelUnknownError(ServerError):
    code, name, status = 91, "model_unknown", 404


class DigestUnknownError(ServerError):
    code, name, status = 92, "digest_unknown", 404


class BodyTooLargeError(ServerError):
    code, name, status = 93, "body_too_large", 413


class BusyError(ServerError):
    code, name, status = 94, "busy", 429


class RateLimitError(ServerError):
    code, name, status = 95, "rate_limit", 429


class QuarantineError(ServerError):
    code, name, status = 96, "quarantine", 429


class DrainingError(ServerError):
    code, name, status = 97, "draining", 503


class UnauthorizedError(ServerError):
    code, name, status = 98, "unauthorized", 401


class SealError(ServerError):
    code, name, status = 99, "seal", 403


class ReplayError(ServerError):
    code, name, status = 100, "replay", 409


class LinkError(ServerError):
    code, name = 101, "link"


class ConfigError(ServerError):
    code, name = 102, "config"
    exit_code = 2


class BackHalfError(ServerError):
    code, name, status = 103, "back_half", 500


class UnavailableError(ServerError):
    code, name, status = 104, "unavailable", 503


@dataclass(frozen=True)
class ErrorRow:
    """One line of the table: number, name, class and the sentence that C and the docs print."""

    code: int
    name: str
    cls: type[IsthmusError]
    text: str


def _row(cls: type[IsthmusError], text: str) -> ErrorRow:
    return ErrorRow(cls.code, cls.name, cls, text)


ERROR_TABLE: tuple[ErrorRow, ...] = (
    _row(TruncatedError, "the frame ends before its header or its payload does"),
    _row(VersionError, "the frame's version is not one this decoder knows"),
    _row(FlagsError, "a reserved flag bit is set"),
    _row(ProfileMismatchError, "the frame was made with another profile"),
    _row(RungError, "the profile has no rung of that number"),
    _row(SliceError, "the slice number does not fit the profile"),
    _row(LengthError, "the payload is longer than any valid slice can be"),
    _row(ChecksumError, "the checksum does not match the bytes"),
    _row(TrailingError, "bytes follow the end of the frame"),
    _row(PayloadError, "the payload is not what an encoder writes for this slice"),
    _row(LevelError, "a decoded level is not below the rung's number of levels"),
    _row(SequenceError, "slices of different sequence numbers or rungs in one frame"),
    _row(MissingSliceError, "a slice of the frame is missing"),
    _row(BufferTooSmallError, "the output does not fit the buffer; the size needed is returned"),
    _row(StateError, "the call does not fit the encoder's state"),
    _row(ArgumentError, "an argument is out of its range"),
    _row(ModelFileError, "the model file cannot be read"),
    _row(ModelLoadError, "the model cannot be loaded"),
    _row(ModelOperatorError, "the model holds an operator that is not supported"),
    _row(CutUnknownError, "the model has no tensor of that name"),
    _row(CutIllegalError, "the model cannot be cut there"),
    _row(DataFileError, "the data file cannot be read"),
    _row(DataShapeError, "the data have the wrong shape"),
    _row(DataDtypeError, "the data have the wrong dtype"),
    _row(DataEmptyError, "the data set is empty"),
    _row(DataNotFiniteError, "the data hold NaN or infinity"),
    _row(BundleMissingError, "no bundle is there"),
    _row(BundleFormatError, "the bundle is not well formed"),
    _row(BundleEditedError, "a file of the bundle was changed after it was written"),
    _row(TargetUnknownError, "no target has that name"),
    _row(TargetDefinitionError, "the target's definition is not valid"),
    _row(BudgetError, "the tree does not fit the target"),
    _row(ToolMissingError, "a tool that is needed is not installed"),
    _row(BuildError, "the compiler refused the tree"),
    _row(EmulationError, "the emulated program did not finish"),
    _row(MismatchError, "the firmware and the reference differ"),
    _row(OptionError, "an option has a value that is not allowed"),
    _row(OutputError, "the output cannot be written"),
    _row(MissingExtraError, "an optional package is not installed"),
    _row(TrainingError, "training did not lead to weights that can be used"),
    _row(RequestError, "the request is not well formed"),
    _row(ModelUnknownError, "the server holds no bundle of that name or version"),
    _row(DigestUnknownError, "no bundle of the server made this frame"),
    _row(BodyTooLargeError, "the request is longer than the server takes"),
    _row(BusyError, "the server's queue is full"),
    _row(RateLimitError, "the device sends more than it may"),
    _row(QuarantineError, "the device is shut out for a while"),
    _row(DrainingError, "the server is shutting down"),
    _row(UnauthorizedError, "the request carries no valid token"),
    _row(SealError, "the seal is missing or does not match the device's key"),
    _row(ReplayError, "the counter was used before or is too old"),
    _row(LinkError, "what arrived on the link is not well formed"),
    _row(ConfigError, "the server's configuration is not valid"),
    _row(BackHalfError, "the back half failed"),
    _row(UnavailableError, "the back half cannot be reached"),
)

_BY_CODE: dict[int, type[IsthmusError]] = {row.code: row.cls for row in ERROR_TABLE}


def frame_error(code: int, path: str, what: str = "", *, allowed: str = "") -> FrameError:
    """The exception for a status number returned by the C runtime (1..29)."""
    cls = _BY_CODE.get(code)
    if cls is None or not issubclass(cls, FrameError):
        raise ValueError(f"{code} is not the number of a frame error")
    text = what or next(row.text for row in ERROR_TABLE if row.code == code)
    return cls(path, text, allowed=allowed)
