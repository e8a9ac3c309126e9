"""Energies to compose: one kind a file, found by the catalogue as `group.name`."""
