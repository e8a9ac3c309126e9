"""Messages and the types of Basin, both ways."""
