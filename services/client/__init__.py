"""Callers of a reasoner."""

from services.client.asynchronous import AsyncClient
from services.client.client import Client

__all__ = ["AsyncClient", "Client"]
