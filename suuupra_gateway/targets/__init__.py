"""The leaves that a route may name, each an `IResource`."""
