"""What runs in a worker: fan out, perform, and what follows a failed attempt."""
