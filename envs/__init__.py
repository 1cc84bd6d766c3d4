"""What a task is: levels, specs and vector environments (no torch, no ray)."""
