"""Who learns: configs, networks, algorithms, the training loop and its launchers."""
