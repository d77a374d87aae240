"""Base: errors, files, configs, device and random generators, the pixel contract. It knows nothing
of the rest of the course.
"""
