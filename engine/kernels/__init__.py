"""Fused inner loops in numba, each beside a plain reference it is tested equal to."""
