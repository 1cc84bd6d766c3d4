"""Cluster files: read, checked against Ray's own schema, and linted for what no schema sees."""
