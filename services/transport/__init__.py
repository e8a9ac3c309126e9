"""Bytes between a caller and a host: frames, chunks, and what carries them."""
