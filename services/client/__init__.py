"""Callers of a reasoner."""

from services.client.client import Client

__all__ = ["Client"]
