"""Texts by counts of short runs of letters."""
