"""The README's picture of the page: `python tests/picture.py`, with the extra `browser`
and Chromium, writes minigpt2/page/page.png."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import minigpt2
from minigpt2.page import explain

TEXT = """Once upon a time there was a king who had three daughters, and the youngest of \
them was so beautiful that the sun itself wondered. The king said to"""
TOKEN, BLOCK, HEAD = 39, 4, 1  # counted from 0: ` said`, which looks at `king`

page = explain.page(explain.explain(minigpt2.load("tiny"), TEXT) | {"model": "tiny"})
with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
    path = Path(directory) / "page.html"
    path.write_text(page, encoding="utf-8")
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
    view = browser.new_page(viewport={"width": 1280, "height": 1010})
    view.goto(path.as_uri())
    for name, value in ("token", TOKEN), ("layer", BLOCK), ("head", HEAD):
        view.select_option(f"#{name}", str(value))
    top = view.locator("#s-attention").bounding_box()["y"] - 30
    view.evaluate(f"scrollTo({{top: {top}, behavior: 'instant'}})")
    view.wait_for_timeout(500)
    view.screenshot(path=Path(explain.__file__).with_name("page.png"))
