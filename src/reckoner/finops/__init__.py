"""Cost, CpQU and the table that a person decides from."""
