"""Online controllers of mixture weights."""
