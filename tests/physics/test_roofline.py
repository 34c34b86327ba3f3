import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import roofline

positive = st.floats(1e-9, 1e18)


@given(positive, positive, st.floats(1e6, 1e16), st.floats(1e6, 1e13))
def test_time_is_work_over_attainable_rate(flops, moved, peak, bandwidth):
    rate = roofline.attainable(roofline.intensity(flops, moved), peak, bandwidth)
    assert roofline.time(flops, moved, peak, bandwidth) == pytest.approx(flops / rate, rel=1e-9)


@given(st.floats(1e6, 1e16), st.floats(1e6, 1e13))
def test_at_the_ridge_both_resources_take_equally_long(peak, bandwidth):
    intensity = roofline.ridge(peak, bandwidth)
    assert roofline.time(intensity, 1.0, peak, bandwidth) == pytest.approx(1.0 / bandwidth, rel=1e-9)


@given(positive, positive, positive, positive, st.floats(1.01, 10))
def test_more_bandwidth_or_arithmetic_never_slows(flops, moved, peak, bandwidth, factor):
    before = roofline.time(flops, moved, peak, bandwidth)
    assert roofline.time(flops, moved, peak * factor, bandwidth) <= before
    assert roofline.time(flops, moved, peak, bandwidth * factor) <= before


@given(st.floats(0, 1e150), st.floats(0, 1e150), st.floats(1, 50))
def test_the_smooth_maximum_lies_between_maximum_and_sum(a, b, order):
    smooth = roofline.smooth_maximum(a, b, order)
    assert max(a, b) <= smooth * (1 + 1e-12)
    assert smooth <= (a + b) * (1 + 1e-12)
    assert smooth <= max(a, b) * 2 ** (1 / order) * (1 + 1e-12)
    assert smooth == roofline.smooth_maximum(b, a, order)


def test_the_smooth_maximum_sharpens_to_the_maximum():
    assert roofline.smooth_maximum(2.0, 3.0, 500) == pytest.approx(3.0, rel=1e-12)
    assert roofline.smooth_maximum(0.0, 0.0) == 0.0


@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), st.floats(1e-6, 1e6))
def test_the_smooth_maximum_has_the_dimension_of_its_inputs(a, b, scale):
    assert roofline.smooth_maximum(a * scale, b * scale) == pytest.approx(
        scale * roofline.smooth_maximum(a, b), rel=1e-9
    )


def test_scalars_and_arrays_agree():
    a, b = np.array([1.0, 5.0, 0.0]), np.array([2.0, 1.0, 0.0])
    together = roofline.smooth_maximum(a, b, 4)
    one_by_one = [roofline.smooth_maximum(float(x), float(y), 4) for x, y in zip(a, b, strict=True)]
    assert np.allclose(together, one_by_one, rtol=1e-14, atol=0)
    assert all(math.isfinite(x) for x in one_by_one)
