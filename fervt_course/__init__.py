"""What the notebooks need beyond the library: exercise checks, faults, ablations, protocols, records, releases."""
