"""How fast tokens travel and what they cost: what `llmapp stress` and the benchmarks share. Linux only."""
