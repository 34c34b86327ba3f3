"""Calibration: what is learned from outcomes, request by request and deployment by deployment."""
