"""Datasets as one compressed file."""
