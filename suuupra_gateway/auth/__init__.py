"""
What the auth filter rests on: tokens, keys, sessions, and whom to ask about them. No routing here.
"""
