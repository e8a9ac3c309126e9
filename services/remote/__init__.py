"""Terms that other processes compute, seen from the caller."""
