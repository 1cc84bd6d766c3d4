"""Who acts: policies, rollouts, Ray actors that host environments."""
