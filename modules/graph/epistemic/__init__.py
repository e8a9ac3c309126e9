"""Knowing what is not known on a graph: energies of evidence of nodes, places and regions."""
