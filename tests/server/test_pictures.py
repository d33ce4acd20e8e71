"""Pictures of what devices saw: only where they are asked for, behind the page's own rules."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import Live, run
from served import Served, make_served

from isthmus.bundle import Bundle
from isthmus.decoder import Decoder
from isthmus.errors import BusyError, ConfigError, RequestError
from isthmus.picture import PictureDecoder
from isthmus.server.config import load_config
from isthmus.server.pictures import FRAME_TIME, Made, Pictures
from isthmus.server.png import png_bytes

ON = {"dashboard": {"pictures": True}}
TOKEN = "a-token-of-an-operator-27"


@pytest.fixture(scope="module")
def seeing(digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The digits with a decoder of pictures, trained for a moment."""
    out = tmp_path_factory.mktemp("seeing") / "digits"
    return make_served(digits_data, out, reconstruct_input=True, picture_epochs=1, limit=60)


def pixels(png: bytes) -> np.ndarray:
    """What Pillow makes of a PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


async def ask(live: Live, name: str, **headers: str) -> httpx.Response:
    """A device's picture."""
    return await live.client.get("/api/picture", params={"name": name}, headers=headers)


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 1), (5, 7, 3), (32, 32, 3)])
def test_pillow_reads_our_png(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    found = pixels(png_bytes(picture))
    assert found.tolist() == (picture[..., 0] if shape[2] == 1 else picture).tolist()


def test_a_picture_is_off_unless_it_is_switched_on(seeing: Served) -> None:
    async def body(live: Live) -> None:
        await live.post(seeing.frames[0], "cam-1")
        assert (await ask(live, "cam-1")).status_code == 404
        found = (await live.client.get("/api/device", params={"name": "cam-1"})).json()
        assert found["answer"] is not None
        assert found["picture"] is False

    run(seeing, body)
    assert load_config(None).dashboard.pictures is False


def test_the_picture_is_the_decoders_of_that_frame(seeing: Served) -> None:
    async def body(live: Live) -> None:
        await live.post(seeing.frames[3], "cam-1")
        device = (await live.client.get("/api/device", params={"name": "cam-1"})).json()
        assert device["picture"] is True
        answer = await ask(live, "cam-1")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "no-store"
        assert float(answer.headers[FRAME_TIME]) == device["time"]
        # decoded here from the frame's bytes: the digits' 0..16 shown as 0..255
        bundle = Bundle.open(seeing.path)
        features = Decoder(bundle, restorer="none").decode(seeing.frames[3]).features
        expected = PictureDecoder(bundle).picture(features[np.newaxis])[0, :, :, 0]
        assert expected.max() <= 16
        shown = pixels(answer.content).astype(float) * 16 / 255
        assert np.abs(shown - expected).max() <= 0.04  # one of 255 steps
        refused = await ask(live, "nobody")
        assert refused.status_code == 400
        assert refused.json()["error"]["path"] == "name"

    run(seeing, body, **ON)


def test_a_bundle_without_decoder_has_no_pictures(digits: Served) -> None:
    async def body(live: Live) -> None:
        await live.post(digits.frames[0], "cam-1")
        found = (await live.client.get("/api/device", params={"name": "cam-1"})).json()
        assert found["picture"] is False
        refused = await ask(live, "cam-1")
        assert refused.status_code == 400
        assert "--reconstruct-input" in refused.json()["error"]["remedy"]

    run(digits, body, **ON)


def test_pictures_ask_for_the_pages_token(seeing: Served, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")

    async def body(live: Live) -> None:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        await live.post(seeing.frames[0], "cam-1", **bearer)
        assert (await ask(live, "cam-1")).status_code == 401
        assert (
            await ask(live, "cam-1", authorization="Bearer another-one-12345")
        ).status_code == 401
        assert (await ask(live, "cam-1", **bearer)).status_code == 200

    run(seeing, body, **ON, security={"tokens_file": tokens})


def test_the_switch_is_a_yes_or_no(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[dashboard]\npictures = "perhaps"\n')
    with pytest.raises(ConfigError, match=r"dashboard\.pictures"):
        load_config(config)


class Still:
    """A clock that is moved, and a monitor with one device whose frames are ``sequence``."""

    def __init__(self, served: Any) -> None:
        self.now = 100.0
        self.served = served
        self.sequence = 0

    def __call__(self) -> float:
        return self.now

    def kept(self, name: str) -> Any:
        """As the monitor's."""
        if name.startswith("none"):
            return None
        from types import SimpleNamespace

        answer = SimpleNamespace(sequence=self.sequence, rung=0)
        return SimpleNamespace(
            served=self.served, answer=answer, time=float(self.sequence), received=None,
            levels=np.full((4, 4, 32), self.sequence % 4, np.uint8),
        )  # fmt: skip


@pytest.fixture
def still(seeing: Served) -> Still:
    """The seeing bundle behind a clock of the test's own."""
    from types import SimpleNamespace

    bundle = Bundle.open(seeing.path)
    return Still(SimpleNamespace(name="digits", version="1", bundle=bundle))


def pictures_of(still: Still) -> Pictures:
    """Pictures on that clock."""
    return Pictures(still, clock=still)  # type: ignore[arg-type]


def test_what_is_asked_again_at_once_is_not_computed_again(still: Still) -> None:
    async def main() -> None:
        pictures = pictures_of(still)
        first = await pictures.picture("cam")
        still.sequence = 1
        assert await pictures.picture("cam") is first  # within half a second
        still.now += 0.6
        second = await pictures.picture("cam")
        assert (first.time, second.time) == (0.0, 1.0)
        assert second.png != first.png
        still.now += 60
        assert await pictures.picture("cam") is second  # the same frame
        with pytest.raises(RequestError):
            await pictures.picture("none")

    asyncio.run(main())


def test_one_picture_at_a_time_with_pauses_and_few_that_wait(
    still: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    running = most = 0

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        still.now += seconds

    def make(self: Pictures, kept: Any) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        still.now += 0.1  # so long it takes
        running -= 1
        return b"png"

    monkeypatch.setattr("isthmus.server.pictures.asyncio.sleep", sleep)
    monkeypatch.setattr(Pictures, "_make", make)

    async def main() -> list[Made | BaseException]:
        pictures = pictures_of(still)
        names = [f"cam-{k}" for k in range(12)]
        return await asyncio.gather(*map(pictures.picture, names), return_exceptions=True)

    found = asyncio.run(main())
    made = [one for one in found if isinstance(one, Made)]
    refused = [one for one in found if isinstance(one, BusyError)]
    assert (len(made), len(refused), most) == (8, 4, 1)
    # a fifth of the time: 0.1 s of work, then 0.4 s of rest
    assert pauses == pytest.approx([0.4] * 7)


def expect(locator: Any) -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect as expect_of

    return expect_of(locator)


def test_the_page_shows_the_picture_and_says_what_it_means(
    seeing: Served,
    require_tool: Callable[[str], str],
    require_package: Callable[[str], None],
    tmp_path: Path,
) -> None:
    require_package("playwright")
    chromium = require_tool("chromium")

    def look(url: str) -> dict[str, Any]:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            errors: list[str] = []
            page.on("console", lambda m: errors.append(m.text) if m.type != "log" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{url}/#device=cam-1")
            expect(page.locator("#picture-box")).to_be_visible(timeout=20_000)
            drawn = page.evaluate(
                """() => {
                  const c = document.getElementById('picture');
                  return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data);
                }"""
            )
            page.screenshot(path=tmp_path / "picture.png", full_page=True)
            words = page.locator("#picture-box").text_content()
            browser.close()
            return {"drawn": drawn, "words": words, "errors": errors}

    async def body(live: Live) -> None:
        await live.post(seeing.frames[0], "cam-1")
        url = str(live.client.base_url).rstrip("/")
        found = await asyncio.to_thread(look, url)
        assert found["errors"] == []
        assert "These features reveal the picture" in found["words"]
        expected = pixels((await ask(live, "cam-1")).content)
        assert found["drawn"][::4] == expected.reshape(-1).tolist()

    run(seeing, body, **ON)
