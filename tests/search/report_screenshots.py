"""Pictures of a report's page for the docs: ``python -m tests.search.report_screenshots PAGE FOLDER``."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

SHOTS = {
    "report_desktop": {"viewport": {"width": 1440, "height": 900}},
    "report_phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    "report_dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
}
"""Name -> settings of the browser's context; the first screen is taken."""
SECTIONS = {"report_episodes": "#the-policies-at-play", "report_levels": "#levels-at-a-glance"}
"""Name -> section, as on a desktop."""


def main() -> None:
    """Take every picture."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="report/index.html of a study with episodes")
    parser.add_argument("folder", type=Path, help="where to write")
    args = parser.parse_args()
    path = shutil.which("chromium")
    if path is None:
        sys.exit("No Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, settings in SHOTS.items():
            _open(browser, args.page, settings).screenshot(path=args.folder / f"{name}.png")
        tab = _open(browser, args.page, SHOTS["report_desktop"])
        tab.add_style_tag(content="nav { display: none; }")  # it follows the reader and would lie over the section
        for name, section in SECTIONS.items():
            tab.locator(section).screenshot(path=args.folder / f"{name}.png")
        browser.close()


def _open(browser: Any, page: Path, settings: dict[str, Any]) -> Any:
    tab = browser.new_context(**settings).new_page()
    tab.goto(page.resolve().as_uri())
    tab.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    return tab


if __name__ == "__main__":
    main()
