"""Result files of other tools, one module a tool, read into one type: :class:`~.imported.Imported`."""
