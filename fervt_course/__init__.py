"""What the notebooks need beyond the library: checks of exercises, faults, ablation, protocols, records, releases."""
