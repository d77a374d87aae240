"""What the authors of the course need and learners do not import: executing notebooks, the site, the bootstrap cell."""
