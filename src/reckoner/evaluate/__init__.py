"""Probe sets, grading, slices and intervals."""
