"""Readers and writers of other projects' formats."""
