"""Rules and costs over finite sites."""
