# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Forecasts: how good every predictor in the ledger was, and how that drifted."""

import marimo

app = marimo.App(width="medium", app_title="Forecasts - reckoner")


@app.cell(hide_code=True)
def imports():
    import marimo as mo

    from reckoner.web import forecasts, look
    from reckoner.web.visit import Visit

    return Visit, forecasts, look, mo


@app.cell(hide_code=True)
def who(Visit, mo):
    visit = Visit.of(mo.app_meta().request.meta)
    return (visit,)


@app.cell(hide_code=True)
def head(look, mo):
    mo.Html(
        look.header("forecasts", "How good every predictor was: physics, calibrator, and people, scored the same way.")
    )
    return


@app.cell(hide_code=True)
def again(mo):
    refresh = mo.ui.run_button(label="Read the ledger again")
    return (refresh,)


@app.cell(hide_code=True)
def found(forecasts, refresh, visit):
    refresh.value
    with visit.ledger() as opened:
        scored = forecasts.read(opened)
    return (scored,)


@app.cell(hide_code=True)
def controls(forecasts, mo, refresh, scored):
    metric = mo.ui.dropdown(options=[forecasts.EVERY, *scored.metrics], value=forecasts.EVERY, label="Metric")
    predictor = mo.ui.dropdown(options=[forecasts.EVERY, *scored.predictors], value=forecasts.EVERY, label="Predictor")
    by_model = mo.ui.checkbox(value=False, label="A row for each model")
    mo.hstack([metric, predictor, by_model, refresh], justify="start", align="center", wrap=True, gap=1)
    return by_model, metric, predictor


@app.cell(hide_code=True)
def shown(by_model, forecasts, metric, mo, predictor, scored):
    mo.Html(forecasts.show(scored, metric=metric.value, predictor=predictor.value, by_model=by_model.value))
    return


if __name__ == "__main__":
    app.run()
