# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Curves: what a KV cache costs and saves, measured against theory."""

import marimo

app = marimo.App(width="medium", app_title="Curves - reckoner")


@app.cell(hide_code=True)
def imports():
    import marimo as mo

    from reckoner.web import curves, look
    from reckoner.web.visit import Visit

    return Visit, curves, look, mo


@app.cell(hide_code=True)
def who(Visit, mo):
    visit = Visit.of(mo.app_meta().request.meta)
    return (visit,)


@app.cell(hide_code=True)
def head(look, mo):
    mo.Html(look.header("curves", "What a KV cache costs and saves, measured here, against what theory says."))
    return


@app.cell(hide_code=True)
def found(curves, visit):
    run = curves.read(visit.sources.curves)
    return (run,)


@app.cell(hide_code=True)
def controls(mo, run):
    which = mo.ui.dropdown(
        options=["all", *run.names], value=run.names[0] if run.names else "all", label="Decoder and engine"
    )
    which if run.names else None
    return (which,)


@app.cell(hide_code=True)
def shown(curves, mo, run, which):
    mo.Html(curves.show(run, which.value))
    return


if __name__ == "__main__":
    app.run()
