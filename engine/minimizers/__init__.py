"""One minimizer a file; `portfolio` is the default."""
