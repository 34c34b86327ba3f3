"""Free-text names in published measurements become the few categories that efficiencies are pooled over."""

from __future__ import annotations

import re
from functools import cache

_FAMILIES = (
    ("dynamo-sglang", "dynamo-sglang"),
    ("dynamo-vllm", "dynamo-vllm"),
    ("dynamo", "dynamo-trt"),
    ("ik_llama", "ik_llama.cpp"),
    ("ollama", "ollama"),
    ("llama.cpp", "llama.cpp"),
    ("llmboost", "vllm"),
    ("vllm", "vllm"),
    ("atom", "vllm"),
    ("sglang", "sglang"),
    ("trt", "tensorrt-llm"),
    ("tensorrt", "tensorrt-llm"),
    ("exllamav2", "exllamav2"),
    ("exllama v2", "exllamav2"),
    ("exllama", "exllama"),
    ("mlc", "mlc-llm"),
    ("t-mac", "t-mac"),
    ("deepspeed", "deepspeed"),
    ("neuron", "neuron"),
    ("transformers", "transformers"),
    ("openvino", "openvino"),
    ("awq", "autoawq"),
    ("rkllm", "rkllm"),
    ("mlx", "mlx"),
    ("gpt-fast", "gpt-fast"),
    ("tt-metal", "tt-metal"),
    ("qnn", "qnn"),
    ("genie", "qnn"),
    ("executorch", "executorch"),
    ("lmdeploy", "lmdeploy"),
    ("turbomind", "lmdeploy"),
    ("qserve", "qserve"),
    ("quarot", "qserve"),
    ("litert", "litert"),
    ("tgi", "tgi"),
)
_TIERS = {
    "serve": "vllm sglang tensorrt-llm dynamo-sglang dynamo-trt dynamo-vllm lmdeploy qserve tgi",
    "tuned": "gpt-fast exllama exllamav2 mlc-llm mlx autoawq",
    "native": "llama.cpp ollama ik_llama.cpp t-mac",
    "eager": "transformers deepspeed",
    "npu": "rkllm qnn openvino executorch litert neuron tt-metal",
}
_TIER_OF = {family: tier for tier, families in _TIERS.items() for family in families.split()}

_VENDORS = (
    (r"apple", "apple"),
    (r"jetson|rtx|gtx|tesla|dgx|grace|nvidia|titan|quadro", "nvidia"),
    (r"\bmi\d{2,3}|^r[x9]|radeon|ryzen|epyc|strix|^w7|amd|instinct", "amd"),
    (r"gaudi|arc-|xeon|intel|core", "intel"),
    (r"inferentia|trainium", "aws"),
    (r"tpu", "google"),
    (r"^tt-|tenstorrent|wormhole|blackhole", "tenstorrent"),
    (r"snapdragon|sa8\d|qcs|galaxy|qrd|qualcomm", "qualcomm"),
    (r"^rk|^rv|rockchip", "rockchip"),
    (r"\b(gb|gh|[abhlvt])\d{1,3}[a-z]*\b", "nvidia"),
)
_GENERATIONS = (
    (r"\bada\b", "ada"),
    (r"rtx-?50|pro-?6000|pro-?[45]\d00|spark|gb10\b|thor", "blackwell-client"),
    (r"g?b[123]00", "blackwell"),
    (r"g?h[128]00|h20\b|h800", "hopper"),
    (r"rtx-?40|ada|l40|l4\b", "ada"),
    (r"a[138]00|a30\b", "ampere-dc"),
    (r"rtx-?30|a10|a40\b|rtx-a|orin", "ampere"),
    (r"t4|rtx-?20|v100|gtx|titan|xavier", "turing"),
    (r"mi30|mi32", "cdna3"),
    (r"mi35|mi4", "cdna4"),
    (r"mi2|mi1", "cdna2"),
    (r"rx-?[79]\d{3}|w7|strix|r9700|radeon", "rdna3"),
    (r"rx-", "rdna"),
    (r"gaudi", "gaudi"),
    (r"arc|max-1550|ultra", "xe"),
)
_FORMATS = (
    (r"nvfp4|mxfp4|fp4", "fp4"),
    (r"fp8", "fp8"),
    (r"fp32", "fp32"),
    (r"bf16|f16|fp16|16bit", "f16"),
    (r"w8a8", "w8a8"),
    (r"w4a8|w4a4", "w4a8"),
    (r"ternary|w1|iq1|tq|w2|q2|-2\.", "q2"),
    (r"q3|w3|-3\.0bpw|3bit", "q3"),
    (r"q5|q6|-5\.0bpw", "q6"),
    (r"q8|int8|bfp8|w8", "int8"),
    (r"q4|int4|w4|exl2|4bit|iq4|nf4", "int4"),
)
_MLPERF = {"v3.1": 2023.7, "v4.0": 2024.2, "v4.1": 2024.65, "v5.0": 2025.25, "v5.1": 2025.68, "v6.0": 2026.25}
"""Publication of MLPerf Inference rounds (mlcommons.org, 2026-11-20)."""
_TENSORRT = {"0.7": 2023.95, "0.8": 2024.15, "0.9": 2024.3, "0.10": 2024.45, "0.11": 2024.55, "0.12": 2024.66}
"""Releases of TensorRT-LLM below 1.0 (github.com/NVIDIA/TensorRT-LLM/releases, 2026-11-20)."""
_UNKNOWN_YEAR = 2024.8  # assumption: the middle of the open measurements


@cache
def family(engine: str, engine_family: str, hardware: str, scenario: str) -> str:
    """Family of an engine; where MLPerf names none, the one that the device's vendor submits with.

    >>> family("vllm 0.9.0 ROCm", "", "MI300X-192GB", "mlperf_Offline")
    'vllm'
    """
    text = (engine or engine_family).lower()
    for part, name in _FAMILIES:
        if part in text:
            return name
    if scenario.startswith("mlperf"):
        return {"nvidia": "tensorrt-llm", "amd": "vllm"}.get(vendor(hardware), "other")
    return (text.split() or ["other"])[0].split("/")[0]


def tier(engine: str) -> str:
    """Kind of engine: a server, a tuned single stream, native code, an eager framework, or an NPU's compiler.

    >>> tier("sglang")
    'serve'
    """
    return _TIER_OF.get(engine, "other")


def _plain(hardware: str) -> str:
    return hardware.lower().replace("_", "-")


def _bare(hardware: str) -> str:
    """Return a device's name without its vendor's."""
    return re.sub(r"^(nvidia|amd|intel|google|aws|tenstorrent|qualcomm)-", "", _plain(hardware))


@cache
def vendor(hardware: str) -> str:
    """Vendor of a device, from its name.

    >>> vendor("GB300-NVL72-288GB")
    'nvidia'
    """
    text = _plain(hardware)
    return next((name for pattern, name in _VENDORS if re.search(pattern, text)), "other")


@cache
def device_class(hardware: str, made_as: str = "") -> str:
    """Class of a device that efficiencies are pooled over, from its name and the catalogue's class where it has one.

    >>> device_class("CPU:RaspberryPi5"), device_class("RTX-4090-24GB"), device_class("H200-SXM-141GB")
    ('cpu', 'consumer', 'dc')
    """
    text, maker = _bare(hardware), vendor(hardware)
    if made_as == "cpu":
        return "cpu"
    for pattern, name in (
        (r"^cpu|-cpu\b", "cpu"),
        (r"jetson|spark|gb10\b", "jetson"),
        (r"^apple", "apple"),
        (r"^rtx|^rx|^w7|^arc|^r9700|^gtx|radeon", "consumer"),
        (r"strix|igpu|core-ultra|ryzen", "apu"),
        (r"^(t4|v100|a10|l4|p100|a30|a40)(?!\d)", "dc-old"),
    ):
        if re.search(pattern, text):
            return name
    small = made_as in ("npu", "mcu") or maker in ("rockchip", "qualcomm")
    if small or re.search(r"mediatek|dimensity|samsung|hailo", text):
        return "mobile"
    return "accelerator" if maker in ("aws", "google", "tenstorrent") or "gaudi" in text else "dc"


@cache
def generation(hardware: str, made_as: str = "") -> str:
    """Architecture generation, from the device's name; classes without one stand for themselves.

    >>> generation("GH200-96GB"), generation("MI355X-288GB")
    ('hopper', 'cdna4')
    """
    kind = device_class(hardware, made_as)
    if kind in ("cpu", "mobile", "apple"):
        return kind
    text = _bare(hardware)
    return next((name for pattern, name in _GENERATIONS if re.search(pattern, text)), f"{vendor(hardware)} {kind}")


@cache
def number_format(dtype: str) -> str:
    """Class of a number format, from any spelling.

    >>> number_format("llama 7B Q4_K - Medium"), number_format("fp8(assumed)")
    ('int4', 'fp8')
    """
    text = dtype.lower()
    return next((name for pattern, name in _FORMATS if re.search(pattern, text)), "other")


@cache
def setting(scenario: str) -> str:
    """How a number was taken, without the task.

    >>> setting("closed_loop_steady_state:gpqa"), setting("mlperf_Offline-interactive")
    ('closed_loop_steady_state', 'mlperf_Offline')
    """
    return re.split("[:-]", scenario, maxsplit=1)[0]


def timed(group: str, how: str) -> str:
    """Group of kinds whose time a row's time is: an energy is a power over the time of a single stream or of a server.

    >>> timed("energy", "single_stream"), timed("energy", "closed_loop_steady_state"), timed("ttft", "")
    ('decode', 'tpot', 'ttft')
    """
    if group != "energy":
        return group
    return "decode" if how == "single_stream" else "tpot"


@cache
def attention_kind(model: str, sparse: bool) -> str:
    """Latent attention with experts, experts, or dense.

    >>> attention_kind("deepseek-ai/DeepSeek-R1-0528", True)
    'mla'
    """
    if re.search(r"deepseek.*(r1|v3|v2)|kimi|glm-5", model, re.IGNORECASE):
        return "mla"
    return "moe" if sparse else "dense"


@cache
def year(when: str) -> float:
    """Decimal year of a date, a span of dates, a round of MLPerf or a release of TensorRT-LLM.

    >>> year("2024-07..2024-11"), year("v5.1"), year("no date")
    (2024.7083333333335, 2025.68, 2024.8)
    """
    text = when.strip()
    if text in _MLPERF:
        return _MLPERF[text]
    run = re.search(r"run (\d{8,})", text)  # GitHub Actions numbers grow with time: 1e9 in about 7 weeks of 2025-12
    if run:
        return 2025.95 + (int(run[1]) - 20218553330) / 1e9 * 0.13
    stamp = re.match(r"(20\d\d)(\d\d)\d\d-", text)
    if stamp:
        return int(stamp[1]) + (int(stamp[2]) - 0.5) / 12.0
    found = [int(y) + ((int(m) - 0.5) / 12.0 if m else 0.5) for y, m in re.findall(r"(20\d\d)(?:-(\d\d))?", text)]
    if re.match(r"20\d\d", text) and found:
        last = found[1] if ".." in text and len(found) > 1 else found[0]
        return 0.5 * (found[0] + last)
    release = re.match(r"(\d+\.\d+)", text)
    if release:
        return _TENSORRT.get(release[1], 2025.75 if text.startswith("1.0") else 2025.95)
    return _UNKNOWN_YEAR
