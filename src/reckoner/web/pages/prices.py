# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""Prices: cost per quality unit, over all items and bucket by bucket, at a rate of one's own."""

import marimo

app = marimo.App(width="medium", app_title="Prices - reckoner")


@app.cell(hide_code=True)
def imports():
    import marimo as mo

    from reckoner.web import look, prices
    from reckoner.web.visit import Visit

    return Visit, look, mo, prices


@app.cell(hide_code=True)
def who(Visit, mo):
    visit = Visit.of(mo.app_meta().request.meta)
    return (visit,)


@app.cell(hide_code=True)
def head(look, mo):
    mo.Html(look.header("prices", "What a version costs per unit of quality, and in which buckets the winner loses."))
    return


@app.cell(hide_code=True)
def found(prices, visit):
    frozen = prices.read(visit.sources.prices)
    return (frozen,)


@app.cell(hide_code=True)
def controls(frozen, mo, prices):
    recorded = frozen.inputs
    dimension = mo.ui.dropdown(options=list(prices.DIMENSIONS), value=prices.WHOLE, label="Bucket")
    usd_per_hour = mo.ui.number(
        start=0.0001, stop=1e6, step=0.0001, value=recorded.rate.usd_per_hour if recorded else 1.0, label="USD per hour"
    )
    usd_per_error = mo.ui.number(
        start=0.0, stop=1e6, step=0.0001, value=recorded.usd_per_error if recorded else 0.0, label="USD per error"
    )
    mo.hstack([dimension, usd_per_hour, usd_per_error], justify="start", wrap=True, gap=1) if recorded else None
    return dimension, usd_per_error, usd_per_hour


@app.cell(hide_code=True)
def shown(dimension, frozen, mo, prices, usd_per_error, usd_per_hour):
    mo.Html(
        prices.show(
            frozen,
            dimension=dimension.value,
            usd_per_hour=usd_per_hour.value,
            usd_per_error=usd_per_error.value,
        )
    )
    return


if __name__ == "__main__":
    app.run()
