"""Figures of the course: tensors and rows in, a matplotlib Figure out. Nothing here trains, reads files or shows anything."""

from __future__ import annotations

from course_utils.plotting.charts import comparison, latent_map, lines, ranked_bars, stacked_bars, training_curves
from course_utils.plotting.pictures import image_grid, image_rows, image_table

__all__ = ["comparison", "image_grid", "image_rows", "image_table", "latent_map", "lines", "ranked_bars", "stacked_bars", "training_curves"]
