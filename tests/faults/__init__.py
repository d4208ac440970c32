"""The promises under fault: real servers, real processes, real kills.

`make faults` runs them; `make test` does not.
"""
