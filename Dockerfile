# One image for the web process, the workers, and the commands that look after them: console, relay and probe.
# docker-compose.yml says which it is; with your own application beside it:
#
#   docker run --publish 127.0.0.1:8080:8080 IMAGE fastapi-events console app.events --host 0.0.0.0 --auth app.ops:who
#   docker run IMAGE fastapi-events relay app.events
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY fastapi_events fastapi_events
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[dramatiq,rabbitmq,celery,postgres,console]' 'fastapi>=0.115' 'uvicorn>=0.30'

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 events
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels 'fastapi-events[dramatiq,rabbitmq,celery,postgres,console]' fastapi uvicorn \
    && rm -r /wheels
WORKDIR /srv
COPY workers workers
COPY examples examples
ENV FASTAPI_EVENTS_PRODUCTION=1
USER events
