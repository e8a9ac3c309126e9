"""Training of energies."""
