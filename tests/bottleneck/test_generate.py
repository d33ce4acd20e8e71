"""``isthmus bottleneck`` and ``generate --codec bottleneck``: files, bundles, what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from isthmus.bundle import Bundle, codec_name
from isthmus.errors import IsthmusError, OptionError
from isthmus_gen.bottleneck.trained_file import ACCOUNT, read_account
from isthmus_gen.models import load_model, resolve_cut
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate


def _command(*words: object) -> Any:
    """Runs ``isthmus WORDS``; an IsthmusError is what the entry point prints as one line."""
    import typer

    from isthmus_gen.cli import bottleneck

    app = typer.Typer()
    bottleneck.register(app)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network with three channels, trained for two passes by the command."""
    out = tmp_path_factory.mktemp("trained") / "trained.keras"
    ran = _command(
        "bottleneck", folder / "network.keras", "--cut", "middle", "--data",
        folder / "labelled.npz", "--channels", 3, "--levels", 4, "--epochs", 2, "--out", out,
        "--json",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    assert data["out"] == str(out)
    assert data == {"out": str(out), **read_account(out)}
    return out


def test_the_file_is_a_plain_network_that_says_how_it_was_made(folder: Path, trained: Path) -> None:
    import keras

    model = keras.models.load_model(trained, compile=False)  # no custom objects
    assert model.get_layer("bottleneck").output.shape == (None, 4, 3, 3)
    account = read_account(trained)
    assert (account["cut"], account["channels"], account["stride"]) == ("middle", 3, 2)
    assert account["plan"]["epochs"] == 2
    assert account["inputs"] == 60
    assert account["figures"]["inputs"] == 6  # every tenth
    assert str(folder) not in json.dumps(account)
    host = load_model(folder / "network.keras")
    x = np.load(folder / "data.npz")["x"]
    np.testing.assert_array_equal(
        load_model(trained).features("middle", x), host.features("middle", x)
    )


def test_equal_runs_give_equal_files(folder: Path, trained: Path, tmp_path: Path) -> None:
    ran = _command(
        "bottleneck", folder / "network.keras", "--cut", "middle", "--data",
        folder / "labelled.npz", "--channels", 3, "--levels", 4, "--epochs", 2, "--out",
        tmp_path / "b.keras",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    assert "answers that stay the same" in ran.stdout
    assert (tmp_path / "b.keras").read_bytes() == trained.read_bytes()


def _options(folder: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": folder / "network.keras",
        "cut": "middle",
        "calibration": folder / "labelled.npz",
        "codec": "bottleneck",
        "out": out,
        **more,
    }


def test_a_bundle_verifies_and_keeps_the_original(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    from isthmus_gen.data import load_data
    from isthmus_gen.evaluate import evaluate_bundle
    from isthmus_gen.verification import verify_bundle

    out = tmp_path / "bundle"
    made = generate(make_options(_options(folder, out, trained=trained, levels=(4, 8))))
    bundle = Bundle.open(out, check=True)
    profile = bundle.profile
    assert codec_name(profile) == "bottleneck"
    assert profile.tensor.shape == (4, 3, 3)
    assert profile.tensor.dtype == "int8"
    assert profile.rungs[0].values == (0.0, 1.0, 2.0, 3.0)
    assert profile.rungs[1].clip == (0.0, 3.0)
    entry = profile.extra["bottleneck"]
    assert (entry["channels"], entry["stride"], entry["cut"]) == (3, 2, "middle")
    assert profile.extra["model"]["name"] == "network.keras"
    original = (folder / "network.keras").read_bytes()
    assert (out / "model" / "network.keras").read_bytes() == original
    assert (out / entry["file"]).read_bytes() == trained.read_bytes()
    assert "--trained trained.keras" in " ".join(made.report["command"])
    assert "--clip" not in made.report["command"]
    results = verify_bundle(bundle, ["host"], data=folder / "data.npz", count=8)
    row = results[0].as_dict()
    assert (row["mismatches_front"], row["mismatches_bytes"]) == (0, 0)
    found = evaluate_bundle(bundle, load_data(folder / "labelled.npz"), rival_limit=0)
    host = load_model(folder / "network.keras")
    with np.load(folder / "labelled.npz") as data:
        right = float((host.predict(data["x"]).argmax(axis=1) == data["y"]).mean())
    assert found.whole == right
    assert found.bottleneck is not None
    assert found.bottleneck.elements == 7 * 5 * 6


def test_generate_trains_what_the_command_would(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    """Interrupted once: nothing is written; then it goes on to the same network."""
    options = make_options(
        _options(folder, tmp_path / "bundle", channels=3, levels=(4,), bottleneck_epochs=2)
    )

    def interrupt(stage: str, done: int, total: int, /) -> None:
        if stage == "training" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(options, interrupt, work=tmp_path / "work")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    generate(options, work=tmp_path / "work")
    name = Bundle.open(tmp_path / "bundle").profile.extra["bottleneck"]["file"]
    assert (tmp_path / "bundle" / name).read_bytes() == trained.read_bytes()


def test_levels_that_are_not_given_are_the_files(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    from isthmus_gen.bottleneck.making import prepare_bottleneck
    from isthmus_gen.data import Preprocessing, load_data

    options = make_options(_options(folder, tmp_path / "bundle", trained=trained))
    data = load_data(folder / "labelled.npz")
    found = prepare_bottleneck(options, load_model(options.model), data, Preprocessing())
    assert found.options.levels == (4,)
    assert found.options.clip == "0:3"
    command = " ".join(found.asked.command())
    assert "--levels 4" in command
    assert "--clip" not in command


def test_a_run_that_diverges_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus_gen.bottleneck.training import Trainer

    monkeypatch.setattr(Trainer, "held_out", lambda self: (float("nan"), 0.0))
    ran = _command(
        "bottleneck", folder / "network.keras", "--cut", "middle", "--data",
        folder / "data.npz", "--channels", 3, "--epochs", 1, "--out", tmp_path / "b.keras",
    )  # fmt: skip
    assert isinstance(ran.exception, IsthmusError)
    assert ran.exception.name == "training"
    assert list(tmp_path.iterdir()) == []


def _without_account(trained: Path, out: Path) -> Path:
    with zipfile.ZipFile(trained) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name != ACCOUNT:
                new.writestr(name, old.read(name))
    return out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"channels": 4}, "was trained with --channels 3, and 4 is asked for"),
        ({"stride": 1}, "--stride 2, and 1"),
        ({"levels": (8,)}, "--levels 4, and 8"),
        ({"cut": "second"}, "--cut middle, and second"),
        ({"preprocess": "unit"}, "--preprocess"),
        ({"model": "linear.keras"}, "was trained with MODEL"),
    ],
)
def test_a_trained_file_of_something_else(
    folder: Path, trained: Path, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    if "model" in more:
        more = {"model": folder / more["model"]}
    options = make_options(_options(folder, tmp_path / "bundle", trained=trained) | more)
    with pytest.raises(OptionError, match=words):
        generate(options)
    assert not (tmp_path / "bundle").exists()


def test_trained_files_that_are_none(folder: Path, trained: Path, tmp_path: Path) -> None:
    jpeg = tmp_path / "jpeg.keras"
    ran = _command(
        "bottleneck", folder / "network.keras", "--cut", "middle", "--data",
        folder / "data.npz", "--channels", 2, "--epochs", 1, "--coder", "jpeg", "--out", jpeg,
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    cases = {
        jpeg: "was trained for --coder jpeg",
        _without_account(trained, tmp_path / "other.keras"): "does not say how",
        tmp_path / "none.keras": "no such file",
    }
    for file, words in cases.items():
        options = make_options(_options(folder, tmp_path / "bundle", trained=file))
        with pytest.raises(IsthmusError, match=words):
            generate(options)
        assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "--channels: is missing"),
        ({"channels": 0}, "--channels: is 0"),
        ({"channels": 2, "stride": 0}, "--stride: is 0"),
        ({"channels": 2, "clip": "3"}, "--clip: means nothing to --codec bottleneck"),
        ({"channels": 2, "quantizer": "ecsq"}, "--quantizer: means nothing"),
        ({"channels": 2, "max_loss": 1.0}, "--max-loss: means nothing"),
        ({"channels": 2, "rate_weight": float("inf")}, "--rate-weight"),
        ({"codec": "lightweight", "channels": 2}, "with --codec bottleneck"),
        ({"trained": Path("x.keras"), "bottleneck_epochs": 3}, "needs no training"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make_options(_options(tmp_path, tmp_path / "bundle") | more)


def test_no_ray(folder: Path, tmp_path: Path) -> None:
    options = make_options(_options(folder, tmp_path / "bundle", channels=2))
    with pytest.raises(OptionError, match="--ray"):
        generate(options, ray="local")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--cut", "flat"), "cut_illegal"),
        (("--cut", "nowhere"), "cut_unknown"),
        (("--coder", "png"), "option"),
        (("--stride", "9"), "option"),
        (("--out", "network.h5"), "option"),
        (("--data", "none.npz"), "data_file"),
        (("--preprocess", "twice"), "option"),
    ],
)
def test_what_the_command_refuses(
    folder: Path, tmp_path: Path, words: tuple[str, str], name: str
) -> None:
    given = {
        "--cut": "middle",
        "--data": str(folder / "data.npz"),
        "--channels": "2",
        "--out": str(tmp_path / "b.keras"),
        "--epochs": "1",
    } | dict([words])
    ran = _command(
        "bottleneck", folder / "network.keras", *(w for pair in given.items() for w in pair)
    )
    assert isinstance(ran.exception, IsthmusError)
    assert ran.exception.name == name
    assert list(tmp_path.iterdir()) == []


def test_the_cut_of_the_trained_network(trained: Path) -> None:
    assert resolve_cut(load_model(trained), "bottleneck").elements == 4 * 3 * 3
