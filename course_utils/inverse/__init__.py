"""Inverse problems: what a measurement y = A x + noise leaves open about the image x, and how each family fills it in."""
