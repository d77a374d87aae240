"""Inverse problems: what a measurement y = A x + noise leaves open about the image x, and who fills it in.

`operators` and `problems` say what was measured; `exact`, `latent`, `replacement` and `posterior` recover images. They know no model: each takes the
function that it needs (a denoiser, a decoder), so an exact one serves as well. `course_utils.recovery` hands them the models of the course.
"""
