"""Bytes in and out of the kernel, fast; knows no HTTP."""
