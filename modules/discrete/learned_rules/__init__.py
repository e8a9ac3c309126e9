"""Rules found in solved examples."""
