"""Named sets of endpoints, their peers, and how a request is forwarded to one of them."""
