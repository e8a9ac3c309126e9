"""Energies of pictures with a generator beside them: networks, files, training, starts."""
