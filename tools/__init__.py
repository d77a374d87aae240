"""What authors need and learners do not import: executing notebooks, the site, the first cell."""
