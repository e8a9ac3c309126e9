"""Samples at a temperature, exact where that can be done."""
