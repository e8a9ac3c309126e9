"""Texts by the chance of each letter after those before it: causal language models."""
