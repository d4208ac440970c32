"""Events that exist if and only if their transaction was committed."""
