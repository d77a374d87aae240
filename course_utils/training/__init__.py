"""Training: one loop for every family, its settings and state, the registry, the presets, and the
runs on disk.
"""
