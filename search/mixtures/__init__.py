"""Proposers of mixtures between trials."""
