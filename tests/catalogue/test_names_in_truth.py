"""Each name of the public measurements is found in the catalogue or stands in a list of exceptions with its reason."""

import json
from pathlib import Path

import pytest

from reckoner.catalogue import find
from reckoner.errors import UnknownNameError

NAMES = json.loads(Path(__file__).with_name("truth_names.json").read_text())

# no public figures of memory and bandwidth
DEVICES_WITHOUT_FIGURES = {
    "MCU:Alibaba Cloud Sinian Platform (Xuantie RISC-V)",
    "MCU:AndesCore_d25",  # a core on an FPGA: no memory of its own
    "MCU:AndesCore_d25_tflite_micro_framework",
    "MCU:AndesCore_d45",
    "MCU:AndesCore_d45_tflite_micro_framework",
    "MCU:K1_BOARD_V1.0",
    "MCU:K1_BOARD_V1.0_HIGH_FREQ",
    "MCU:Next_Generation_Snapdragon_Mobile_Platform_MTP",
    "MCU:syntiant_9120_0v9_30mhz",
    "MCU:syntiant_9120_1v1_98mhz",
    "NCNN:Ingenic T40XP Xburst2 Core X2 1.4Ghz (without MSA)",
    "NCNN:Intel(R) UHD Graphics 770 of Desktop[2023-10-12]",
    "NCNN:Loongson 2K1000LA (LA264 1.0GHz * 2)",
    "NCNN:Loongson 2K2000 (LA364 1.5GHz * 2 with lsx)",
    "NCNN:Loongson 3A4000 (GS464V 1.8GHz * 4 with MSA128)",
    "NCNN:Raspberry Pi 5 Broadcom BCM2712, VideoCore VII Graphics (Vulkan 1.2)",
    "NCNN:Sunway SW421 (sw_64 1.7GHz * 4)",
    "NCNN:Sunway SW831 (sw_64 2.5GHz * 8)",
}
# encoder-decoders, a shape that differs by layer in a way not published here, compressed sparse attention
MODELS_WITHOUT_SHAPE = {"t5-3b", "google/flan-t5-xl", "Deci/DeciLM-7B", "DeepSeek-V4-Flash"}


@pytest.mark.parametrize("name", NAMES["hardware"])
def test_every_device_of_the_truth_is_found_or_excused(name):
    if name in DEVICES_WITHOUT_FIGURES:
        with pytest.raises(UnknownNameError):
            find.device(name)
    else:
        assert find.device(name).bandwidth_bytes_per_s > 0


@pytest.mark.parametrize("name", NAMES["models"])
def test_every_model_of_the_truth_is_found_or_excused(name):
    if name in MODELS_WITHOUT_SHAPE:
        with pytest.raises(UnknownNameError):
            find.model(name)
    else:
        assert find.model(name).params > 0


def test_no_exception_is_stale():
    assert set(NAMES["hardware"]) >= DEVICES_WITHOUT_FIGURES
    assert set(NAMES["models"]) >= MODELS_WITHOUT_SHAPE
