"""The pages: marimo notebooks that show what :mod:`reckoner.web.views` makes."""
