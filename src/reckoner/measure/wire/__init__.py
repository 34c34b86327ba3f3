"""Requests over raw sockets, stamped by the kernel; parsed once the run is over."""
