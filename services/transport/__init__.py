"""Bytes between a caller and a host on one machine."""
