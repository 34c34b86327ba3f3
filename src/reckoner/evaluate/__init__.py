"""Probe sets, grading, slices and intervals."""

from reckoner.evaluate.compare import paired_difference, paired_p_value
from reckoner.evaluate.grade import DEFAULT_SAMPLING, first_word, grade, subset
from reckoner.evaluate.probes import Probe, eval_set_hash, load_probes
from reckoner.evaluate.report import SLICES, Accuracy, Outcome, Report, Sampling, check_same_set
from reckoner.evaluate.stats import (
    brier,
    chance_corrected,
    expected_calibration_error,
    items_per_arm,
    mcnemar,
    paired_bootstrap,
    pass_at_k,
    wilson,
)

__all__ = [
    "DEFAULT_SAMPLING",
    "SLICES",
    "Accuracy",
    "Outcome",
    "Probe",
    "Report",
    "Sampling",
    "brier",
    "chance_corrected",
    "check_same_set",
    "eval_set_hash",
    "expected_calibration_error",
    "first_word",
    "grade",
    "items_per_arm",
    "load_probes",
    "mcnemar",
    "paired_bootstrap",
    "paired_difference",
    "paired_p_value",
    "pass_at_k",
    "subset",
    "wilson",
]
