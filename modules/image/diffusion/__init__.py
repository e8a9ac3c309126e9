"""What a picture costs, learned with a sampler of a few Gaussian steps (DxMI)."""
