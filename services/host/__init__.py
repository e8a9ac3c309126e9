"""ModuleService: terms computed here for others."""
