"""The pages in the browser: marimo notebooks in one small ASGI application, for this machine only."""
