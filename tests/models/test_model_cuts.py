"""Which cuts a network has, what they cost, and how refused ones are explained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import CutIllegalError, CutUnknownError
from isthmus.interpreters import tflite_schema
from isthmus_gen.models import ActivationInfo, Cut, load_model, resolve_cut
from isthmus_gen.models.flatbuffer import IDENTIFIER, parse, write_part
from isthmus_gen.models.graph import Graph, GraphOperator, GraphTensor, list_cuts

# Keras saves weights by a call that numpy 2 deprecates; the tests here save models.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STAGES = ["activation_2", "activation_4", "activation_6"]


def mac_by_hand() -> dict[str, int]:
    """ResNet-8 of MLPerf Tiny by hand: outputs x window x input channels."""
    first = 32 * 32 * 16 * 9 * 3
    one = 2 * 32 * 32 * 16 * 9 * 16
    two = 16 * 16 * 32 * (9 * 16 + 9 * 32 + 16)
    three = 8 * 8 * 64 * (9 * 32 + 9 * 64 + 32)
    return {
        "activation_2": first + one,
        "activation_4": first + one + two,
        "activation_6": first + one + two + three,
        "total": first + one + two + three + 64 * 10,
    }


@pytest.mark.parametrize("name", ["resnet8.keras", "resnet8_legacy.h5"])
def test_resnet8_stage_ends_are_legal_in_order(tiny: Any, name: str) -> None:
    cuts = tiny(name).cuts()
    stages = [c for c in cuts if c.name in STAGES]
    assert [c.name for c in stages] == STAGES
    assert [c.shape for c in stages] == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]
    assert [c.bytes for c in stages] == [16384, 8192, 4096]
    assert all(c.legal and c.crossing == 1 and c.reason == "" for c in stages)
    assert [c.elements for c in cuts] == [math.prod(c.shape) for c in cuts]


@pytest.mark.parametrize("name", ["resnet8.keras", "resnet8_float.tflite", "resnet8_int8.tflite"])
def test_resnet8_macs(tiny: Any, name: str) -> None:
    model, expected = tiny(name), mac_by_hand()
    assert expected["total"] == 12_501_632
    assert expected["activation_4"] == 8_830_976
    for stage in STAGES:
        cut = resolve_cut(model, stage if name.endswith("keras") else f"model/{stage}/Relu")
        assert (cut.macs_before, cut.macs_total) == (expected[stage], expected["total"])


def mobilenet_macs() -> int:
    """MobileNetV1 0.25 at 96 x 96, two classes: a first convolution, then 13 separable blocks."""
    blocks = [(1, 16), (2, 32), (1, 32), (2, 64), (1, 64), (2, 128)]
    blocks += [(1, 128)] * 5 + [(2, 256), (1, 256)]
    size, channels = 48, 8
    total = size * size * channels * 9 * 3
    for stride, wider in blocks:
        size //= stride
        total += size * size * channels * (9 + wider)
        channels = wider
    return total + channels * 2


def test_macs_of_the_other_networks(tiny: Any) -> None:
    """Keras and flatbuffers count alike, and as by hand."""
    ds_cnn = 25 * 5 * 64 * (10 * 4 + 4 * (9 + 64)) + 64 * 12
    autoencoder = 2 * 640 * 128 + 6 * 128 * 128 + 2 * 128 * 8
    for network, total in (("kws", ds_cnn), ("vww_96", mobilenet_macs()), ("ad01", autoencoder)):
        for suffix in (".keras", "_float.tflite", "_int8.tflite"):
            assert tiny(network + suffix).cuts()[0].macs_total == total


@pytest.mark.parametrize("suffix", [".keras", "_float.tflite", "_int8.tflite"])
def test_every_tensor_is_listed_with_a_reason_or_legal(tiny: Any, suffix: str) -> None:
    for network in ("resnet8", "kws", "vww_96", "ad01"):
        cuts = tiny(network + suffix).cuts()
        assert [c.legal for c in cuts] == [c.reason == "" for c in cuts]
        assert "model's input" in cuts[0].reason
        assert "model's output" in cuts[-1].reason
        assert len({c.name for c in cuts}) == len(cuts)


def test_residual_edges_are_refused_by_name(tiny: Any) -> None:
    with pytest.raises(CutIllegalError) as caught:
        resolve_cut(tiny("resnet8.keras"), "conv2d_4")
    assert str(caught.value) == (
        "cut: 'conv2d_4' is no legal cut: 2 live tensors cross: 'activation_2' as well (a residual "
        "or parallel edge); nearest legal cut: activation_2 (before) or add_1 (after)"
    )
    with pytest.raises(CutIllegalError, match=r"'model/activation_2/Relu' as well"):
        resolve_cut(tiny("resnet8_int8.tflite"), "tensor:26")


def test_unknown_names_get_the_nearest(tiny: Any) -> None:
    with pytest.raises(CutUnknownError, match="nearest legal cut: activation_4"):
        resolve_cut(tiny("resnet8.keras"), "activaton_4")
    with pytest.raises(CutUnknownError, match="nearest legal cut: model/activation_4/Relu"):
        resolve_cut(tiny("resnet8_int8.tflite"), "activation_4/Relu")


def test_constants_input_and_output_are_refused(tiny: Any) -> None:
    model = tiny("resnet8_float.tflite")
    with pytest.raises(CutIllegalError, match="is a constant of the model"):
        resolve_cut(model, next(iter(model.graph.constants)))
    with pytest.raises(CutIllegalError, match="nothing is left for the device"):
        resolve_cut(model, model.cuts()[0].name)
    with pytest.raises(CutIllegalError, match="nothing is left for the host"):
        resolve_cut(model, model.cuts()[-1].name)


def test_flatbuffer_tensors_go_by_name_alias_and_index(tiny: Any) -> None:
    model = tiny("resnet8_int8.tflite")
    names = ["model/activation_4/Relu", "model/add_1/add", "tensor:29"]
    names.append("model/activation_4/Relu;model/add_1/add")
    assert {resolve_cut(model, n).index for n in names} == {29}


def test_activation_of_resnet8(tiny: Any) -> None:
    keras_model, int8 = tiny("resnet8.keras"), tiny("resnet8_int8.tflite")
    assert keras_model.activation("activation_4") == ActivationInfo("relu")
    assert keras_model.activation("add_1") == ActivationInfo("linear", 1.0)
    assert int8.activation("model/activation_4/Relu") == ActivationInfo("relu")  # fused into ADD
    assert int8.activation("model/dense/BiasAdd") == ActivationInfo("linear", 1.0)


def test_activation_of_leaky_relu(leaky_file: Path) -> None:
    model = load_model(leaky_file)
    assert model.activation("leaky") == ActivationInfo("leaky_relu", 0.1)
    assert model.activation("pool") == model.activation("leaky")  # pooling selects values
    assert model.activation("flat") == model.activation("leaky")
    assert model.activation("grouped") == ActivationInfo("linear", 1.0)
    # 6 x 6 places, 4 outputs, 3 x 3 window, 2 / 2 input channels of a group
    assert resolve_cut(model, "leaky").macs_before == 6 * 6 * 4 * 9


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda k: k.layers.ReLU(), ActivationInfo("relu")),
        (lambda k: k.layers.ReLU(max_value=6), ActivationInfo("relu6", 0.0, 6.0)),
        (lambda k: k.layers.ReLU(max_value=3), ActivationInfo("clipped_relu", 0.0, 3.0)),
        (lambda k: k.layers.ReLU(negative_slope=0.3), ActivationInfo("leaky_relu", 0.3)),
        (lambda k: k.layers.Dense(4, activation="tanh"), ActivationInfo("tanh")),
        (lambda k: k.layers.Dense(4, activation=k.layers.LeakyReLU(0.25)),
         ActivationInfo("leaky_relu", 0.25)),
        (lambda k: k.layers.Activation("relu6"), ActivationInfo("relu6", 0.0, 6.0)),
    ],
)  # fmt: skip
def test_activation_by_layer(
    keras: Any, tmp_path: Path, layer: Any, expected: ActivationInfo
) -> None:
    chosen = layer(keras)
    keras.Sequential([keras.Input((4,)), chosen, keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.keras").activation(chosen.name) == expected


def test_nested_and_shared_layers_are_flattened(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same", name="c"), layers.ReLU(6.0)],
        name="inner",
    )
    given = keras.Input((8, 8, 2))
    value = inner(keras.ops.relu(inner(layers.Conv2D(4, 1, name="first")(given)) + 1.0))
    output = layers.Dense(2)(layers.GlobalAveragePooling2D()(value))
    keras.Model(given, output).save(tmp_path / "nested.keras")
    model = load_model(tmp_path / "nested.keras")
    names = [c.name for c in model.cuts()]
    assert names[1:3] == ["first", "inner/c"]
    assert "inner/c:1" in names
    x = np.random.default_rng(0).random((3, 8, 8, 2)).astype(np.float32)
    whole = model.predict(x)
    for name in ("inner/c", "inner/c:1"):
        np.testing.assert_allclose(model.back(name, model.features(name, x)), whole, rtol=1e-5)  # type: ignore[attr-defined]


def test_dynamic_shapes_are_refused(keras: Any, tmp_path: Path) -> None:
    given = keras.Input((None, None, 2), name="picture")
    pooled = keras.layers.GlobalAveragePooling2D(name="mean")(
        keras.layers.Conv2D(3, 3, name="conv")(given)
    )
    keras.Model(given, keras.layers.Dense(2)(pooled)).save(tmp_path / "dynamic.keras")
    model = load_model(tmp_path / "dynamic.keras")
    assert model.input_shape == (-1, -1, 2)
    with pytest.raises(CutIllegalError) as caught:
        resolve_cut(model, "mean")
    assert str(caught.value) == (
        "cut: 'mean' is no legal cut: dynamic shape: 'picture' is (?, ?, 2); save the model with "
        "fixed sizes; the model has no legal cut"
    )


def edited(content: bytes, edit: Any) -> bytes:
    """A flatbuffer after ``edit(model)``, packed by the schema's own writer."""
    model = parse(content, "test")
    edit(model)
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def test_dynamic_shapes_in_a_flatbuffer(tiny: Any, tmp_path: Path) -> None:
    def open_height(model: Any) -> None:
        model.subgraphs[0].tensors[29].shapeSignature = [1, -1, 16, 32]

    path = tmp_path / "dynamic.tflite"
    path.write_bytes(edited(tiny("resnet8_int8.tflite").content, open_height))
    cuts = load_model(path).cuts()
    reasons = {c.index: c.reason for c in cuts}
    assert "is (?, 16, 32)" in reasons[29]
    assert "dynamic shape: 'model/activation_4/Relu'" in reasons[33]  # it depends on tensor 29
    assert reasons[25] == ""


def test_unknown_operators_bound_the_front_half(tiny: Any, tmp_path: Path) -> None:
    def customise(model: Any) -> None:
        schema = tflite_schema()
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
        code.customCode, code.version = "SecretOp", 1
        model.operatorCodes.append(code)
        operator = model.subgraphs[0].operators[7]  # the ADD that ends stage 2
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptionsType, operator.builtinOptions = 0, None

    path = tmp_path / "custom.tflite"
    path.write_bytes(edited(tiny("resnet8_int8.tflite").content, customise))
    model = load_model(path)
    with pytest.raises(CutIllegalError) as caught:
        resolve_cut(model, "model/activation_6/Relu")
    assert "comes after the custom operator 'SecretOp'" in str(caught.value)
    assert "nearest legal cut: model/activation_2/Relu (before)" in str(caught.value)
    assert resolve_cut(model, "model/activation_2/Relu").legal


def test_old_uint8_networks_list_cuts_with_the_reason(data_dir: Path) -> None:
    model = load_model(data_dir / "models" / "mobilenet_v1_0.25_128_uint8.tflite")
    assert model.kind == "tflite_uint8"
    assert not any(c.legal for c in model.cuts())
    with pytest.raises(CutIllegalError, match=r"uint8 values .* convert the model again, to int8"):
        model.split(model.cuts()[5])


def test_float_network_cut_out_of_another_keeps_its_names(tiny: Any, tmp_path: Path) -> None:
    part = write_part(tiny("resnet8_float.tflite").content, [25], [33])
    (tmp_path / "part.tflite").write_bytes(part)
    model = load_model(tmp_path / "part.tflite")
    assert (model.input_shape, model.output_shape) == ((32, 32, 16), (8, 8, 64))
    assert resolve_cut(model, "model/activation_4/Relu").macs_before == 3_670_016


def line(*operators: GraphOperator, output: int, **dtypes: str) -> list[Cut]:
    """Cuts of a graph of five tensors t0..t4 of shape (2,)."""
    tensors = {i: GraphTensor(i, f"t{i}", (2,), dtypes.get(f"t{i}", "float32")) for i in range(5)}
    return list_cuts(Graph(tensors, operators, 0, output))


def test_graph_rules() -> None:
    chain = [GraphOperator("A", (i,), (i + 1,), macs=10) for i in range(3)]
    legal = line(*chain, output=3)
    assert [c.legal for c in legal] == [False, True, True, False]
    assert [c.macs_before for c in legal] == [0, 10, 20, 30]
    # An input that is used again late crosses every cut.
    skip = line(chain[0], chain[1], GraphOperator("ADD", (2, 0), (3,)), output=3)
    assert [c.crossing for c in skip] == [1, 2, 2, 1]
    # A branch that leads nowhere is named as such and does not disturb the others.
    dead = line(chain[0], GraphOperator("B", (1,), (4,)), chain[1], output=2)
    assert [(c.name, c.legal) for c in dead] == [
        ("t0", False), ("t1", True), ("t4", False), ("t2", False),
    ]  # fmt: skip
    assert dead[2].reason == "does not lead to the model's output"
    assert "dtype int32" in line(*chain, output=3, t1="int32")[1].reason
