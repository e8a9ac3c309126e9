"""Knowing what is not known on a graph: energies of evidence, of each node, its place and region."""
