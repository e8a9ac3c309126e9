"""Black and white pictures."""
