"""What kinds of several fields share; never looked through for kinds."""
