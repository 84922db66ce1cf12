"""Measurements that anyone can repeat: `benchmarks/README.md` says how to read them."""
