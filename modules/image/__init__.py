"""Energies over pictures."""
