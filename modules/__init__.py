"""Energies to compose: whatever stands in a field is a kind, `field.name`."""
