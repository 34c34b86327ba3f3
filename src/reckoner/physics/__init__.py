"""Pure functions of arrays, each cited: what moves, what is computed, how long it must take."""
