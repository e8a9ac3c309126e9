"""Why: conflicts, repairs, alternatives, runners-up, proofs."""
