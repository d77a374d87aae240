"""Metrics of images and of models' likelihoods. They take arrays and functions, never models, files or trainings."""
