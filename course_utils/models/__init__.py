"""The model families. Each is one file with a config, a `loss` and a `sample`; `training/registry.py` lists them."""
