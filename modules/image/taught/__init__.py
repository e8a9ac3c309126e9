"""Dual-MCMC teaching: an energy of pictures, a generator and an encoder that taught each other."""
