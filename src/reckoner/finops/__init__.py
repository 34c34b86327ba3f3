"""Cost, CpQU and the table that a person decides from.

Here are the figures (``inputs``, ``cost``, ``compare``, ``table``); :func:`reckoner.report.costs.write_costs` writes
the files and the words.
"""
