"""Reduction and restoration units inside a Keras network (BottleNet, ISLPED 2019, published).

    cut (H, W, c) -> convolution c -> c of stride s -> 1x1 convolution c -> C      on the device
                  <- transposed convolution c -> c  <- 1x1 convolution C -> c      on the host

Each with batch normalisation and ReLU. Every unit is a plain Keras layer, so that the whole network
loads, cuts and converts as any other; the layer ``bottleneck`` gives the tensor that is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isthmus.errors import CutIllegalError, ModelLoadError, OptionError
from isthmus.optional import quiet_import
from isthmus_gen.models import ActivationInfo, Cut, KerasFileModel, LoadedModel, resolve_cut

__all__ = ["BOTTLENECK", "Inserted", "UnitPlan", "insert"]

#: The layer whose output is sent.
BOTTLENECK = "bottleneck"
_RECTIFIED = ("relu", "relu6", "clipped_relu")
_MAX_STRIDE = 16
_EXTRA = 'pip install "isthmus[generate]"'


@dataclass(frozen=True)
class UnitPlan:
    """What is inserted: C channels, 1..1024, and the stride s, 1..16."""

    channels: int
    stride: int

    @property
    def kernel(self) -> int:
        """Side of the strided filters: the smallest odd one above the stride."""
        return self.stride + 1 + self.stride % 2

    def check(self, shape: tuple[int, ...]) -> None:
        """OptionError or CutIllegalError where a tensor of that shape does not take the units."""
        if len(shape) != 3 or min(shape, default=0) < 1:
            raise CutIllegalError(
                "cut",
                f"the tensor has shape {'x'.join(str(size) for size in shape) or '()'}",
                allowed="height x width x channels, all known",
                remedy="a bottleneck's convolutions need a picture-like tensor: cut at another",
            )
        if not 1 <= self.channels <= 1024:
            raise OptionError("--channels", f"is {self.channels}", allowed="an integer, 1 to 1024")
        largest = min(_MAX_STRIDE, *shape[:2])
        if not 1 <= self.stride <= largest:
            raise OptionError(
                "--stride",
                f"is {self.stride}",
                allowed=f"an integer, 1 to {largest} for a tensor of {shape[0]}x{shape[1]}",
            )

    def shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The bottleneck's shape at a cut tensor of ``shape`` (H, W, c)."""
        return (-(-shape[0] // self.stride), -(-shape[1] // self.stride), self.channels)


@dataclass(frozen=True)
class Inserted:
    """A network with units, and its parts; all share their layers.

    front        input -> cut tensor (the host network's own)
    reduction    cut tensor -> bottleneck, float32 [n, ceil(H/s), ceil(W/s), C], not negative
    restoration  bottleneck -> cut tensor
    back         cut tensor -> output (the host network's own)
    whole        input -> output, through the units, without a codec
    """

    plan: UnitPlan
    cut: Cut
    front: Any
    reduction: Any
    restoration: Any
    back: Any
    whole: Any

    @property
    def units(self) -> list[Any]:
        """The layers that were inserted, in their order."""
        return [*self.reduction.layers[1:], *self.restoration.layers[1:]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The bottleneck's shape."""
        return self.plan.shape(self.cut.shape)


def insert(
    model: LoadedModel, cut: Cut | str, channels: int, stride: int, *, seed: int = 1
) -> Inserted:
    """Units at a cut of ``model``, whose layers are shared, not copied; weights come from ``seed``.

    Raises ModelLoadError for what is no Keras network, CutUnknownError, CutIllegalError (also for a
    tensor that is not height x width x channels) and OptionError.
    """
    if not isinstance(model, KerasFileModel) or model.kind != "keras":
        raise ModelLoadError(
            str(model.path),
            f"a network of kind {model.kind} cannot be trained",
            allowed=".keras or .h5",
            remedy="give the Keras file that it was exported from",
        )
    place = resolve_cut(model, cut if isinstance(cut, str) else f"tensor:{cut.index}")
    plan = UnitPlan(channels, stride)
    plan.check(place.shape)
    keras = quiet_import("keras", _EXTRA)
    reduce, restore = _layers(keras, plan, place.shape, model.activation(place), seed)
    names = {layer.name for layer in (*reduce, *restore)}
    taken = sorted(names & set(model.layer_names))
    if taken:
        raise ModelLoadError(
            str(model.path),
            f"has a layer named {taken[0]!r} already",
            remedy="give the network that has no bottleneck yet",
        )

    def through(tensor: Any) -> Any:
        for layer in (*reduce, *restore):
            tensor = layer(tensor)
        return tensor

    start, end = model.graph.input, model.graph.output
    return Inserted(
        plan,
        place,
        model.part(start, place.index, None, "front"),
        _chain(keras, reduce, place.shape, "reduction"),
        _chain(keras, restore, plan.shape(place.shape), "restoration"),
        model.part(place.index, end, None, "back"),
        model.with_inserted(place, through, "network"),
    )


def _chain(keras: Any, layers: list[Any], shape: tuple[int, ...], name: str) -> Any:
    given = keras.Input(shape)
    tensor = given
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(given, tensor, name=name)


def _layers(
    keras: Any, plan: UnitPlan, shape: tuple[int, ...], activation: ActivationInfo, seed: int
) -> tuple[list[Any], list[Any]]:
    """The layers of both units. The last ReLU is left out where the cut tensor has none."""
    made = keras.layers
    count = iter(range(seed * 1000, seed * 1000 + 10))

    def convolution(
        make: Callable[..., Any], filters: int, size: int, stride: int, name: str
    ) -> Any:
        return make(
            filters, size, strides=stride, padding="same", use_bias=False, name=name,
            kernel_initializer=keras.initializers.HeNormal(seed=next(count)),
        )  # fmt: skip

    height, width, host = shape
    size, stride = plan.kernel, plan.stride
    reduce = [
        convolution(made.Conv2D, host, size, stride, "reduction_conv"),
        made.BatchNormalization(name="reduction_norm"),
        made.ReLU(name="reduction_relu"),
        convolution(made.Conv2D, plan.channels, 1, 1, "reduction_mix"),
        made.BatchNormalization(name="reduction_mix_norm"),
        made.ReLU(name=BOTTLENECK),
    ]
    restore = [
        convolution(made.Conv2D, host, 1, 1, "restoration_mix"),
        made.BatchNormalization(name="restoration_mix_norm"),
        made.ReLU(name="restoration_mix_relu"),
        convolution(made.Conv2DTranspose, host, size, stride, "restoration_conv"),
        made.BatchNormalization(name="restoration_norm"),
    ]
    if activation.kind in _RECTIFIED:
        restore.append(made.ReLU(name="restoration_relu"))
    over = [-(-side // stride) * stride - side for side in (height, width)]
    if any(over):
        restore.append(made.Cropping2D(((0, over[0]), (0, over[1])), name="restoration_crop"))
    return reduce, restore
