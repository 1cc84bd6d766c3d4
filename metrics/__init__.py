"""What it means: protocols, tables, statistics, ledgers, loggers and plots (no torch, no ray)."""
