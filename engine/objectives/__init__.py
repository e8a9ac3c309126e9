"""One training objective a file; `engine.train.train` runs any of them."""
