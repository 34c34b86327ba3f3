"""Both acts in a real browser, by keyboard and by mouse; a lock that nothing takes back; every failure repaired."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from reckoner.audit import lesson
from reckoner.audit.brief import brief
from reckoner.audit.run import audit
from reckoner.ledger import Ledger
from reckoner.ledger.exchange import import_seed_ledger

# The focused element, through shadow trees, and its name.
FOCUSED = """() => {
  let e = document.activeElement;
  while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;
  if (!e) return '';
  const label = e.labels && e.labels.length ? e.labels[0].innerText : '';
  const by = e.getAttribute('aria-labelledby');
  const other = by ? by.split(' ').map(id => e.getRootNode().getElementById(id)).filter(Boolean) : [];
  return e.getAttribute('aria-label') || other.map(o => o.innerText).join(' ') || label || e.innerText || '';
}"""
BEYOND = """[...document.querySelectorAll('#App *')]
  .filter(e => !e.closest('.scroll, pre, svg') && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 120))"""


def tab_to(page, name, presses=250):
    """Press Tab until the element of that name has the focus."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if name in page.evaluate(FOCUSED):
            return
    raise AssertionError(f"no Tab reaches {name!r}")


def choose(page, name, options):
    """Tab into a question and move with the arrow keys to an option."""
    for _ in range(250):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED) in options.values():
            break
    for _ in options:
        if name in page.evaluate(FOCUSED):
            page.keyboard.press("Space")
            return
        page.keyboard.press("ArrowDown")
    raise AssertionError(f"no arrow key reaches {name!r}")


def open_audit(watched):
    page = watched.goto("audit")
    page.get_by_role("heading", name="Act I").wait_for()
    return page


def lock(page, act, option, number):
    """Lock a prediction with the mouse."""
    asked = "Which share" if act == 1 else "By which factor"
    page.get_by_role("radio", name=option).click()
    box = page.get_by_role("textbox", name=asked)
    box.fill(number)
    box.press("Tab")
    page.get_by_role("button", name=f"Lock my prediction of act {'I' * act}", exact=True).click()
    page.get_by_text("Locked").nth(act - 1).wait_for()


def both_locked(watched):
    page = open_audit(watched)
    lock(page, 1, "Queueing", "0.7")
    lock(page, 2, "Cloud", "20")
    page.get_by_role("heading", name="Physics check").wait_for()
    page.get_by_role("button", name="Fix:").first.wait_for()
    return page


def violations(page):
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found]


def predictions(server, person=None):
    with Ledger.open(server.ledger) as ledger:
        found = [kept.body for kept in ledger.entries(kind="prediction") if kept.body["subject"].startswith("audit ")]
    return [body for body in found if person in (None, body["predictor"])]


@pytest.fixture
def history(server, tmp_path):
    """Fourteen labs of the seed's world in the ledger."""
    labs = [{"chapter": n, "design": {"context": "edge", "act1_correct": n != 13}} for n in range(1, 15)]
    file = tmp_path / "mlsys.json"
    file.write_text(json.dumps({"track": "t", "current_chapter": 15, "history": labs, "last_updated": "x"}))
    with Ledger.open(server.ledger) as ledger:
        import_seed_ledger(ledger, file)


def test_both_acts_by_keyboard_alone_down_to_the_save(person, server, history):
    watched = person()
    page = open_audit(watched)
    before = len(predictions(server))
    choose(page, "Queueing", lesson.ACT_1.options)
    tab_to(page, "Which share")
    page.keyboard.press("Control+A")
    page.keyboard.type("0.5")
    tab_to(page, "Lock my prediction of act I")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Mental model report card").wait_for()
    page.get_by_text("Your weakest invariant is little").wait_for()
    page.get_by_text("off by 1.86 ×").wait_for()
    choose(page, "Mobile", lesson.ACT_2.options)
    tab_to(page, "By which factor")
    page.keyboard.press("Control+A")
    page.keyboard.type("500")
    tab_to(page, "Lock my prediction of act II")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Physics check").wait_for()
    page.get_by_text("off by 1.22 ×").wait_for()
    tab_to(page, "Replicas")
    page.keyboard.press("ArrowRight")
    page.get_by_text("3 × h100").first.wait_for()
    for asks in lesson.REFLECTIONS.values():
        tab_to(page, asks)
        page.keyboard.type("A sentence.")
    tab_to(page, "I mean it")
    page.keyboard.press("Space")
    tab_to(page, "Save the audit")
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Saved audit").wait_for()
    page.get_by_role("button", name="Lock my prediction of act I", exact=True).wait_for()
    assert len(predictions(server)) == before + 2
    with Ledger.open(server.ledger) as ledger:
        saved = [kept.body["details"] for kept in ledger.entries(kind="decision", subject="chapter 16")][-1]
    assert (saved["act1_prediction"], saved["act2_prediction"]) == ("queuing", "mobile")
    assert (saved["act1_correct"], saved["act2_correct"]) == (True, True)
    assert saved["cloud_hardware"] == "h100x3"
    assert watched.errors == []
    assert watched.outside == []


def test_every_stage_by_mouse_is_readable_for_everyone_and_ends_in_a_feasible_design(person):
    watched = person(scheme="dark")
    page = open_audit(watched)
    assert violations(page) == []
    lock(page, 1, "Drift", "0.4")
    assert violations(page) == []
    lock(page, 2, "Mobile", "800")
    page.get_by_role("button", name="Fix:").first.wait_for()
    assert violations(page) == []
    for width in (1920, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(BEYOND) == []
    page.get_by_role("button", name="Find the smallest change").click()
    page.get_by_role("button", name="Apply this advice").click()
    page.get_by_text("nothing failed, and nothing is unknown").wait_for()
    page.get_by_text("all 17 promises are kept").first.wait_for()
    assert violations(page) == []
    page.reload(wait_until="commit")
    page.get_by_text("nothing failed, and nothing is unknown").wait_for()  # the design outlives a reload
    assert watched.errors == []
    assert watched.outside == []


def test_nothing_takes_a_lock_back_neither_reload_nor_second_tab_nor_message(person, server):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    watched = person()
    sent, sockets = [], []
    stale = open_audit(watched)  # a tab that was open before the lock and still offers the question
    first = watched.open()
    first.on("request", lambda request: sent.append(request) if "set_ui_element_value" in request.url else None)
    first.on("websocket", lambda socket: sockets.append(socket.url))
    first.goto(f"{server.address}audit/")
    lock(first, 1, "Memory bandwidth", "0.25")
    (mine,) = [body for body in predictions(server) if body["figures"].get("share_right") == {"value": 0.25}]
    who = mine["predictor"]

    first.reload()
    first.get_by_text("Your number: 0.25").wait_for()
    assert first.get_by_role("button", name="Lock my prediction of act I", exact=True).count() == 0

    stale.get_by_role("radio", name="Drift").click()
    stale.get_by_role("button", name="Lock my prediction of act I", exact=True).click()
    stale.get_by_text("Your number: 0.25").wait_for()
    assert len(predictions(server, who)) == 1

    # the very messages that locked it, sent again with another option
    for request in sent:
        told = json.loads(request.post_data)
        told["values"] = [1 if value is None or isinstance(value, int) else "drift" for value in told["values"]]
        answer = watched.context.request.post(request.url, data=json.dumps(told), headers=request.headers)
        assert answer.status in (200, 403, 404)
    first.reload()
    first.get_by_text("Your number: 0.25").wait_for()
    assert predictions(server, who) == [mine]

    # a websocket of one's own: with the cookie it changes nothing, without it or from elsewhere it is not let in
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in watched.context.cookies())
    told = {"type": "set_ui_element_value", "object_ids": ["lock_1"], "values": [1]}
    with connect(
        re.sub(r"session_id=[^&]+", "session_id=s_mine01", sockets[-1]), additional_headers={"Cookie": cookie}
    ) as own:
        own.send(json.dumps(told))
        own.recv(timeout=5)
    for headers in ({}, {"Cookie": cookie, "Origin": "http://evil.example"}):
        with pytest.raises(InvalidStatus, match="403"):
            connect(sockets[-1], additional_headers=headers)
    assert predictions(server, who) == [mine]


def test_two_people_are_apart_and_neither_speaks_for_the_other(person):
    ann, bob = person(), person()
    sent = []
    page = ann.open()
    page.on("request", lambda request: sent.append(request) if "set_ui_element_value" in request.url else None)
    page.goto(f"{ann.server.address}audit/")
    lock(page, 1, "Queueing", "0.9")
    other = open_audit(bob)
    other.get_by_text("Act 1 is open").wait_for()
    assert other.get_by_text("Your number: 0.9").count() == 0
    request = sent[-1]
    headers = {name: value for name, value in request.headers.items() if name != "cookie"}
    answer = bob.context.request.post(request.url, data=request.post_data, headers=headers)
    assert answer.status == 403
    assert "another person's" in answer.text()


def test_every_kind_of_failure_is_raised_by_a_control_named_and_repaired_on_a_click(person):
    watched = person()
    page = both_locked(watched)

    def banner(words):
        return page.get_by_role("note").filter(has_text=words)

    def repaired(words, button, changed):
        banner(words).wait_for()
        page.get_by_role("button", name=button).first.click()
        banner("Changed:").filter(has_text=changed).wait_for()
        banner(words).wait_for(state="detached")

    repaired("Cloud, capacity", "Fix: cloud: replicas", "cloud: replicas 2 -> ")
    repaired("TinyML, flash", "Fix: tinyml: params", "tinyml: params")
    repaired("drift (PSI)", "Fix: retrain days", "retrain days 30 -> 25")
    formats = page.get_by_role("combobox", name="Number format of the weights")
    formats.nth(2).select_option("fp16")
    repaired("Mobile, memory", "Fix: mobile: weights", "mobile: weights fp16 -> int")
    gap = page.get_by_role("slider", name="Allowed gap between groups [%]")
    gap.focus()
    gap.press("Home")
    repaired("fairness gap", "Fix: max gap", "max gap 0 -> 0.03")
    for tier in ("cloud", "edge", "mobile"):
        page.get_by_role("button", name=f"repair the {tier} tier").click()
        banner(f"{tier.capitalize()}, E2E P99").wait_for(state="detached")
    page.get_by_text("nothing failed, and nothing is unknown").wait_for()
    cost = page.get_by_role("textbox", name="Cost of 1,000 requests [USD]")
    cost.fill("0.000001")
    cost.press("Tab")
    banner("cost per request").wait_for()
    cost.fill("1")
    cost.press("Tab")
    page.get_by_text("nothing failed, and nothing is unknown").wait_for()
    page.get_by_role("button", name="Promises and cadence: more").click()
    quality = page.get_by_role("textbox", name="Quality [%]; 0 promises nothing")
    quality.fill("70")
    quality.press("Tab")
    banner("Whole system, quality").first.wait_for()
    page.get_by_text("? unknown").first.wait_for()  # nobody measured it, so it is no pass
    assert watched.errors == []


def test_the_downloads_hold_the_audit_that_is_shown_and_a_save_needs_a_tick_and_every_answer(person, server):
    page = both_locked(person())
    found = {}
    for name in ("Markdown", "JSON", "Offline page"):
        with page.expect_download() as waited:
            page.get_by_role("link", name=name).click()
        found[waited.value.suggested_filename] = waited.value.path().read_text()
    told = json.loads(found["audit.json"])
    expected = json.loads(json.dumps(audit(brief()).to_dict()))
    assert {key: told[key] for key in expected} == expected
    assert told["lesson"]["act1"]["predicted"] == 0.7
    assert len(told["incomplete"]) >= len(lesson.REFLECTIONS)
    assert "8 of 17 promises fail" in found["audit.md"]
    for line in told["incomplete"]:
        assert line.split(" - ")[0] in found["audit.md"]
    assert found["audit.html"].startswith("<!doctype html>")
    page.get_by_role("button", name="Save the audit").click()
    page.get_by_text("Tick the box first").wait_for()
    page.get_by_role("checkbox", name="I mean it").click()
    page.get_by_role("button", name="Save the audit").click()
    page.get_by_text("reflection is missing").wait_for()
    with Ledger.open(server.ledger) as ledger:
        whose = predictions(server)[-1]["predictor"]
        assert lesson.rounds(ledger, whose) == 0
