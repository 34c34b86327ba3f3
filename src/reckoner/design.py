"""What is asked: a model on a device served in some way, a workload, and what the answer is held against.

Every numeric field takes a number or an array; arrays broadcast against each other, so that one design object can stand
for a whole grid. Names of formats are resolved once, when a :class:`Design` is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue.device import Device
from reckoner.catalogue.find import precision
from reckoner.catalogue.model import Model
from reckoner.catalogue.precision import Precision
from reckoner.errors import InputError, UnknownNameError, require
from reckoner.physics.arrays import asfloats, where

Num: TypeAlias = float | NDArray[np.float64]

ENGINES: dict[str, str] = {
    name: name
    for name in (
        "autoawq",
        "deepspeed",
        "dynamo-sglang",
        "dynamo-trt",
        "executorch",
        "exllama",
        "exllamav2",
        "gpt-fast",
        "ik_llama.cpp",
        "litert-lm",
        "llama.cpp",
        "lmdeploy",
        "mlc-llm",
        "mlx-lm",
        "neuron",
        "openvino-genai",
        "qnn",
        "qserve",
        "rkllm",
        "sglang",
        "t-mac",
        "tensorrt-llm",
        "transformers",
        "tt-metal",
        "vllm",
    )
} | {
    "hf": "transformers",
    "llama-cpp": "llama.cpp",
    "llamacpp": "llama.cpp",
    "ollama": "llama.cpp",
    "trt-llm": "tensorrt-llm",
    "trtllm": "tensorrt-llm",
    "turbomind": "lmdeploy",
}
"""Engines with public measurements behind them; other spellings lead to the same name."""

SCHEDULERS = ("continuous", "static")

SERVING_NUMBERS: dict[str, float] = {
    **dict.fromkeys(("batch", "tp", "pp", "ep", "dp", "replicas"), 1.0),
    **dict.fromkeys(("prefill_replicas", "prefill_tp"), 0.0),
    "kv_link_bytes_per_s": 1.0,
    **dict.fromkeys(("draft_tokens", "acceptance", "draft_share", "token_budget"), 0.0),
}
"""Numeric fields of :class:`Serving`, and the least that each can be."""

_WHOLE = frozenset(
    {"tp", "pp", "ep", "dp", "replicas", "prefill_replicas", "prefill_tp", "draft_tokens", "token_budget"}
)

_BY_VENDOR = {
    ("accelerator", "aws"): "neuron",
    ("accelerator", "tenstorrent"): "tt-metal",
    ("gpu", "qualcomm"): "mlc-llm",
    ("npu", "qualcomm"): "qnn",
    ("npu", "rockchip"): "rkllm",
    ("soc", "rockchip"): "rkllm",
}
_BY_CLASS = {"cpu": "llama.cpp", "soc": "llama.cpp", "npu": "executorch", "mcu": "executorch"}


def default_engine(device: Device) -> str:
    """Engine assumed where none is named.

    The makers' own on their NPUs, llama.cpp on CPUs and systems on a chip (Apple, Jetson, APUs), ExecuTorch on other
    NPUs and microcontrollers, vLLM on discrete GPUs and accelerators.

    Assumption: what each kind of device is mostly served with (docs.vllm.ai, "supported hardware"; the projects' own
    lists of backends; 2026-11).

    >>> from reckoner.catalogue.find import device
    >>> [default_engine(device(name)) for name in ("h100", "apple-m3-max-40c", "raspberry-pi-5", "rp2040")]
    ['vllm', 'llama.cpp', 'llama.cpp', 'executorch']
    """
    kind = device.device_class
    return _BY_VENDOR.get((kind, device.vendor.lower()), _BY_CLASS.get(kind, "vllm"))


MOST = 1e30
"""Largest number of anything that a design or a workload states. Assumption: beyond all that is built, and small enough
that products of a few stay finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a model is served.

    Parameters
    ----------
    weights, kv : str
        Number formats of weights and of the KV cache (:func:`reckoner.catalogue.find.precisions`).
    compute : str, optional
        Type of the matrix products; by default the first that suits the weights' format and that the device has.
    batch : Num
        Sequences that one replica works on at once.
    scheduler : str
        "continuous" (a finished sequence gives its place to the next) or "static" (a batch starts and ends together).
    tp, pp, ep : Num
        Devices that share each layer, that share the stack of layers, and that share the experts among the ``tp``.
    dp : Num
        Groups of ``tp`` ranks that split the batch and hold attention and dense layers each, while the experts are
        shared out over all ``tp * dp``; copies of a dense model are ``replicas``.
    replicas : Num
        Copies of the whole, each on ``tp * dp * pp`` devices. With ``prefill_replicas``: of the decode server.
    prefill_replicas : Num
        Servers apart that read prompts and ship the caches, the x of xPyD; 0 where each replica does both.
    prefill_tp : Num
        Tensor-parallel ranks of those; 0 for ``tp``.
    kv_link_bytes_per_s : Num
        Link of one device over which caches are shipped, one direction; a 400 Gbit/s port by default. [byte/s]
    draft_tokens : Num
        Tokens drafted for each verification; 0 decodes plainly.
    acceptance : Num
        Probability that a drafted token is accepted, 0 to 1. Assumption by default: the middle of what Leviathan et al.
        2023, table 3 measured (0.5 to 0.9).
    draft_share : Num
        Time of drafting one token over that of a plain step, where the design names no draft model. Default: the most
        that Leviathan et al. 2023, sec. 3.3 saw.
    token_budget : Num
        Most tokens of a pass, prompt and decode together: longer prompts are read in chunks. 0 reads each in one pass.
    engine, engine_version : str
        Software that runs it, empty for :func:`default_engine` of the device; its version or the date of it (2025-06),
        empty for a recent one.
    """

    weights: str = "bf16"
    kv: str = "bf16"
    compute: str | None = None
    batch: Num = 1.0
    scheduler: str = "continuous"
    tp: Num = 1.0
    pp: Num = 1.0
    ep: Num = 1.0
    dp: Num = 1.0
    replicas: Num = 1.0
    prefill_replicas: Num = 0.0
    prefill_tp: Num = 0.0
    kv_link_bytes_per_s: Num = 50e9
    draft_tokens: Num = 0.0
    acceptance: Num = 0.7
    draft_share: Num = 0.05
    token_budget: Num = 0.0
    engine: str = ""
    engine_version: str = ""

    def __post_init__(self) -> None:
        """Hold the invariants of a serving set-up."""
        for name in ("weights", "kv", "engine", "engine_version", "scheduler"):
            require(name, getattr(self, name), str, "give a name")
        if self.compute is not None:
            remedy = "give a name such as bf16, or None for what suits the weights"
            require("compute", self.compute, str, remedy)
            if not self.compute:
                raise InputError(f"compute is ''; {remedy}")
        known = self.engine.strip().lower()
        if known and known not in ENGINES:
            raise UnknownNameError.of("engine", self.engine, ENGINES)
        object.__setattr__(self, "engine", ENGINES[known] if known else "")
        if self.scheduler not in SCHEDULERS:
            raise InputError(f"scheduler is {self.scheduler!r}; use {' or '.join(SCHEDULERS)}")
        for name, least in SERVING_NUMBERS.items():
            value = _checked(name, getattr(self, name), least=least)
            if name in _WHOLE:
                _refuse(name, value, value % 1.0 != 0.0, "it must be a whole number")
            object.__setattr__(self, name, value)
        shape_of_numbers({name: getattr(self, name) for name in SERVING_NUMBERS})
        if self.plain:
            return
        _refuse("acceptance", self.acceptance, self.acceptance > 1.0, "it is a probability, 0 to 1")
        _refuse("draft_share", self.draft_share, self.draft_share > 1.0, "a draft dearer than a step saves nothing")
        apart, budget = self.prefill_replicas > 0.0, self.token_budget
        if self.scheduler == "static":
            remedy = "prompts are read apart under the continuous scheduler only"
            _refuse("prefill_replicas", self.prefill_replicas, apart, remedy)
        tokens = self.batch * (1.0 + self.draft_tokens)
        small = np.logical_and(budget > 0.0, budget <= tokens)
        _refuse("token_budget", budget, small, "it must exceed the tokens of a decode step, batch (1 + draft_tokens)")

    @property
    def plain(self) -> bool:
        """Whether each replica reads prompts whole and decodes a token a step, without data parallelism."""
        return all(
            type(value) is float and value == usual
            for value, usual in ((self.dp, 1.0), (self.prefill_replicas, 0.0), (self.draft_tokens, 0.0))
        ) and (type(self.token_budget) is float and self.token_budget == 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the requests look like.

    Parameters
    ----------
    prompt_tokens, output_tokens : Num
        Tokens of a request, in and out; at least 1. [token]
    requests_per_s : Num
        Arrivals of an open loop; 0 for a closed loop that keeps every place of the batch filled. [1/s]
    prefix_hit : Num
        Share of the prompt found in the cache, 0 to below 1.
    """

    prompt_tokens: Num = 1024.0
    output_tokens: Num = 256.0
    requests_per_s: Num = 0.0
    prefix_hit: Num = 0.0

    def __post_init__(self) -> None:
        """Hold the invariants of a workload."""
        for name, least in (
            ("prompt_tokens", 1.0),
            ("output_tokens", 1.0),
            ("requests_per_s", 0.0),
            ("prefix_hit", 0.0),
        ):
            object.__setattr__(self, name, _checked(name, getattr(self, name), least=least))
        _refuse("prefix_hit", self.prefix_hit, self.prefix_hit >= 1.0, "it must be below 1")
        shape_of_numbers({name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A model on a device, served in some way.

    Parameters
    ----------
    model : Model
        What is served.
    device : Device
        What it runs on; ``n_devices`` of them.
    serving : Serving
        How it is served.
    draft : Model, optional
        Small model that drafts on the same devices, in the same formats; it reads the same tokens.

    Attributes
    ----------
    weights_format, kv_format : Precision
        The formats that ``serving`` names.
    compute_dtype : str
        Type of the matrix products.
    peak_flop_per_s : float
        The device's dense peak in that type. [FLOP/s]
    engine : str
        The engine that ``serving`` names, or :func:`default_engine` of the device.

    Raises
    ------
    InputError
        ``tp`` does not divide the heads, ``pp`` exceeds the layers, ``ep`` or ``dp`` does not suit the experts, the
        draft is no smaller than the model.
    UnknownNameError
        No such number format.
    MissingFigureError
        The device has no peak in the type asked for; those present are listed.

    Examples
    --------
    >>> from reckoner.catalogue.find import device, model
    >>> design = Design(model=model("llama-3.1-8b"), device=device("h100"), serving=Serving(weights="fp8"))
    >>> design.compute_dtype, design.peak_flop_per_s
    ('fp8', 1978900000000000.0)
    """

    model: Model
    device: Device
    serving: Serving = field(default_factory=Serving)
    draft: Model | None = None
    weights_format: Precision = field(init=False, repr=False, compare=False)
    kv_format: Precision = field(init=False, repr=False, compare=False)
    compute_dtype: str = field(init=False, repr=False, compare=False)
    peak_flop_per_s: float = field(init=False, repr=False, compare=False)
    engine: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Resolve the formats and hold what model, device and serving demand of each other."""
        serving = self.serving
        require("model", self.model, Model, "give what reckoner.model(name) returns")
        require("device", self.device, Device, "give what reckoner.device(name) returns")
        require("serving", serving, Serving, "give a reckoner.Serving")
        if self.draft is not None:
            require("draft", self.draft, Model, "give what reckoner.model(name) returns")
        weights = precision(serving.weights)
        if serving.compute is None:
            dtype, peak = self.device.first_peak(weights.compute)
        else:
            dtype, peak = serving.compute, self.device.peak(serving.compute)
        object.__setattr__(self, "weights_format", weights)
        object.__setattr__(self, "kv_format", precision(serving.kv))
        object.__setattr__(self, "compute_dtype", dtype)
        object.__setattr__(self, "peak_flop_per_s", peak)
        object.__setattr__(self, "engine", serving.engine or default_engine(self.device))
        self._check_split()

    @property
    def n_devices(self) -> Num:
        """Devices of all replicas together, and of the servers that read prompts."""
        s = self.serving
        decode = s.tp * s.dp * s.pp * s.replicas
        if type(s.prefill_replicas) is float and s.prefill_replicas == 0.0:
            return decode
        return decode + where(s.prefill_tp > 0.0, s.prefill_tp, s.tp * s.dp) * s.pp * s.prefill_replicas

    def _check_split(self) -> None:
        model, s = self.model, self.serving
        pp, ep, dp = s.pp, s.ep, s.dp
        self._check_ranks("tp", s.tp)
        if not (type(s.prefill_tp) is float and s.prefill_tp == 0.0):
            self._check_ranks("prefill_tp", where(s.prefill_tp > 0.0, s.prefill_tp, s.tp))
        _refuse("pp", pp, pp > model.n_layers, f"{model.name} has {model.n_layers} layers to share out")
        if model.n_experts:
            uneven = float(model.n_experts) % ep != 0.0
            _refuse("ep", ep, uneven, f"it must divide the {model.n_experts} experts of {model.name}")
            _refuse("ep", ep, (s.tp * dp) % ep != 0.0, "it must divide tp x dp, whose devices share the experts")
        else:
            _refuse("ep", ep, ep > 1.0, f"{model.name} has no experts; leave ep at 1")
            _refuse("dp", dp, dp > 1.0, f"{model.name} has no experts; copies of a dense model are replicas")
        if self.draft is not None and self.draft.params >= model.params:
            raise InputError(f"draft {self.draft.name} is no smaller than {model.name}; take a smaller model")

    def _check_ranks(self, name: str, tp: Num) -> None:
        model = self.model
        for group in model.attention:
            heads = float(group.n_heads)
            _refuse(name, tp, heads % tp != 0.0, f"it must divide the {group.n_heads} heads of {model.name}")
            if not group.latent_dim:  # a latent cache is kept whole by every rank
                kv = float(group.n_kv_heads)
                uneven = (kv % tp != 0.0) & (tp % kv != 0.0)  # more ranks than heads: each head is replicated evenly
                _refuse(name, tp, uneven, f"it must divide or be a multiple of the {group.n_kv_heads} key-value heads")
        _refuse(name, tp, float(model.hidden) % tp != 0.0, f"it must divide the width {model.hidden} of {model.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """What a service has promised; None promises nothing.

    Parameters
    ----------
    ttft_p99_s, tpot_p99_s, e2e_p99_s : float, optional
        99th percentiles at most. [s]
    usd_per_request : float, optional
        Cost of a request at most. [USD]
    requests_per_s : float, optional
        Demand that must be carried. [1/s]
    availability : float, optional
        Share of time in service at least, below 1.
    min_quality : float, optional
        Measured quality at least, 0 to 1.
    max_power_w : float, optional
        Power of all devices at most. [W]
    """

    ttft_p99_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_p99_s: float | None = None
    usd_per_request: float | None = None
    requests_per_s: float | None = None
    availability: float | None = None
    min_quality: float | None = None
    max_power_w: float | None = None

    def __post_init__(self) -> None:
        """Hold the invariants of a promise."""
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None:
                require(name, value, (int, float, np.number), "give a number, or nothing where nothing is promised")
            if value is not None and not 0.0 < value < np.inf:
                raise InputError(f"{name} is {value!r}; it must be above 0, or absent where nothing is promised")
        if self.availability is not None and self.availability >= 1.0:
            raise InputError(f"availability is {self.availability!r}; it must be below 1, such as 0.999")
        if self.min_quality is not None and self.min_quality > 1.0:
            raise InputError(f"min_quality is {self.min_quality!r}; it must be at most 1")


def check_rent(usd_per_hour: float | None) -> None:
    """Refuse a rent that is none.

    Raises
    ------
    InputError
        It is negative or no number.
    """
    if usd_per_hour is None:
        return
    require("usd_per_hour", usd_per_hour, (int, float, np.number), "give one number of USD/h")
    if not 0.0 <= usd_per_hour <= MOST:
        raise InputError(f"usd_per_hour is {usd_per_hour!r}; it must be at least 0 USD/h")


def _checked(name: str, value: Num, *, least: float) -> Num:
    try:
        if not isinstance(value, (int, float)) and (np.iscomplexobj(value) or np.ma.isMaskedArray(value)):
            raise TypeError("neither complex nor masked numbers mean anything here")
        number = asfloats(value)
    except (TypeError, ValueError, OverflowError) as error:
        seen = " ".join(repr(value)[:80].split())
        raise InputError(f"{name} is {seen}; give a number or an array of numbers") from error
    if isinstance(number, float) and least <= number <= MOST:
        return number
    bad = np.logical_not((number >= least) & (number <= MOST))  # not written the other way round: NaN is bad too
    _refuse(name, number, bad, f"it must be at least {least:g} and at most {MOST:g}")
    frozen = np.array(number)
    if frozen.size == 0:
        raise InputError(f"{name} is empty; give at least one number")
    frozen.flags.writeable = False
    return frozen


def shape_of_numbers(numbers: Mapping[str, Num]) -> tuple[int, ...]:
    """Shape to which numbers broadcast.

    Raises
    ------
    InputError
        They do not; the shapes are named.
    """
    shapes = {name: value.shape for name, value in numbers.items() if isinstance(value, np.ndarray)}
    if not shapes:
        return ()
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"arrays do not broadcast: {said}; give equal lengths, or use sweep() for a grid") from error


def _refuse(name: str, value: Num, wrong: bool | np.bool_ | NDArray[np.bool_], remedy: str) -> None:
    """Raise for the first value for which ``wrong`` holds."""
    if wrong is not False and np.any(wrong):
        seen = np.broadcast_to(value, np.shape(wrong))[wrong].flat[0] if np.ndim(wrong) else value
        raise InputError(f"{name} is {float(seen):g}; {remedy}")
