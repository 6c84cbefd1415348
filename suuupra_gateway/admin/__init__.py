"""The admin listener: health, metrics and the read-only API; stock Twisted Web."""
