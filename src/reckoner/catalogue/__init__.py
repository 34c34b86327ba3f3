"""Nouns with source and date: devices, models, rates, precisions."""
