"""The README's picture of the page: `python tests/picture.py`, with the extra `browser`
and Chromium, writes minigpt2/page/page.png."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import minigpt2

TEXT = """There was once a king who had three daughters, and the king said to his three \
daughters"""

with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
    path = Path(directory) / "page.html"
    minigpt2.load("tiny").explain(TEXT).save(path)
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
    screen = {"width": 1280, "height": 900}
    view = browser.new_page(viewport=screen, device_scale_factor=1.5)
    view.goto(path.as_uri())
    view.wait_for_selector("html[data-ready]", state="attached")
    view.wait_for_timeout(500)
    bottom = view.locator("#machine").bounding_box()
    height = bottom["y"] + bottom["height"] + 4
    view.screenshot(
        path=Path(minigpt2.__file__).parent / "page" / "page.png",
        clip={"x": 0, "y": 0, "width": 1280, "height": height},
    )
