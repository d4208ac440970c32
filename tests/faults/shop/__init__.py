"""The application under fault, as a user would write it: events, a web process, handlers.

Its processes write down what they do in files that no fault touches; see `notes`.
"""
