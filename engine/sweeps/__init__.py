"""What annealing is made of: fused sweeps over explicit structure."""
