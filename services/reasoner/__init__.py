"""From a query to checked answers."""
