"""Moves that draw one state from another, and what draws with them."""
