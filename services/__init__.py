"""Basin as services: queries in, checked answers out, over gRPC or in one process."""
