# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Audit: predict, lock, look, compare, design, reflect, save once on purpose."""

import marimo

app = marimo.App(width="medium", app_title="Audit - reckoner")


@app.cell(hide_code=True)
def imports():
    import marimo as mo

    from reckoner.audit import lesson
    from reckoner.audit.advise import advise
    from reckoner.audit.brief import brief
    from reckoner.audit.repair import repair_tier
    from reckoner.audit.report_card import report_card
    from reckoner.audit.run import audit
    from reckoner.errors import ReckonerError
    from reckoner.web import acts, look, panel, widgets
    from reckoner.web.design import controls, plan_of_values
    from reckoner.web.drafts import draft, keep
    from reckoner.web.parcel import Parcel
    from reckoner.web.views import block, note
    from reckoner.web.visit import Visit

    return (
        Parcel,
        ReckonerError,
        Visit,
        acts,
        advise,
        audit,
        block,
        brief,
        controls,
        draft,
        keep,
        lesson,
        look,
        mo,
        note,
        panel,
        plan_of_values,
        repair_tier,
        report_card,
        widgets,
    )


@app.cell(hide_code=True)
def who(Visit, mo):
    visit = Visit.of(mo.app_meta().request.meta)
    return (visit,)


@app.cell(hide_code=True)
def head(look, mo):
    mo.Html(look.header("audit", "Predict, lock, look. Then repair a design until every promise is kept."))
    return


@app.cell(hide_code=True)
def states(brief, draft, mo, visit):
    turn, set_turn = mo.state(0)
    base, set_base = mo.state(draft(visit.person, brief()))
    changed, set_changed = mo.state("")
    return base, changed, set_base, set_changed, set_turn, turn


@app.cell(hide_code=True)
def standing(acts, audit, brief, lesson, report_card, turn, visit):
    # Read from the ledger at each turn. What a lock hides is not even computed before the lock is there.
    turn()
    with visit.ledger() as _ledger:
        first = lesson.locked(_ledger, visit.person, lesson.ACT_1)
        second = lesson.locked(_ledger, visit.person, lesson.ACT_2)
        saved = acts.last_saved(_ledger, visit.person)
        record = report_card(_ledger, visit.person) if first is not None else None
        earlier = acts.recommendations(_ledger) if first is not None else ""
    told = (first, lesson.reveal_history(first, record)) if first is not None else None
    shown = (second, lesson.reveal_tier(second, audit(brief()))) if second is not None else None
    return earlier, first, record, saved, second, shown, told


@app.cell(hide_code=True)
def last_time(acts, mo, saved):
    mo.Html(acts.saved_hud(saved)) if saved is not None else None
    return


@app.cell(hide_code=True)
def act_1(acts, block, mo):
    mo.Html(block((acts.ACT_1_INTRO,), title="Act I: what your record says"))
    return


@app.cell(hide_code=True)
def ask_1(acts, first, lesson, mo, widgets):
    choice_1, figure_1, lock_1 = widgets.question(lesson.ACT_1)
    mo.Html(acts.locked_words(lesson.ACT_1, first)) if first is not None else mo.vstack([choice_1, figure_1, lock_1])
    return choice_1, figure_1, lock_1


@app.cell(hide_code=True)
def do_lock_1(acts, choice_1, figure_1, lesson, lock_1, mo, note, set_turn, visit):
    mo.stop(not lock_1.value)
    _said = acts.lock(visit, lesson.ACT_1, choice_1.value, figure_1.value)
    mo.Html(note(_said, "fail")) if _said else set_turn(lambda old: old + 1)
    return


@app.cell(hide_code=True)
def reveal_1(acts, mo, record, told):
    mo.stop(told is None, mo.Html(acts.before_lock(1)))
    mo.Html(acts.reveal_words(told[1]) + acts.card(record) + acts.equations())
    return


@app.cell(hide_code=True)
def act_2(acts, block, earlier, first, mo):
    mo.stop(first is None)
    mo.Html(block((acts.ACT_2_INTRO,), title="Act II: the whole stack") + earlier)
    return


@app.cell(hide_code=True)
def ask_2(acts, first, lesson, mo, second, widgets):
    mo.stop(first is None)
    choice_2, figure_2, lock_2 = widgets.question(lesson.ACT_2)
    mo.Html(acts.locked_words(lesson.ACT_2, second)) if second is not None else mo.vstack([choice_2, figure_2, lock_2])
    return choice_2, figure_2, lock_2


@app.cell(hide_code=True)
def do_lock_2(acts, choice_2, figure_2, first, lesson, lock_2, mo, note, set_turn, visit):
    mo.stop(first is None or not lock_2.value)
    _said = acts.lock(visit, lesson.ACT_2, choice_2.value, figure_2.value)
    mo.Html(note(_said, "fail")) if _said else set_turn(lambda old: old + 1)
    return


@app.cell(hide_code=True)
def knobs(base, controls, mo, second, widgets):
    mo.stop(second is None)
    groups = controls(base())
    form = widgets.form(groups)
    # Shown by the cell that makes them: another one would draw them all anew at every move of one of them.
    widgets.layout(form, groups)
    return (form,)


@app.cell(hide_code=True)
def design(ReckonerError, audit, base, form, keep, plan_of_values, visit):
    # A design that cannot be built or judged (a device without a link, tp 2) is told in a sentence; the last good one
    # stays in sight.
    try:
        found, refused = audit(plan_of_values(base(), form.value)), ""
        keep(visit.person, found.plan)
    except ReckonerError as _error:
        found, refused = audit(base()), str(_error)
    return found, refused


@app.cell(hide_code=True)
def live(acts, changed, first, found, mo, note, panel, refused, second):
    mo.Html(
        (note(f"{refused} The figures below are of the design before.", "fail") if refused else "")
        + (note(f"**Changed:** {changed()}", "pass") if changed() else "")
        + acts.live_hud(found, first, second)
        + panel.panel(found)
    )
    return


@app.cell(hide_code=True)
def failures(found, mo, note, panel, repair_tier, set_base, set_changed):
    raised = panel.banners(found)
    offers = [offer for offer in raised if offer.button]

    def _apply(offer):
        def click(_):
            made = offer.made or repair_tier(found, offer.tier)
            if made is None:
                set_changed(f"nothing; no design of the catalogue repairs the {offer.tier} tier alone")
            else:
                set_changed(made.says)
                set_base(made.plan)

        return click

    fixes = mo.ui.array([mo.ui.button(label=offer.button, on_change=_apply(offer)) for offer in offers])
    _rows = []
    for _one in raised:
        _rows.append(mo.Html(panel.banner(_one)))
        if _one.button:
            _rows.append(fixes[[offer.verdict for offer in offers].index(_one.verdict)])
    mo.vstack([mo.Html(panel.BROKEN), *_rows]) if _rows else mo.Html(panel.all_kept(found))
    return (fixes,)


@app.cell(hide_code=True)
def map_of_tiers(found, mo, panel):
    mo.Html(panel.tier_map(found))
    return


@app.cell(hide_code=True)
def ask_advice(found, mo):
    seek = mo.ui.run_button(label="Find the smallest change of the whole plan that passes")
    None if found.feasible else seek
    return (seek,)


@app.cell(hide_code=True)
def advice_of(advise, found, mo, seek):
    if seek.value:
        with mo.status.spinner(title="Searching models, devices, formats, lengths and replicas"):
            advice = advise(found)
    else:
        advice = None
    return (advice,)


@app.cell(hide_code=True)
def show_advice(advice, mo, panel, set_base, set_changed):
    mo.stop(advice is None)

    def _take(_):
        set_changed("; ".join(map(str, advice.best.moves)))
        set_base(advice.best.audit.plan)

    take = mo.ui.button(label="Apply this advice", on_change=_take)
    _offered = advice.best is not None and bool(advice.best.moves)
    mo.vstack([mo.Html(panel.advised(advice)), *([take] if _offered else [])])
    return (take,)


@app.cell(hide_code=True)
def reveal_2(acts, mo, shown):
    mo.stop(shown is None)
    mo.Html(acts.REVEAL_2 + acts.reveal_words(shown[1]) + acts.equations())
    return


@app.cell(hide_code=True)
def reflect(acts, lesson, mo, second, turn, widgets):
    turn()
    mo.stop(second is None)
    reflection = widgets.reflection(lesson.REFLECTIONS)
    mo.vstack([mo.Html(acts.REFLECT), *reflection.elements.values()])
    return (reflection,)


@app.cell(hide_code=True)
def downloads(Parcel, advice, found, mo, panel, reflection, shown, told):
    parcel = Parcel(audit=found, advice=advice, first=told, second=shown, reflection=reflection.value)
    mo.vstack(
        [
            mo.Html(panel.open_ends(found, parcel.incomplete)),
            mo.hstack(
                [
                    mo.download(data=parcel.markdown, filename="audit.md", mimetype="text/markdown", label="Markdown"),
                    mo.download(data=parcel.json, filename="audit.json", mimetype="application/json", label="JSON"),
                    mo.download(data=parcel.html, filename="audit.html", mimetype="text/html", label="Offline page"),
                ],
                justify="start",
                wrap=True,
            ),
        ]
    )
    return (parcel,)


@app.cell(hide_code=True)
def ask_save(mo, second, turn):
    turn()
    mo.stop(second is None)
    sure = mo.ui.checkbox(label="I mean it: what is saved cannot be changed, and a new round begins")
    save = mo.ui.run_button(label="Save the audit to the ledger")
    mo.vstack([sure, save])
    return save, sure


@app.cell(hide_code=True)
def do_save(
    ReckonerError,
    audit,
    brief,
    found,
    lesson,
    mo,
    note,
    record,
    reflection,
    save,
    set_turn,
    sure,
    visit,
):
    mo.stop(not save.value)
    _said = ""
    if not sure.value:
        _said = "Tick the box first: what is saved cannot be changed."
    else:
        try:
            with visit.ledger() as _ledger:
                lesson.save(_ledger, visit.person, found, record, before=audit(brief()), reflection=reflection.value)
            set_turn(lambda old: old + 1)
        except ReckonerError as _error:
            _said = str(_error)
    mo.Html(note(_said, "fail")) if _said else None
    return


@app.cell(hide_code=True)
def keep_in_mind(acts, mo, second):
    mo.stop(second is None)
    mo.Html(acts.take_aways())
    return


if __name__ == "__main__":
    app.run()
