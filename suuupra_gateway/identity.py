"""
What a plan's routes authenticate by: from ``identity:`` in the configuration to live credentials.
"""
