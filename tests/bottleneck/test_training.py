"""Training: what changes and what does not, how it goes on and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import DataEmptyError, OutputError, TrainingError
from isthmus_gen.bottleneck import (
    TrainingPlan,
    collect,
    evaluate,
    make_profile,
    train,
    training,
)
from isthmus_gen.bottleneck.checkpoint import Checkpoint
from isthmus_gen.data import Preprocessing, load_data
from isthmus_gen.models import load_model, resolve_cut

Setting = Callable[..., Any]
SHORT = TrainingPlan(levels=4, epochs=3, batch=16, rate=5e-3, rate_weight=1e-3)


def _host(inserted: Any) -> dict[str, Any]:
    """The host network's weights by their place."""
    units = {id(unit) for unit in inserted.units}
    return {
        f"{layer.name}/{i}": value
        for layer in inserted.whole.layers
        if id(layer) not in units
        for i, value in enumerate(layer.get_weights())
    }


def _units(inserted: Any) -> list[Any]:
    return [value for unit in inserted.units for value in unit.get_weights()]


def _equal(first: list[Any], second: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "plan", [SHORT, TrainingPlan(coder="jpeg", epochs=2, batch=16)], ids=["isthmus", "jpeg"]
)
def test_the_host_network_stays_bit_for_bit(setting: Setting, plan: TrainingPlan) -> None:
    _, inserted, data = setting()
    before, units = _host(inserted), _units(inserted)
    trained = train(inserted, data, plan)
    after = _host(inserted)
    assert len(before) == 14  # two convolutions, two normalisations, a dense layer
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not any(np.array_equal(a, b) for a, b in zip(units, _units(inserted), strict=True))
    assert all(np.isfinite(epoch.loss) for epoch in trained.epochs)


def test_training_helps_and_the_best_pass_is_kept(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From random units, and twice the same."""
    monkeypatch.setattr(training, "start_units", lambda *_, **__: False)
    _, inserted, data = setting()
    trained = train(inserted, data, TrainingPlan(epochs=12, batch=16, rate=5e-3))
    assert not trained.started
    held = [epoch.held_out for epoch in trained.epochs]
    assert held[trained.best] == min(held) < held[0]
    again = train(*setting()[1:], TrainingPlan(epochs=12, batch=16, rate=5e-3))
    assert again.epochs == trained.epochs
    assert _equal(_units(inserted), _units(again.inserted))


def test_all_weights_but_the_hosts_statistics(setting: Setting) -> None:
    _, inserted, data = setting(features=False)
    before = _host(inserted)
    train(inserted, data, TrainingPlan(epochs=1, batch=16, train="all"))
    after = _host(inserted)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    # weights 2 and 3 of a normalisation are its mean and variance
    assert same == {"norm/2", "norm/3", "second_norm/2", "second_norm/3"}


def test_features_need_not_be_kept(setting: Setting) -> None:
    """Training from the inputs is the same training."""
    kept = train(*setting(features=True)[1:], SHORT)
    anew = train(*setting(features=False)[1:], SHORT)
    np.testing.assert_allclose(
        [epoch.loss for epoch in anew.epochs], [epoch.loss for epoch in kept.epochs], rtol=1e-4
    )


def test_labels_are_used(setting: Setting) -> None:
    plain, labelled = setting()[2], setting(data="labelled")[2]
    assert plain.labels is None
    np.testing.assert_array_equal(plain.x, labelled.x)
    losses = [train(setting()[1], data, SHORT).epochs[0].loss for data in (plain, labelled)]
    assert losses[0] != losses[1]


def test_an_interrupted_run_ends_as_if_it_had_not_been(setting: Setting, tmp_path: Path) -> None:
    whole = train(*setting()[1:], SHORT)

    def interrupt(stage: str, done: int, total: int, /) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*setting()[1:], SHORT, interrupt, work=tmp_path, key="a")
    files = list(tmp_path.iterdir())
    assert len(files) == 1  # the checkpoint, and nothing half-written beside it
    seen: list[int] = []

    def note(stage: str, done: int, total: int, /) -> None:
        seen.append(done)

    gone_on = train(*setting()[1:], SHORT, note, work=tmp_path, key="a")
    assert seen[0] > 3  # the first pass was not made again
    assert gone_on.epochs == whole.epochs
    assert _equal(_units(gone_on.inserted), _units(whole.inserted))


def test_another_network_or_plan_does_not_go_on(tmp_path: Path) -> None:
    plans = [("a", SHORT), ("b", SHORT), ("a", TrainingPlan(epochs=3)), ("a", SHORT)]
    files = [Checkpoint.at(tmp_path, key, plan).file for key, plan in plans]
    assert files[0] == files[3]
    assert len(set(files)) == 3


@pytest.mark.parametrize("damage", ["short", "text"])
def test_a_damaged_checkpoint_is_not_taken(setting: Setting, tmp_path: Path, damage: str) -> None:
    whole = train(*setting()[1:], SHORT, work=tmp_path, key="a")
    file = next(tmp_path.iterdir())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage == "short" else b"nothing")
    assert train(*setting()[1:], SHORT, work=tmp_path, key="a").epochs == whole.epochs


def test_a_folder_that_cannot_be_written(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="choose another --work"):
        train(*setting()[1:], SHORT, work=tmp_path / "file", key="a")


def test_a_loss_that_is_no_number_ends_it(setting: Setting, tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=3, batch=16, rate=1e30)
    with pytest.raises(TrainingError, match="the loss became") as error:
        train(*setting()[1:], plan, work=tmp_path, key="a")
    assert "lower --rate-weight" in str(error.value)


def test_training_ends_early(setting: Setting) -> None:
    """With a step of nothing only normalisation moves: no pass is better for long."""
    plan = TrainingPlan(epochs=40, batch=16, rate=0.0, patience=2)
    trained = train(*setting()[1:], plan)
    assert len(trained.epochs) == trained.best + 3 < 40


def test_one_input_is_too_few(folder: Path) -> None:
    model = load_model(folder / "network.keras")
    data = load_data(folder / "data.npz", limit=1)
    with pytest.raises(DataEmptyError, match="2 or more"):
        collect(model, resolve_cut(model, "middle"), data, Preprocessing())


def test_figures_are_those_of_frames_sent(setting: Setting) -> None:
    """Bytes and answers again, frame by frame, with the decoder that a host has."""
    from isthmus.decoder import make_codec

    _, inserted, data = setting(data="labelled")
    plan = TrainingPlan(levels=4, epochs=2, batch=16)
    train(inserted, data, plan)
    index = np.arange(20)
    figures = evaluate(inserted, plan, data, data, index)
    samples = np.asarray(inserted.reduction(data.x[data.training], training=False))
    codec = make_codec(make_profile(inserted.shape, 4, samples))
    size, right = 0, 0
    for i in index:
        sent = np.asarray(inserted.reduction(data.x[i : i + 1], training=False))[0]
        frame = codec.encode(0, 0, sent)
        levels = codec.decode(frame).levels.reshape(sent.shape)
        np.testing.assert_array_equal(levels, np.clip(np.floor(sent + 0.5), 0, 3))
        size += len(frame)
        back = inserted.restoration(levels[None].astype(np.float32), training=False)
        right += int(np.argmax(inserted.back(back, training=False)) == data.labels[i])
    assert figures.bytes == size / 20
    assert figures.accuracy == right / 20
    assert (figures.inputs, figures.file_bytes) == (20, None)
