"""One training objective a file; `engine.learning.train.train` runs any of them."""
