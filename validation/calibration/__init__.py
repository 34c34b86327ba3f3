"""Replay of real requests: how good are our forecasts?"""
