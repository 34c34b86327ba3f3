import pytest

from reckoner.catalogue.find import device, model
from reckoner.design import Design, Serving
from reckoner.errors import InputError
from reckoner.predict.efficiency import IDEAL, PRIOR
from reckoner.predict.prediction import predict
from reckoner.report.roofline_figure import roofline_chart


def chart(efficiency=PRIOR, **serving):
    design = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(**serving))
    return roofline_chart(predict(design, efficiency=efficiency))


@pytest.mark.parametrize("efficiency", [PRIOR, IDEAL])
@pytest.mark.parametrize(
    "serving",
    [
        {},
        {"batch": 64},
        {"tp": 4, "batch": 8},
        {"weights": "fp8"},
        {"batch": 8, "draft_tokens": 4},
        {"prefill_replicas": 1, "prefill_tp": 4},
    ],
)
def test_no_pass_lies_above_the_roof(efficiency, serving):
    drawn = chart(efficiency, **serving)
    roof, *dots = drawn.series
    peak, corner = max(roof.y), roof.x[roof.y.index(max(roof.y))]
    assert len(dots) == 2
    for dot in dots:
        assert dot.y[0] <= min(peak, peak * dot.x[0] / corner) * (1 + 1e-9)


def test_the_roof_is_bandwidth_then_peak():
    roof = chart().series[0]
    assert max(roof.y) == 989.4
    assert roof.y[0] / roof.x[0] == pytest.approx(3.35)  # TFLOP/s for each FLOP/byte: 3.35 TB/s


def test_a_grid_has_no_single_picture():
    with pytest.raises(InputError, match="draw the roofline of one of them"):
        chart(batch=[1, 2])
