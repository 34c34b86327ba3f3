"""Replay of real requests: how good our forecasts are."""
