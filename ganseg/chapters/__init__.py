"""What the book's chapters compute and draw beyond the method: probes, ablations, baselines, claims."""
