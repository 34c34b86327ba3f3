"""Design + workload + efficiency -> prediction, with its interval and its explanation."""
