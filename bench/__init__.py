"""Benchmarks: `./dev bench`.  Ratios in one run; a timing never fails a test."""
