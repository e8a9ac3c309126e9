"""Rows of a table: which value of a cell goes with the others."""
