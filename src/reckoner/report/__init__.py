"""Numbers become words and pictures, here only."""
