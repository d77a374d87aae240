"""Diffusion: the model, its network, noise schedules, samplers, the variational bound, and exact scores to check them with."""
