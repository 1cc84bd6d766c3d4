"""What to try: sweeps, selection rules, studies and reports."""
