"""What complete search is made of."""
