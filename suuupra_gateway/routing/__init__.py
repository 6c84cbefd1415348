"""From a request head to the route that answers it."""
