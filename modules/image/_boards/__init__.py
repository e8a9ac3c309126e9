"""Boards in pictures: paper and ink, the grid, its cells, and the characters that stand in them."""
