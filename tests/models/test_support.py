"""What generated C lacks at each cut: exact, by few conversions, and told by `isthmus cuts`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus_gen import api
from isthmus_gen.cli.generate import cuts
from isthmus_gen.front import unsupported_operators
from isthmus_gen.front.operators import OPERATORS
from isthmus_gen.models import load_model, resolve_cut
from isthmus_gen.support import CutSupport, Unsupported, cut_support, nearest_working_cut

# Keras copies weights by a call that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def without() -> Iterator[Any]:
    """``without("ADD")``: as if nobody had written that operator."""
    whole = dict(OPERATORS)

    def forget(*names: str) -> None:
        for name in names:
            del OPERATORS[name]

    yield forget
    OPERATORS.clear()  # put back in order: the table is sorted
    OPERATORS.update(whole)


@pytest.fixture(scope="module")
def pool_file(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, ReLU, max pooling, dense."""
    layers = keras.layers
    path = tmp_path_factory.mktemp("pool") / "pool.keras"
    keras.Sequential(
        [
            keras.Input((8, 8, 2), name="picture"),
            layers.Conv2D(4, 3, name="conv"),
            layers.ReLU(name="relu"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(3, name="answer"),
        ]
    ).save(path)
    return path


def test_each_cut_of_an_int8_network(tiny: Any, without: Any) -> None:
    """Bisection finds what looking at every front half alone finds."""
    without("ADD", "RESHAPE")
    model = tiny("resnet8_int8.tflite")
    found = cut_support(model)
    legal = [cut for cut in model.cuts() if cut.legal]
    assert list(found) == [cut.name for cut in legal]
    for cut in legal:
        names = [e.path.split()[1] for e in unsupported_operators(model.split(cut).front_int8)]
        expected = {name: names.count(name) for name in names}
        assert {entry.operator: entry.count for entry in found[cut.name].operators} == expected
    assert str(found["model/activation/Relu"]) == "yes"
    assert str(found[legal[-1].name]) == "no: ADD x3, RESHAPE"


def test_few_front_halves_are_made(
    tiny: Any, without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("vww_96_int8.tflite")
    asked: list[str] = []
    make = type(model).front_int8

    def front(self: Any, cut: Any, inputs: Any) -> Any:
        asked.append(cut.name)
        return make(self, cut, inputs)

    monkeypatch.setattr(type(model), "front_int8", front)
    assert all(entry.generated for entry in cut_support(model).values())
    assert len(asked) == 1
    asked.clear()
    without("AVERAGE_POOL_2D")
    entries = list(cut_support(model).values())
    assert sum(entry.generated for entry in entries) > 20
    assert not entries[-1].generated
    assert len(asked) == len(set(asked)) < 9


def test_a_form_that_is_refused_says_why(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus.errors import ModelOperatorError
    from isthmus_gen.front.operators import OperatorRow

    def refuse(request: Any) -> Any:
        raise ModelOperatorError(request.operator.path, "too wide")

    monkeypatch.setitem(OPERATORS, "ADD", OperatorRow("ADD", "AddAdd", refuse))
    found = cut_support(tiny("resnet8_int8.tflite"))
    assert list(found.values())[-1] == CutSupport((Unsupported("ADD", "too wide", 3),))
    assert str(list(found.values())[-1]) == "no: ADD x3 (too wide)"


def test_keras_networks_tell_when_asked(pool_file: Path, without: Any, capsys: Any) -> None:
    without("MAX_POOL_2D")
    cuts(pool_file, operators=True, json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["cuts"]}
    assert {name: row["generated_c"] for name, row in rows.items() if row["legal"]} == {
        "conv": True, "relu": True, "pool": False, "flat": False,
    }  # fmt: skip
    assert rows["flat"]["unsupported"] == [{"operator": "MAX_POOL_2D", "count": 1, "why": ""}]
    assert rows["picture"]["generated_c"] is None
    cuts(pool_file, operators=False, json=True)
    plain = json.loads(capsys.readouterr().out)["cuts"]
    assert {row["generated_c"] for row in plain} == {None}
    cuts(pool_file, operators=True, json=False)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "no: MAX_POOL_2D" in lines["pool"]
    assert "C" in lines["cut"].split()


def test_nearest_working_cut_is_one_of_the_users_names(pool_file: Path, without: Any) -> None:
    without("MAX_POOL_2D")
    model = load_model(pool_file)
    x = [np.random.default_rng(1).normal(0, 1, (1, 8, 8, 2)).astype(np.float32)]
    name = nearest_working_cut(model, resolve_cut(model, "flat"), x, "tflm")
    assert name == "relu"
    assert resolve_cut(model, name).legal
    without("CONV_2D")
    assert nearest_working_cut(model, resolve_cut(model, "flat"), x, "tflm") is None


def test_no_int8_form_is_told(tiny: Any, data_dir: Path) -> None:
    path = data_dir / "models" / "mlperf_tiny" / "kws_float.tflite"
    found = api.cut_support(path)
    assert {entry.generated for entry in found.values()} == {False}
    assert all("dynamic-range quantisation" in entry.reason for entry in found.values())


def test_generation_names_operator_place_and_cut(
    pool_file: Path, without: Any, tmp_path: Path
) -> None:
    """The whole message: which operator, where it is, and a cut that `--cut` takes."""
    from isthmus.errors import ModelOperatorError

    without("MAX_POOL_2D")
    x = np.random.default_rng(1).normal(0, 1, (8, 8, 8, 2)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    options = {"model": pool_file, "calibration": tmp_path / "x.npz", "out": tmp_path / "out"}
    with pytest.raises(ModelOperatorError) as caught:
        api.generate(**options, cut="flat", levels=(4,))
    assert caught.value.path == "model.operators[1] MAX_POOL_2D"
    assert "the operator MAX_POOL_2D is not supported" in caught.value.what
    assert "pool" in caught.value.what
    assert caught.value.remedy.startswith("cut at 'relu', which works, or take --element float32")
    made = api.generate(**options, cut="relu", levels=(4,))
    assert made.report["cut"] == "relu"


def test_nearest_upsampling_has_an_engine_to_be_held_to(keras: Any, tmp_path: Path) -> None:
    """Keras repeats by TILE: the tflite-micro wheel has none, LiteRT an older version of it."""
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, name="conv"),
            layers.UpSampling2D(2, name="larger"),
            layers.Conv2D(3, 3, name="last"),
        ]
    ).save(tmp_path / "up.keras")
    x = np.random.default_rng(1).normal(0, 1, (8, 6, 6, 2)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    api.generate(
        model=tmp_path / "up.keras",
        calibration=tmp_path / "x.npz",
        cut="larger",
        levels=(4,),
        out=tmp_path / "out",
    )
    (result,) = api.verify(tmp_path / "out", targets=["host"], inputs=2)
    assert (result.mismatches_front, result.mismatches_bytes) == (0, 0)
