"""ReasonerService: one file a group of calls."""
