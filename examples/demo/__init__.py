"""A web process, a Dramatiq worker and a Celery worker, on a broker of their own: `make demo`."""
