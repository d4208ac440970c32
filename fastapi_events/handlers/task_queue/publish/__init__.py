"""The way out of the process that dispatches: to the broker, into the outbox, or reported lost."""
