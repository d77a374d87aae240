"""Support package of the course "Generative models for images": data, models, training, metrics, figures, checks.

Importing this package is cheap on purpose: nothing is imported, seeded, printed or downloaded until you ask for it.
"""

__version__ = "0.1.0"
