"""The embedded model family: its corpus, its probes, its weights, and how they were trained."""
