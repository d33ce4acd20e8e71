"""The dashboard: its routes, and the page in a real browser that shows what was fed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from dashboard_site import Site, fed, running
from monitor_cases import DIGITS, frame

from isthmus.errors import ChecksumError
from isthmus.server.dashboard import dashboard_routes
from isthmus.server.types import Origin


@pytest.fixture
def site() -> Iterator[Site]:
    """A fresh fleet for each test."""
    with running(*fed()) as found:
        yield found


@dataclass
class Tab:
    """A page, and what went wrong in it or left for elsewhere."""

    page: Any
    errors: list[str]
    requests: list[str]


@pytest.fixture(scope="module")
def browser(
    require_tool: Callable[[str], str], require_package: Callable[[str], None]
) -> Iterator[Any]:
    """Headless Chromium."""
    require_package("playwright")
    path = require_tool("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """``tab(url, width=, height=, scheme=)`` opens a page of its own."""
    opened = []

    def open_tab(url: str, width: int = 1280, height: int = 800, scheme: str = "light") -> Tab:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        opened.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        made = Tab(page, [], [])
        page.on("console", lambda m: made.errors.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on("request", lambda request: made.requests.append(request.url))
        page.goto(url)
        page.wait_for_selector("#device-table tbody tr[data-at]")
        return made

    yield open_tab
    for context in opened:
        context.close()


def expect(locator: Any) -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect as expect_of

    return expect_of(locator)


def cells(page: Any, row: str) -> list[str]:
    """The texts of a device's row."""
    found = page.locator("#device-table tbody tr", has_text=row).first
    return [text.strip() for text in found.locator("th, td").all_text_contents()]


def test_the_page_shows_what_was_fed(site: Site, tab: Callable[..., Tab], tmp_path: Path) -> None:
    one = tab(site.url)
    page = one.page
    tiles = dict(
        zip(page.locator("#tiles dt").all_text_contents(),
            page.locator("#tiles dd").all_text_contents(), strict=True)
    )  # fmt: skip
    assert tiles["Frames a second"] == "1"
    assert tiles["Answered"] == "3,601"
    assert tiles["Refused"] == "15"
    assert tiles["Devices"] == "31"
    assert tiles["Bits per element"] == "1"
    assert tiles["Waiting"] == "5"
    assert page.locator("#status").text_content() == "Ready"
    row = cells(page, "cam-2")
    assert (row[:2], row[3:6]) == (["cam-2", "seven (0.910)"], ["1.00", "6.00", "1"])
    refusals = page.locator("#refusals tbody tr").all_text_contents()
    assert refusals[0].startswith("8checksum12")
    assert refusals[1].startswith("94busy3digits")
    models = page.locator("#models tbody tr").all_text_contents()
    assert models[0].startswith("digits0123456789ab4×4×8 float324")
    assert "no names" in models[1]
    answers = page.locator("#answers tbody tr").all_text_contents()
    assert "cam-2seven (0.910)777" in answers[0]
    page.screenshot(path=tmp_path / "dashboard.png", full_page=True)
    assert (tmp_path / "dashboard.png").stat().st_size > 20_000
    assert one.errors == []
    assert all(url.startswith(f"{site.url}/") for url in one.requests)


def test_the_plots_have_axes_units_legends_and_the_lines(
    site: Site, tab: Callable[..., Tab]
) -> None:
    page = tab(site.url).page
    titles = page.locator(".plots figcaption").all_text_contents()
    assert titles == [
        "Frames a second", "Latency ms, arrival to answer", "Latency by part ms, 99th percentile",
        "Rate bits per element", "Slices lost a second", "Concealed % of elements",
    ]  # fmt: skip
    figures = page.locator(".plots figure")
    frames = figures.nth(0)
    assert frames.locator("svg text").all_text_contents() == [
        "0", "10", "20", "30", "now", "−30 s", "−60 s", "−90 s", "−120 s",
    ]  # fmt: skip
    assert frames.locator(".keys li").all_text_contents() == ["answered 1", "refused 0"]
    label = frames.locator("svg").get_attribute("aria-label")
    assert label == "Frames, a second, the last 120 seconds. answered: 1, refused: 0"
    # thirty frames in each second but the last: a level line near the top, then down
    path = frames.locator("path.line0").get_attribute("d")
    points = [tuple(map(float, p.split())) for p in path[1:].split("L")]
    assert len(points) == 120
    assert len({y for _, y in points[1:-1]}) == 1
    assert points[-1][1] > points[-2][1]
    assert points[-2][1] == 8.0  # 30 of 30
    stages = figures.nth(2)
    assert stages.locator("path.line").count() == 4
    # under the pointer, the legend tells that second
    frames.locator(".plot").hover(position={"x": 200, "y": 60})
    assert frames.locator(".keys li").first.text_content() == "answered 30"
    assert frames.locator(".when").text_content().endswith("s ago")


def test_a_device_shows_its_features_beside_its_answer(site: Site, tab: Callable[..., Tab]) -> None:
    one = tab(site.url)
    page = one.page
    page.get_by_role("button", name="cam-2", exact=True).click()
    page.wait_for_selector("#device-body:not([hidden])")
    assert page.locator("#device-title").text_content() == "cam-2"
    assert "sequence 777" in page.locator("#device-facts").text_content()
    assert page.locator("#features-title").text_content() == "Decoded features: 8 channels of 4×4"
    assert page.locator("#legend .key").all_text_contents() == [
        "0",
        "1",
        "2",
        "3",
        "did not arrive",
    ]
    canvas = page.locator("#features")
    assert canvas.get_attribute("data-missing") == "32"
    assert "32 of 128 elements did not arrive" in canvas.get_attribute("aria-label")
    # the colours of the elements, read where the pointer says they are
    canvas.focus()
    cell = page.locator("#features-cell")

    def press(*keys: str) -> str:
        for key in keys:
            page.keyboard.press(key)
        return str(cell.text_content())

    assert press("ArrowRight") == "Channel 0, row 0, column 0: 0 (level 0)"
    assert press("ArrowDown") == "Channel 0, row 1, column 0: did not arrive"
    assert press("ArrowUp", *["PageDown"] * 5) == "Channel 5, row 0, column 0: 3 (level 3)"
    rows = page.locator("#answer tr")
    assert rows.locator("th").all_text_contents() == list(DIGITS)
    assert rows.locator("td.right").all_text_contents()[7] == "0.910"
    assert page.locator("#answer tr.best th").text_content() == "seven"
    widths = [box["width"] for box in (b.bounding_box() for b in page.locator(".bar").all()) if box]
    assert widths[7] == max(widths)
    assert widths[7] / widths[0] == pytest.approx(91, rel=0.2)
    assert page.url.endswith("#device=cam-2")
    page.locator("#device-close").click()
    assert page.locator("#device").is_hidden()
    assert one.errors == []


def colours(page: Any) -> dict[str, int]:
    """How many pixels of each colour the heat map has."""
    found = page.evaluate(
        """() => {
          const c = document.getElementById('features');
          const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
          const n = {};
          for (let i = 0; i < d.length; i += 4) {
            if (d[i + 3] < 255) continue;
            const k = `${d[i]},${d[i + 1]},${d[i + 2]}`;
            n[k] = (n[k] ?? 0) + 1;
          }
          return n;
        }"""
    )
    return dict(found)


def test_the_heat_map_has_the_colours_of_the_levels(site: Site, tab: Callable[..., Tab]) -> None:
    page = tab(f"{site.url}/#device=cam-2").page
    page.wait_for_selector("#device-body:not([hidden])")
    found = colours(page)
    low, high = found["68,1,84"], found["253,231,37"]  # both ends of viridis
    # of 128 elements 32 are hatched, 4 have the highest level and 92 the lowest
    assert low / high == 92 / 4
    area = low // 92
    assert area in {k * k for k in range(4, 200)}
    hatched = sum(found.get(c, 0) for c in ("236,239,242",))
    assert 0.3 * 32 * area < hatched < 32 * area


def test_the_table_is_sorted_and_filtered(site: Site, tab: Callable[..., Tab]) -> None:
    page = tab(site.url).page

    names = page.locator("#device-table tbody th")
    assert names.all_text_contents()[1:4] == ["cam-0", "cam-1", "cam-2"]
    page.get_by_role("button", name="Refused").click()
    expect(names.nth(0)).to_contain_text("<img")
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Refused")
    assert names.all_text_contents()[1] == "cam-1"
    page.get_by_label("Filter devices").fill("cam-2")
    expect(names).to_have_count(11)
    assert sorted(names.all_text_contents()) == sorted(
        ["cam-2", *(f"cam-{k}" for k in range(20, 30))]
    )
    expect(page.locator("#devices-count")).to_have_text("11 of 31")
    page.get_by_label("Filter devices").fill("nobody")
    expect(page.locator("#device-table .empty")).to_have_text("No device matches")


def test_text_from_devices_is_only_text(site: Site, tab: Callable[..., Tab]) -> None:
    one = tab(site.url)
    shown = one.page.locator("#device-table tbody th").first.text_content()
    assert shown == '<img src=x onerror="document.title=1">\\u202e'
    assert one.page.locator("main img").count() == 0
    assert one.page.title() == "Isthmus"
    one.page.get_by_role("button", name="<img").click()
    one.page.wait_for_selector("#device:not([hidden])")
    expect(one.page.locator("#device-hint")).to_contain_text("8 checksum")
    assert one.errors == []


def test_it_says_when_the_server_is_gone_and_comes_back(
    site: Site, tab: Callable[..., Tab]
) -> None:
    page = tab(site.url).page
    assert page.locator("#gone").is_hidden()
    site.gate.clear()
    page.wait_for_selector("#gone:not([hidden])")
    assert page.locator("#status").text_content() == "Server gone"
    assert "has not answered since" in page.locator("#gone").text_content()
    assert "stale" in page.locator("#main").get_attribute("class")
    site.gate.set()
    page.wait_for_selector("#gone", state="hidden")
    assert page.locator("#status").text_content() == "Ready"
    site.service.ready = False
    site.clock.now += 1
    expect(page.locator("#status")).to_have_text("Not taking frames")


def test_it_follows_new_frames(site: Site, tab: Callable[..., Tab]) -> None:
    page = tab(f"{site.url}/#device=cam-2").page
    page.wait_for_selector("#device-body:not([hidden])")
    served = site.service.fleet.models()[0]
    site.clock.now += 1
    site.monitor.batch(served, [frame(served, "cam-2", 778), frame(served, "cam-new", 1)])
    site.clock.now += 1
    expect(page.locator("#device-facts")).to_contain_text("sequence 778")
    expect(page.locator("#device-table")).to_contain_text("cam-new")
    assert page.locator("#features").get_attribute("data-missing") == "0"


def test_it_asks_for_a_token_where_one_is_wanted(site: Site, browser: Any) -> None:
    site.token = "secret-token"
    context = browser.new_context()
    context.set_default_timeout(10_000)
    try:
        page = context.new_page()
        page.goto(site.url)
        page.wait_for_selector("#token:not([hidden])")
        page.get_by_label("This server asks for a token").fill("secret-token")
        page.get_by_role("button", name="Use it").click()
        page.wait_for_selector("#device-table tbody tr[data-at]")
        assert page.locator("#token").is_hidden()
        assert "secret-token" not in page.content()
        assert "secret-token" not in page.url
    finally:
        context.close()


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 800, "dark"), (390, 844, "light"), (320, 640, "dark")]
)
def test_nothing_sticks_out(
    site: Site, tab: Callable[..., Tab], width: int, height: int, scheme: str, tmp_path: Path
) -> None:
    one = tab(f"{site.url}/#device=cam-2", width, height, scheme)
    one.page.wait_for_selector("#device-body:not([hidden])")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    back = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(int(v) for v in back.removeprefix("rgb(").rstrip(")").split(",")) < 300
    assert dark == (scheme == "dark")
    one.page.screenshot(path=tmp_path / "small.png", full_page=True)
    assert one.errors == []


def test_thousands_of_devices_are_no_load_for_the_page(tab: Callable[..., Tab]) -> None:
    with running(*fed(devices=2000, seconds=1)) as site:
        one = tab(site.url)
        assert one.page.locator("#device-table tbody tr").count() == 100
        assert one.page.locator("#devices-count").text_content() == "2,000, the first 100 shown"
        assert one.errors == []


def test_headers_and_types(site: Site) -> None:
    with httpx.Client(base_url=site.url) as client:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        script = client.get("/page/app.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for path in ("/page/none.js", "/page/..%2Fmonitor.py", "/page/%2e%2e/monitor.py"):
            assert client.get(path).status_code == 404
        metrics = client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert "isthmus_frames_total{" in metrics.text
        accept = {"accept": "application/openmetrics-text;version=1.0.0"}
        assert client.get("/metrics", headers=accept).text.endswith("# EOF\n")
        assert client.post("/api/state").status_code == 405


def test_the_page_names_no_other_host(repo_root: Path) -> None:
    """Beside the name spaces of XML there is no address in any of its files."""
    for file in sorted((repo_root / "host/isthmus/server/page").iterdir()):
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in "".join(line for line in text.splitlines() if "http" in line), file.name


def test_the_data_behind_the_page(site: Site) -> None:
    with httpx.Client(base_url=site.url) as client:
        state = client.get("/api/state", params={"sort": "name", "limit": 2}).json()
        assert state["frames"] == 3601
        assert [row["name"] for row in state["devices"]["rows"]][1] == "cam-0"
        answer = client.get("/api/device", params={"name": "cam-2"})
        assert answer.headers["cache-control"] == "no-store"
        features = answer.json()["features"]
        levels = np.frombuffer(base64.b64decode(features["levels"]), np.uint8).reshape(8, 4, 4)
        assert levels.sum() == 12
        assert levels[5, 0].tolist() == [3, 3, 3, 3]
        for path, params, what in (
            ("/api/device", {"name": "nobody"}, "name"),
            ("/api/device", {"name": "cam-2", "first": "-1"}, "first"),
            ("/api/state", {"limit": "1e9"}, "limit"),
            ("/api/state", {"limit": "501"}, "limit"),
            ("/api/state", {"sort": "__class__"}, "sort"),
        ):
            bad = client.get(path, params=params)
            assert bad.status_code == 400
            assert json.loads(bad.content)["error"]["path"] == what


def test_several_pages_share_one_answer() -> None:
    """Half a second long the same question gets the same bytes."""
    monitor, service, clock = fed(devices=3)
    with running(monitor, service, clock) as site, httpx.Client(base_url=site.url) as client:
        first = client.get("/api/state").content
        monitor.refused(Origin("http", "x"), ChecksumError("frame", "is wrong"))
        assert client.get("/api/state").content == first
        assert client.get("/api/state?search=x").content != first
        clock.now += 0.6
        assert client.get("/api/state").json()["refused"] == json.loads(first)["refused"] + 1


def test_metrics_alone() -> None:
    monitor, service, _ = fed(devices=1)
    assert [route.path for route in dashboard_routes(service, monitor, page=False)] == ["/metrics"]
