"""What was recorded: episodes, datasets on disk, mixtures and samplers (no torch, no ray)."""
