"""One model's calibration: forecasts from mixed experts, learns from outcomes, knows how wide it misses."""

from __future__ import annotations

from collections import deque
from math import exp, log, sqrt
from typing import Any

from reckoner.calibrate import checks
from reckoner.calibrate.conformal import TAIL, Window
from reckoner.calibrate.drift import Drift, Watch
from reckoner.calibrate.experts import TINY, Linear, Ratio
from reckoner.calibrate.load import Correction, Load
from reckoner.calibrate.outcome import Forecast, Outcome
from reckoner.calibrate.priors import Prior, guess_provider, prior_of
from reckoner.errors import InputError

LINEAR_DECAYS = (0.8, 0.95, 0.997)
RATIO_DECAYS = (0.93, 0.997)
"""Memory of each expert per request: half-lives of 3, 14 and 231, and of 10 and 231. Chosen on the replayed streams."""

SHARE = 0.05
"""Weight that is shared evenly after each outcome, so that no expert is ever lost (fixed share, M. Herbster &
M. Warmuth, 1998). Chosen on the replayed streams: 0.01 reacts late to a change of regime."""

LANDMARK_PROMPT, LANDMARK_COMPLETION = 1000.0, 200.0
"""Where log regressors are zero: the same for all, so that two states can be added. Assumption: a usual request."""

YOUNG = 20
"""Outcomes at a load below which the interval of all loads is used."""

CROWD = 1.0
"""How much of the width is added per ``sqrt(in flight / outcomes at that load)``: requests in flight together miss
together, so a hundred outcomes of one crowd say little. Chosen on the replayed streams for a coverage of 0.9."""

MOST_CROWD = 2.0
"""Most widths that a crowd adds. Assumption."""

SLOW = 0.997
"""Memory of the mean ratio for totals."""

LENGTH_DECAY = 0.98
"""Memory of the usual completion length."""

FIRST_LENGTH = 100.0
"""Completion length assumed before any is seen. [tokens] Assumption."""

UNKNOWN = -1
"""Window of forecasts that were made without a completion length, alone; -2, -3, ... at a load, as 1, 2, ... where it
is known."""

_N = len(LINEAR_DECAYS) + len(RATIO_DECAYS)
_Z_PROMPT, _Z_COMPLETION, _LOG_TINY = log(LANDMARK_PROMPT), log(LANDMARK_COMPLETION), log(TINY)


_Said = tuple[
    tuple[float, float, float, float],
    tuple[float, float, float],
    float,
    tuple[float, float, float, float, float],
    float,
]


class ModelCalibration:
    """Calibration of one model.

    Parameters
    ----------
    model : str
        Name.
    provider : str, optional
        Whose prior to start from, ``local`` or ``cloud``; guessed from the name by default.

    Examples
    --------
    >>> calibration = ModelCalibration("timmy:v0.1-q4")
    >>> round(calibration.predict(512, 128))
    1580
    >>> for _ in range(30):
    ...     _ = calibration.update(512, 128, 3400.0)
    >>> abs(calibration.predict(512, 128) / 3400 - 1) < 0.01
    True
    """

    def __init__(self, model: str, provider: str | None = None) -> None:
        self.model = model
        self.provider = provider or guess_provider(model)
        self.scale = prior_of(self.provider)
        self.sample_count = 0
        self.last_updated = 0.0
        self.total_absolute_error_ms = 0.0
        self.total_predicted_ms = 0.0
        self.log_length, self.length_weight = log(FIRST_LENGTH), 1.0
        self.mean_ratio, self.ratio_weight = 1.0, 1.0
        self.unknown_count, self.unknown_error = 0, 0.0
        self.windows: dict[int, Window] = {}
        self.every, self.blind = Window(), Window()
        self.watch = Watch()
        self.correction = Correction()
        self.drifts: deque[Drift] = deque(maxlen=16)
        self.weights = [1.0 / _N] * _N
        self._start((1.0, 1.0, 1.0, 0.0))

    def _start(self, target: tuple[float, float, float, float]) -> None:
        """Begin at multiples of the provider's prior."""
        self.target = target
        self.linear = [Linear(decay, target) for decay in LINEAR_DECAYS]
        self.ratio = [Ratio(decay) for decay in RATIO_DECAYS]

    @property
    def confidence(self) -> float:
        """``1 - exp(-n / 10)``: how much was seen, not how good it is; the interval says that."""
        return 1.0 - exp(-self.sample_count / 10.0)

    @property
    def usual_completion_tokens(self) -> float:
        """Completion length to expect where none is given: decayed geometric mean."""
        return exp(self.log_length) - 1.0

    def coefficients(self) -> Prior:
        """Milliseconds overall, per prompt token, per completion token, per request in flight: the linear experts."""
        weights = self.weights[: len(self.linear)]
        total = sum(weights)
        parts = [
            unit * sum(w * e.answer[i] for w, e in zip(weights, self.linear, strict=True)) / total
            for i, unit in enumerate(self.scale)
        ]
        return Prior(*parts)

    def forecast(
        self, prompt: float, completion: float | None, in_flight: float = 0.0, load: Load | None = None
    ) -> Forecast:
        """Forecast a request of ``prompt`` and ``completion`` tokens (None: unknown) among others in flight."""
        window = int(in_flight + 1.0).bit_length() - 1
        if completion is None:
            completion, window = self.usual_completion_tokens, UNKNOWN - window
        _, _, _, logs, mixed = self.say(prompt, completion, in_flight, load)
        low, high, _ = self.around(window, in_flight)
        return Forecast(in_flight, logs, mixed, low, high, window, load)

    def say(self, prompt: float, completion: float, in_flight: float, load: Load | None) -> _Said:
        """What the linear and the ratio experts see, the log of the prior's forecast, each expert's log, the mixture.

        Written out, for calls cost more than sums.
        """
        s0, s1, s2, s3 = self.scale
        t0, t1, t2, _ = self.target
        u1, u2 = s1 * prompt, s2 * completion
        z0, z1 = log(prompt + 1.0) - _Z_PROMPT, log(completion + 1.0) - _Z_COMPLETION
        prior = t0 * s0 + t1 * u1 + t2 * u2
        prior = log(prior) if prior > TINY else _LOG_TINY
        first, second, third = self.linear
        fourth, fifth = self.ratio
        a0, a1, a2, a3 = first.answer
        b0, b1, b2, b3 = second.answer
        c0, c1, c2, c3 = third.answer
        d0, d1, d2, d3 = fourth.answer
        e0, e1, e2, e3 = fifth.answer
        x = a0 * s0 + a1 * u1 + a2 * u2
        y = b0 * s0 + b1 * u1 + b2 * u2
        z = c0 * s0 + c1 * u1 + c2 * u2
        v = prior + d0 + d1 * z0 + d2 * z1
        w = prior + e0 + e1 * z0 + e2 * z1
        u3 = z2 = 0.0
        if in_flight:
            u3, z2 = s3 * in_flight, log(in_flight + 1.0)
            x += a3 * u3
            y += b3 * u3
            z += c3 * u3
            v += d3 * z2
            w += e3 * z2
        x = log(x) if x > TINY else _LOG_TINY
        y = log(y) if y > TINY else _LOG_TINY
        z = log(z) if z > TINY else _LOG_TINY
        a, b, c, d, e = self.weights
        mixed = a * x + b * y + c * z + d * v + e * w
        if load is not None:
            mixed += self.correction.shift(load)
        return (s0, u1, u2, u3), (z0, z1, z2), prior, (x, y, z, v, w), mixed

    def around(self, window: int, in_flight: float) -> tuple[float, float, float]:
        """Ends of the 90 % interval, and the point where the expected relative error is least, from the mixture."""
        if not self.windows and not in_flight:
            low, high = self.every.ends
            return low, high, self.every.centre
        low, high = self.ends(window, in_flight)
        return low, high, self.centre(window)

    def ends(self, window: int, in_flight: float, outside: float = 2.0 * TAIL) -> tuple[float, float]:
        """Ends of an interval as log distances from the mixture, leaving a share ``outside`` of outcomes out."""
        own = self.windows.get(window)
        source = own if own is not None and own.count >= YOUNG else self._all(window)
        low, high = source.ends if outside == 2.0 * TAIL else source.interval(outside)
        if in_flight:
            seen = 0 if own is None else own.count
            crowd = CROWD * sqrt(in_flight / ((seen if seen < 200 else 200) + YOUNG))
            more = 0.5 * (crowd if crowd < MOST_CROWD else MOST_CROWD) * (high - low)
            return low - more, high + more
        return low, high

    def centre(self, window: int) -> float:
        """Log distance of the point forecast from the mixture, where the expected relative error is least."""
        own = self.windows.get(window)
        return self._all(window).centre if own is None else own.centre

    def _all(self, window: int) -> Window:
        """The window of all loads, for forecasts made with a completion length or without."""
        return self.blind if window < 0 and self.blind.count >= YOUNG else self.every

    def point(self, forecast: Forecast) -> float:
        """Forecast in milliseconds."""
        return exp(forecast.log + self.centre(forecast.window))

    def predict(self, prompt_tokens: float, completion_tokens: float | None = 0.0) -> float:
        """Forecast in milliseconds of a request on its own."""
        return self.point(self.forecast(prompt_tokens, completion_tokens))

    def update(self, prompt_tokens: float, completion_tokens: float, actual_ms: float) -> float:
        """Learn from one request on its own; return actual - predicted, in milliseconds."""
        return self.learn(Outcome(prompt_tokens, completion_tokens, actual_ms))

    def learn(self, outcome: Outcome) -> float:
        """Learn from an outcome and the forecast that was made when the request began, where one was.

        Experts are judged by what they said then: what they would say now has already seen this request's neighbours.

        Returns
        -------
        float
            Actual minus what would be predicted now. [ms]
        """
        prompt, completion, actual, in_flight, made, at, load = outcome
        window = int(in_flight + 1.0).bit_length() - 1
        if completion is None:
            completion, window = self.usual_completion_tokens, UNKNOWN - window
        else:
            self._learn_length(completion)
        u, z, prior, said, mixed = self.say(prompt, completion, in_flight, load)
        own = self.windows.get(window) or (self.every if window >= 0 else self._all(window))
        predicted = exp(mixed + own.centre)
        log_actual = log(actual)
        if made is None:
            low, high, _ = self.around(window, in_flight)
            self._score(log_actual - mixed, window, low, high, at)
            judged = said
        else:
            self._score(log_actual - made.log, made.window, made.low, made.high, at)
            judged = said if made.window < 0 else made.logs
        if load is not None:
            self.correction.learn(load, log_actual - mixed + self.correction.shift(load))
        first, second, third = self.linear
        fourth, fifth = self.ratio
        a, b, c, d, e = self.weights  # each times the odds of its forecast, then a little shared evenly
        a *= first.learn(u, said[0], judged[0], actual, log_actual)
        b *= second.learn(u, said[1], judged[1], actual, log_actual)
        c *= third.learn(u, said[2], judged[2], actual, log_actual)
        d *= fourth.learn(z, said[3], judged[3], prior, log_actual)
        e *= fifth.learn(z, said[4], judged[4], prior, log_actual)
        keep = (1.0 - SHARE) / (a + b + c + d + e)
        self.weights = [
            keep * a + SHARE / _N, keep * b + SHARE / _N, keep * c + SHARE / _N, keep * d + SHARE / _N,
            keep * e + SHARE / _N,
        ]  # fmt: skip
        self.sample_count += 1
        self.last_updated = max(self.last_updated, at)
        error = actual - predicted
        self.total_absolute_error_ms += abs(error)
        self.total_predicted_ms += predicted
        return error

    def _score(self, residual: float, window: int, low: float, high: float, at: float) -> None:
        """Hold an outcome against its forecast: interval, centre, totals, drift."""
        own = self._window(window)
        self.ratio_weight = weight = SLOW * self.ratio_weight + 1.0
        ratio = residual - (own or (self.every if window >= 0 else self._all(window))).centre
        ratio = exp(-20.0 if ratio < -20.0 else 20.0 if ratio > 20.0 else ratio)
        self.mean_ratio += (ratio - self.mean_ratio) / weight
        if own is not None:
            own.add(residual, low, high)
        if window < 0:
            self.blind.add(residual, low, high)
            self.unknown_count += 1
            self.unknown_error += abs(1.0 / ratio - 1.0)
            return
        self.every.add(residual, low, high)
        event = self.watch.add(residual)
        if event is not None:
            self.drifts.append(Drift(max(at, self.last_updated), event[0], event[1], self.sample_count + 1))

    def _window(self, key: int) -> Window | None:
        """The window of a load; None while all requests came alone, for then :attr:`every` is that window."""
        own = self.windows.get(key)
        if own is None and (key or self.windows):
            if not self.windows and self.every.count:
                self.windows[0] = Window.from_list(self.every.to_list())
            like = self._all(key)
            own = self.windows[key] = Window(like.twelve(), like.centre)
        return own

    def _learn_length(self, completion: float) -> None:
        if completion > 0.0:
            self.length_weight = LENGTH_DECAY * self.length_weight + 1.0
            self.log_length += (log(completion + 1.0) - self.log_length) / self.length_weight

    def check_mergeable(self, other: ModelCalibration) -> None:
        """Raise where ``other`` started from another prior than this.

        Raises
        ------
        InputError
            Another provider, or a state of version 1 was taken over on one side only.
        """
        if other.provider != self.provider:
            raise InputError(f"{self.model} is {self.provider} here and {other.provider} there; give both one provider")
        if other.scale != self.scale or other.target != self.target:
            raise InputError(f"{self.model} began from a state of version 1 on one side only; sums do not add up")

    def absorb(self, other: ModelCalibration) -> None:
        """Add what another calibration of the same model has learned.

        Raises
        ------
        InputError
            They started from different priors.
        """
        self.check_mergeable(other)
        total = self.sample_count + other.sample_count
        if other.sample_count == 0:
            return
        share = other.sample_count / total
        for mine, theirs in zip((*self.linear, *self.ratio), (*other.linear, *other.ratio), strict=True):
            mine.absorb(theirs)
            mine.read_out()
        self.weights = [(1.0 - share) * a + share * b for a, b in zip(self.weights, other.weights, strict=True)]
        for key, window in other.windows.items():
            self.windows.setdefault(key, Window()).absorb(window)
        self.every.absorb(other.every)
        self.blind.absorb(other.blind)
        self.correction.absorb(other.correction)
        self.log_length += share * (other.log_length - self.log_length)
        self.length_weight += other.length_weight
        self.mean_ratio += share * (other.mean_ratio - self.mean_ratio)
        self.ratio_weight += other.ratio_weight
        self.unknown_count += other.unknown_count
        self.unknown_error += other.unknown_error
        self.sample_count = total
        self.last_updated = max(self.last_updated, other.last_updated)
        self.total_absolute_error_ms += other.total_absolute_error_ms
        self.total_predicted_ms += other.total_predicted_ms
        self.drifts.extend(other.drifts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the state file; the fields of version 1 come first, under their names."""
        overhead, prompt, completion, _ = self.coefficients()
        return {
            "model": self.model,
            "provider": self.provider,
            "sample_count": self.sample_count,
            "last_updated": self.last_updated,
            "ms_per_prompt_token": prompt,
            "ms_per_completion_token": completion,
            "base_overhead_ms": overhead,
            "total_absolute_error_ms": self.total_absolute_error_ms,
            "total_predicted_ms": self.total_predicted_ms,
            "scale": list(self.scale),
            "target": list(self.target),
            "linear": [expert.to_list() for expert in self.linear],
            "ratio": [expert.to_list() for expert in self.ratio],
            "weights": self.weights,
            "every": self.every.to_list(),
            "blind": self.blind.to_list(),
            "windows": {str(key): window.to_list() for key, window in sorted(self.windows.items())},
            "watch": self.watch.to_list(),
            "load": self.correction.to_list(),
            "drifts": [list(drift) for drift in self.drifts],
            "length": [self.log_length, self.length_weight],
            "totals": [self.mean_ratio, self.ratio_weight],
            "unknown": [self.unknown_count, self.unknown_error],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], provider: str | None = None) -> ModelCalibration:
        """Read what :meth:`to_dict` wrote, or a model of a version 1 state file.

        A version 1 model predicts exactly as it did, and keeps its counts; its coefficients become the prior.

        Raises
        ------
        KeyError, TypeError, ValueError
            A field is missing or is not what it should be.
        """
        model = str(values["model"])
        calibration = cls(model, values.get("provider", provider))
        count = values.get("sample_count", 0)
        calibration.sample_count = int(checks.number("sample_count", count, 1e15, "outcomes"))
        for field in ("last_updated", "total_absolute_error_ms", "total_predicted_ms"):
            setattr(calibration, field, checks.number(field, values.get(field, 0.0), 1e30, "units"))
        if "linear" not in values:
            fields = ("base_overhead_ms", "ms_per_prompt_token", "ms_per_completion_token")
            seed = [checks.number(field, values[field], 1e12, "milliseconds") for field in fields]
            wide = [max(was, usual) for was, usual in zip(seed, calibration.scale, strict=False)]
            calibration.scale = Prior(wide[0], wide[1], wide[2], calibration.scale.in_flight)
            calibration._start((seed[0] / wide[0], seed[1] / wide[1], seed[2] / wide[2], 0.0))
            return calibration
        calibration.scale = Prior(*(float(v) for v in values["scale"]))
        target = tuple(float(v) for v in values["target"])
        calibration._start((target[0], target[1], target[2], target[3]))
        calibration.linear = [Linear.from_list(v, calibration.target) for v in values["linear"]]
        calibration.ratio = [Ratio.from_list(v) for v in values["ratio"]]
        calibration.weights = [float(w) for w in values["weights"]]
        if not len(calibration.linear) + len(calibration.ratio) == len(calibration.weights) == _N:
            raise ValueError(f"{model} has {len(calibration.weights)} experts, not {_N}")
        calibration.every = Window.from_list(values["every"])
        if "blind" in values:  # added later to version 2
            calibration.blind = Window.from_list(values["blind"])
        calibration.windows = {int(key): Window.from_list(value) for key, value in values["windows"].items()}
        calibration.watch = Watch.from_list(values["watch"])
        calibration.correction = Correction.from_list(values["load"])
        calibration.drifts.extend(Drift(*drift) for drift in values["drifts"])
        calibration.log_length, calibration.length_weight = (float(v) for v in values["length"])
        calibration.mean_ratio, calibration.ratio_weight = (float(v) for v in values["totals"])
        calibration.unknown_count, calibration.unknown_error = int(values["unknown"][0]), float(values["unknown"][1])
        return calibration
