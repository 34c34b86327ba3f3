# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Ledger: history, search, one entry in full, the chain checked, everything to take away."""

import marimo

app = marimo.App(width="medium", app_title="Ledger - reckoner")


@app.cell(hide_code=True)
def imports():
    import marimo as mo

    from reckoner.web import ledger, look
    from reckoner.web.visit import Visit

    return Visit, ledger, look, mo


@app.cell(hide_code=True)
def who(Visit, mo):
    visit = Visit.of(mo.app_meta().request.meta)
    return (visit,)


@app.cell(hide_code=True)
def head(look, mo):
    mo.Html(
        look.header("ledger", "Every prediction committed before its outcome, every outcome, nothing ever changed.")
    )
    return


@app.cell(hide_code=True)
def controls(ledger, mo):
    text = mo.ui.text(label="Search", placeholder="subject, model, id, date")
    kind = mo.ui.dropdown(options=list(ledger.KINDS), value=ledger.EVERY, label="Kind")
    last = mo.ui.dropdown(
        options={f"{count:,} newest": count for count in ledger.LAST},
        value=f"{ledger.LAST[0]:,} newest",
        label="Among the",
    )
    refresh = mo.ui.run_button(label="Read again")
    mo.hstack([text, kind, last, refresh], justify="start", align="center", wrap=True, gap=1)
    return kind, last, refresh, text


@app.cell(hide_code=True)
def shown(kind, last, ledger, mo, refresh, text, visit):
    refresh.value
    with visit.ledger() as history:
        found = ledger.search(history, kind=kind.value, text=text.value, last=last.value)
    mo.Html(ledger.show(found))
    return


@app.cell(hide_code=True)
def more(ledger, mo, visit):
    def whole():
        with visit.ledger() as chain:
            return ledger.exported(chain)

    entry = mo.ui.text(label="Entry in full", placeholder="number, id or first digits of the hash")
    check = mo.ui.run_button(label="Check the chain")
    take = mo.download(data=whole, filename="ledger.jsonl", mimetype="application/x-ndjson", label="Export as JSONL")
    mo.hstack([entry, check, take], justify="start", align="center", wrap=True, gap=1)
    return check, entry


@app.cell(hide_code=True)
def one(entry, ledger, mo, visit):
    with visit.ledger() as book:
        full = ledger.detail(book, entry.value)
    mo.Html(full)
    return


@app.cell(hide_code=True)
def verified(check, ledger, mo, visit):
    mo.stop(not check.value)
    with visit.ledger() as verifying:
        outcome = ledger.checked(verifying)
    mo.Html(outcome)
    return


if __name__ == "__main__":
    app.run()
