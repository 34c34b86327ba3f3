"""A real server and a real browser for the pages' tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    # Not for the whole session: Playwright keeps an event loop running in this thread, and other tests need theirs.
    if CHROMIUM is None:
        notice = "NO CHROMIUM: none of the pages' tests ran; install it with: apt-get install chromium"
        if os.environ.get("RECKONER_UI") == "required":
            pytest.fail(notice)
        pytest.skip(notice)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Playwright gives every launch a user-data folder of its own.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


class Server:
    """`reckoner app` as a person starts it."""

    def __init__(self, folder, *options):
        self.ledger = str(folder / "ledger.db")
        self.log = folder / "server.log"
        command = [sys.executable, "-m", "reckoner", "app", "--port", "0", "--no-browser", "--ledger", self.ledger]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
        self.address = self.process.stdout.readline().strip()

    def stop(self, signal=15):
        self.process.send_signal(signal)
        code = self.process.wait(20)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("app"))
    yield started
    started.stop()


@pytest.fixture
def run_cli(tmp_path):
    """Run a command line to its end."""

    def run(*words):
        command = [sys.executable, "-m", "reckoner", *words, "--ledger", str(tmp_path / "cli.db")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def start(tmp_path):
    """Start servers of one's own: ``start("--curves", "DIR")``."""
    started = []

    def begin(*options):
        started.append(Server(tmp_path, *options))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.stop()


class Watched:
    """A browser of one person: a page, what its console said, and where it asked for things."""

    def __init__(self, browser, server, width=1024, height=900, scheme="light"):
        self.server = server
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        self.errors, self.asked = [], []
        self.page = self.open()

    def open(self):
        """Another tab of the same person."""
        page = self.context.new_page()
        page.set_default_timeout(60_000)  # neighbours may take the machine
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        return page

    def goto(self, name):
        self.page.goto(f"{self.server.address}{name}/", wait_until="commit")
        self.page.wait_for_selector("h1")
        return self.page

    @property
    def outside(self):
        """Every address that is not this server's."""
        here = self.server.address.split("//")[1]
        return [url for url in self.asked if not url.startswith(("data:", "blob:")) and url.split("/")[2] != here[:-1]]


@pytest.fixture
def person(browser, server):
    made = []

    def of(at=server, **options):
        made.append(Watched(browser, at, **options))
        return made[-1]

    yield of
    for one in made:
        one.context.close()
