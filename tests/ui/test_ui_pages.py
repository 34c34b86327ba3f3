"""Every page in a real browser: nothing from outside, no error, readable by everyone, at every width."""

import signal
import socket
import urllib.error
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe

from reckoner.ledger import Ledger, request
from reckoner.web.look import TITLES

SHOWN = {"curves": "figure", "prices": "figure", "forecasts": ".rk .note, .rk table", "ledger": ".rk .note, .rk table"}


# Elements that reach beyond the screen, other than those that scroll inside their own box.
BEYOND = """[...document.querySelectorAll('#App *')]
  .filter(e => !e.closest('.scroll, pre, svg') && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 120))"""


def violations(page):
    """What axe-core finds, in words."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found]


def test_every_page_is_whole_for_everyone_at_every_width_and_asks_nothing_of_anyone_else(person):
    watched = person()
    for name, shown in SHOWN.items():
        page = watched.goto(name)
        page.wait_for_selector(shown)
        assert page.title() == f"{TITLES[name]} - reckoner"
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_selector(f"body.{scheme}")
            assert violations(page) == [], (name, scheme)
        for width in (1920, 1024, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(BEYOND) == [], (name, width)
    assert watched.errors == []
    assert watched.asked
    assert watched.outside == []


def test_by_keyboard_a_bucket_and_a_rate_are_chosen_and_drawings_and_numbers_fit_a_phone(person):
    page = person(width=390).goto("prices")
    page.get_by_role("combobox", name="Bucket").focus()
    page.keyboard.type("tense")
    page.get_by_role("heading", name="CpQU by tense").wait_for()
    page.locator("figure svg.narrow").first.wait_for()
    assert not page.locator("figure svg.wide").first.is_visible()
    page.get_by_role("img", name="Cost per quality unit by tense").first.wait_for()
    page.locator("figure summary").first.press("Enter")
    page.locator("figure table").first.wait_for()
    rate = page.get_by_role("textbox", name="USD per hour", exact=True)
    rate.fill("0.1")
    rate.press("Enter")
    page.get_by_text("What if: $0.1 per hour").wait_for()  # and the record stays, which tests/web holds


def test_what_the_ledger_holds_is_searched_shown_in_full_checked_and_taken_away(person, server):
    with Ledger.open(server.ledger) as ledger:
        ledger.predict("run-1", "ann", {"e2e_s": 2.0})
        ledger.record(request("run-1", model="tutor", prompt_tokens=8, e2e_s=2.5))
        ledger.decide("launch", "two unicorns", because="cheapest")
    watched = person()
    page = watched.goto("ledger")
    box = page.get_by_label("Search")
    box.fill("UNICORNS")
    box.press("Enter")
    page.get_by_text("1 of ").wait_for()
    page.get_by_role("cell", name="two unicorns").wait_for()
    page.get_by_label("Entry in full").fill("1")
    page.get_by_label("Entry in full").press("Enter")
    page.get_by_role("heading", name="Entry 1-").wait_for()
    page.get_by_role("button", name="Check the chain").press("Enter")
    page.get_by_text("every entry is as it was written").wait_for()
    with page.expect_download() as waited:
        page.get_by_text("Export as JSONL").click()
    lines = waited.value.path().read_text().splitlines()
    with Ledger.open(server.ledger) as ledger:
        assert len(lines) == len(ledger)
    page = watched.goto("forecasts")
    page.get_by_role("cell", name="ann").first.wait_for()
    assert watched.errors == []


def test_ctrl_c_ends_the_server_without_a_complaint(start, person):
    server = start()
    person(at=server).goto("ledger")
    assert server.stop(signal.SIGINT) == 0
    assert server.log.read_text() == "Ctrl-C ends the server\n"


def test_a_taken_port_is_told_in_one_sentence_with_the_remedy(run_cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_cli("app", "--no-browser", "--port", str(port))
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"port {port} cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_server_listens_on_this_machine_only_and_refuses_to_run_or_edit_code(server):
    from reckoner.web.gate import COOKIE

    for call in ("run", "execute", "scratchpad/run", "shutdown", "takeover", "restart_session"):
        asked = urllib.request.Request(
            f"{server.address}ledger/api/kernel/{call}",
            data=b"{}",
            headers={"Cookie": f"{COOKIE}={'a' * 32}", "Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked)
        assert refused.value.code == 403
        refused.value.close()
    port = int(server.address.rstrip("/").split(":")[-1])
    elsewhere = socket.gethostbyname(socket.gethostname())
    if not elsewhere.startswith("127."):
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((elsewhere, port), timeout=2)
