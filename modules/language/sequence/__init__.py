"""Sequences as a tree: rewards of single steps and logits of next tokens are the same thing."""
