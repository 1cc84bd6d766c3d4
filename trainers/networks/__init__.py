"""Encoders, heads and policy networks."""
