"""The pages in a browser: how long until something useful is painted, and from a slider to the figures it moves.

Limits of the issue that asked for them: 2 s warm, 150 ms. Run alone on a quiet machine:

    pytest benchmarks/bench_app.py -q -s

Needs Debian's Chromium. Times are of the browser's own clock.
"""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PAINT_S, REPAINT_MS = 2.0, 150.0
LOADS, MOVES = 7, 20

# From the key that moves a slider to the frame in which the panel's figures have changed.
MOVED = """(wanted) => new Promise(done => {
  const look = () => {
    if (document.querySelector('section[aria-label="Physics check"]').innerText.includes(wanted)) {
      requestAnimationFrame(() => done(performance.now() - window.pressed));
    } else { requestAnimationFrame(look); }
  };
  look();
})"""


PRESSED = "addEventListener('keydown', () => { window.pressed = performance.now(); }, true)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    ledger = tmp_path_factory.mktemp("app") / "ledger.db"
    command = [sys.executable, "-m", "reckoner", "app", "--port", "0", "--no-browser", "--ledger", str(ledger)]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[1]
    )
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait(20)
    server.stdout.close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


def told(name, values, limit, unit):
    middle, worst = statistics.median(values), max(values)
    print(f"{name}: median {middle:.3g} {unit}, worst of {len(values)} {worst:.3g} {unit}, limit {limit:g} {unit}")
    return middle


@pytest.mark.parametrize("page", ["audit", "curves", "prices", "forecasts", "ledger"])
def test_first_useful_paint_of_a_warm_page(address, browser, page):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{address}{page}/")
    tab.wait_for_selector("h1")
    values = []
    for _ in range(LOADS):
        tab.goto(f"{address}{page}/", wait_until="commit")
        tab.wait_for_selector("h1")
        values.append(tab.evaluate("performance.now()") / 1e3)
    context.close()
    assert told(f"{page}, heading painted", values, PAINT_S, "s") < PAINT_S


def test_slider_to_repaint(address, browser):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{address}audit/")
    for act, option in ((1, "Queueing"), (2, "Cloud")):
        tab.get_by_role("radio", name=option).click()
        tab.get_by_role("button", name=f"Lock my prediction of act {'I' * act}", exact=True).click()
        tab.get_by_text("Locked").nth(act - 1).wait_for()
    tab.get_by_role("heading", name="Physics check").wait_for()
    slider = tab.get_by_role("slider", name="Replicas")
    slider.focus()
    tab.evaluate(PRESSED)
    tab.wait_for_timeout(1500)
    at, step, values = 2, 1, []
    for _ in range(MOVES):
        step = -step if not 1 <= at + step <= 8 else step
        at += step
        tab.keyboard.press("ArrowRight" if step > 0 else "ArrowLeft")
        values.append(tab.evaluate(MOVED, f"{at} × h100"))
        tab.wait_for_timeout(400)  # banners and map follow; the next move begins from rest
    context.close()
    assert told("slider to repaint", values, REPAINT_MS, "ms") < REPAINT_MS
