"""Hat EBM: an energy of pictures on top of a generator that proposes them."""
