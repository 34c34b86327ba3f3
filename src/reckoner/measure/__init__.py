"""The only room with clocks: curves, throughput, load, and what machine this is."""
