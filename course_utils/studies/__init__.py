"""Studies: what can be asked of a trained model, or of many: evaluation, comparison, sweeps, copies, the clinic, toys."""
