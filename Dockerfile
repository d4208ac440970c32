# One image for the web process and for the workers; docker-compose.yml says which it is.
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY fastapi_events fastapi_events
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[dramatiq,rabbitmq,celery,postgres]' 'fastapi>=0.115' 'uvicorn>=0.30'

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 events
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels 'fastapi-events[dramatiq,rabbitmq,celery,postgres]' fastapi uvicorn \
    && rm -r /wheels
WORKDIR /srv
COPY workers workers
COPY examples examples
USER events
