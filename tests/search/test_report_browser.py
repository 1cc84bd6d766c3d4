"""The page in a real Chromium, as a reader with a phone and one with a laptop get it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.findings import build_findings
from search.level_scores import Bootstrap
from search.regret import rule_regrets
from search.report import write_report
from search.report_html import render_html
from search.report_pictures import draw_pictures
from search.report_sections import build_sections
from search.robustness import robustness_table
from search.showing import show_study
from search.study import read_study
from search.surface import add_surface_headline
from tests.search.played_study import write_played_study
from tests.search.synthetic_study import changed_rows, open_table, sealed_rows, trial_specs, write_study

FEW = Bootstrap(num_resamples=100)
WIDTHS = {"phone": (390, 844), "desktop": (1440, 900)}
GROUNDS = {"light": "rgb(244, 246, 248)", "dark": "rgb(15, 19, 25)"}
STORED = Path(__file__).resolve().parents[2] / "docs" / "results" / "grid-quality-diversity"
RULES = "what-each-selection-rule-would-have-chosen"
LATER = {
    "return-over-training-levels-and-noise": 2,  # the third is on the first screen
    "what-predicts-return-on-unseen-levels": 2,
    "robustness": 2,
    RULES: 1,
    "the-middle-the-worst-and-the-best": 0,
}
"""Section -> its figures."""
MEASURE = """async () => {
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode()));
  const inside = element => element.closest(".scroll, nav, pre") !== null;
  const wide = [...document.querySelectorAll("body *")].filter(
    element => !inside(element) && element.getBoundingClientRect().right > innerWidth + 0.5);
  return {
    overflow: document.documentElement.scrollWidth - innerWidth,
    wide: wide.map(element => element.tagName + "." + element.className),
    undecoded: images.filter(image => !image.naturalWidth).length,
    images: images.length,
    nameless: images.filter(image => !image.alt).length,
    ground: getComputedStyle(document.body).backgroundColor,
    unreachable: [...document.querySelectorAll("nav a")].filter(
      link => !document.getElementById(link.hash.slice(1))).length,
    narrow: images.filter(image => image.currentSrc !== image.src).length,
    // Letters are drawn in the size they are read at: a figure that is scaled down is hard to read.
    shrunken: images.filter(image => !image.closest(".scene")).filter(
      image => image.getBoundingClientRect().width < 0.9 * image.naturalWidth).map(image => image.alt),
    // What each section holds: words, figures, rows of numbers.
    sections: Object.fromEntries([...document.querySelectorAll("section")].map(section => [section.id, {
      figures: section.querySelectorAll("figure img").length,
      described: [...section.querySelectorAll("figure img")].filter(image => image.alt.length > 20).length,
      seen: [...section.querySelectorAll("figure img")].filter(
        image => image.getBoundingClientRect().height > 80).length,
      rows: section.querySelectorAll("tbody tr").length,
      unlabelled: [...section.querySelectorAll("th")].filter(cell => !cell.textContent.trim()).length,
      empty: [...section.querySelectorAll("td")].filter(cell => !cell.textContent.trim()).length,
    }])),
    // The columns that a table is read for, from its left edge to the right one of the column, in pixels.
    reach: Object.fromEntries([...document.querySelectorAll("section")].map(section => [section.id,
      Object.fromEntries([...section.querySelectorAll("th")].map(cell => [cell.textContent,
        cell.getBoundingClientRect().left - cell.closest("table").getBoundingClientRect().left]))])),
    cut: [...document.querySelectorAll(".scroll")].filter(
      box => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "auto").length,
  };
}"""

pytestmark = pytest.mark.slow


def chromium_path() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium_path()
    api = pytest.importorskip("playwright.sync_api", reason="Playwright drives the Chromium: pip install playwright")
    with api.sync_playwright() as playwright:
        # Tests may run as root, where Chromium refuses to start its own sandbox.
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    played = write_played_study(folder / "played")
    show_study(read_study(played))
    return {
        "everything": _with_every_section(folder),
        "with episodes": write_report(played, FEW),
        "tested": write_report(write_study(folder / "tested"), FEW),
        "untested": write_report(write_study(folder / "untested", tested=False), FEW),
    }


def _with_every_section(folder: Path) -> Path:
    """A study with changes and rules, and the second axis and predictors of a stored one: no section is missing."""
    study = write_study(folder / "changed")
    for spec in trial_specs()[:3]:  # two seeds of one configuration, one of another
        table = changed_rows(spec.trial_id, spec.seed, config_id=spec.config_id)
        table.write(robustness_table(study, spec.trial_id))
    regrets = rule_regrets(open_table().append(sealed_rows({s.trial_id for s in trial_specs()})), bootstrap=FEW)
    stored = json.loads((STORED / "report.json").read_text(encoding="utf-8"))
    findings = add_surface_headline(
        build_findings(read_study(study), FEW)
        | {name: stored[name] for name in ("surface", "mixtures", "predictors")}
        | {"regrets": {"mode": "sampled", "rules": regrets}}
    )
    pictures = draw_pictures(findings, study)
    sections = build_sections(findings, [picture.name for picture in pictures])
    page = folder / "everything.html"
    page.write_text(render_html(findings, sections, pictures), encoding="utf-8")
    return page


def look(browser: Any, page: Path, width: int, height: int, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """What the open page measures, and everything that went wrong or left the machine."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on("requestfailed", lambda request: wrong.append(f"failed: {request.url[:80]}"))
    address = page.as_uri()
    tab.on("request", lambda request: _note_request(request.url, address, wrong))
    tab.goto(address)
    measured: dict[str, Any] = tab.evaluate(MEASURE)
    context.close()
    return measured, wrong


def _note_request(url: str, address: str, wrong: list[str]) -> None:
    if url != address and not url.startswith("data:"):
        wrong.append(f"request: {url[:80]}")


@pytest.mark.parametrize("name", ["everything", "with episodes", "tested", "untested"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_fails_or_leaves_the_machine(
    browser: Any, pages: dict[str, Path], name: str, width: str
) -> None:
    measured, wrong = look(browser, pages[name], *WIDTHS[width])
    assert wrong == []
    assert measured["overflow"] <= 0, measured["wide"]
    assert measured["wide"] == []
    assert measured["undecoded"] == 0
    assert measured["nameless"] == 0
    assert measured["unreachable"] == 0
    assert measured["cut"] == 0
    assert {section["unlabelled"] for section in measured["sections"].values()} == {0}
    assert measured["shrunken"] == []
    assert measured["images"] >= (5 if name == "untested" else 7)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_later_sections_are_drawn_described_and_labeled(browser: Any, pages: dict[str, Path], width: str) -> None:
    measured, _ = look(browser, pages["everything"], *WIDTHS[width])
    for name, num_figures in LATER.items():
        section = measured["sections"][name]
        assert section["figures"] == section["described"] == section["seen"] == num_figures, name
        assert section["rows"] > 0, name
        assert section["unlabelled"] == section["empty"] == 0, name
    robustness, rules = (measured["reach"][name] for name in ("robustness", RULES))
    # On a phone, too, what a table is about is read without scrolling it.
    assert robustness["return"] < WIDTHS["phone"][0] - 100
    assert rules["regret"] < WIDTHS["phone"][0] - 60


def test_phones_get_pictures_of_their_own(browser: Any, pages: dict[str, Path]) -> None:
    phone, _ = look(browser, pages["tested"], *WIDTHS["phone"])
    desktop, _ = look(browser, pages["tested"], *WIDTHS["desktop"])
    assert desktop["narrow"] == 0
    assert phone["narrow"] >= 4  # returns, gap, two heat maps; curves are narrow everywhere


@pytest.mark.parametrize("scheme", GROUNDS)
def test_light_and_dark_follow_the_reader(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    measured, wrong = look(browser, pages["tested"], *WIDTHS["desktop"], color_scheme=scheme)
    assert measured["ground"] == GROUNDS[scheme]
    assert wrong == []


def test_pictures_turn_dark_with_the_page(browser: Any, pages: dict[str, Path]) -> None:
    """The ink of the axes, read from pixels: dark on light, light on dark."""
    import io

    import numpy as np
    from PIL import Image

    extremes = {}
    for scheme in GROUNDS:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
        tab = context.new_page()
        tab.goto(pages["tested"].as_uri())
        tab.evaluate(MEASURE)
        shot = tab.locator(".hero figure img").screenshot()
        context.close()
        grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))
        extremes[scheme] = (int(np.median(grey)), int(grey.min()), int(grey.max()))
    median, darkest, _ = extremes["light"]
    assert median > 230
    assert darkest < 80
    median, _, brightest = extremes["dark"]
    assert median < 40
    assert brightest > 200


def test_readers_who_asked_for_less_motion_get_a_still(browser: Any, pages: dict[str, Path]) -> None:
    def kinds(**options: Any) -> set[str]:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
        tab = context.new_page()
        tab.goto(pages["with episodes"].as_uri())
        tab.evaluate(MEASURE)
        found = tab.evaluate("[...document.querySelectorAll('.scene img')].map(i => i.currentSrc.slice(5, 14))")
        context.close()
        return set(found)

    assert kinds(reduced_motion="no-preference") == {"image/gif"}
    assert kinds(reduced_motion="reduce") == {"image/png"}
