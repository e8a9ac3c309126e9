"""Energies over text."""
