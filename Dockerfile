# One image for every role: `docker run signalbox web`, `... relay`, `... worker`, `... scheduler`.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements/base.txt /build/
RUN /venv/bin/pip install --no-deps --require-hashes -r /build/base.txt
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY scripts/assets.py scripts/
COPY static static
RUN /venv/bin/python scripts/assets.py
COPY manage.py pyproject.toml ./
COPY messaging messaging
COPY console console
COPY examples examples
COPY templates templates
RUN SECRET_KEY=only-to-collect-files SIGNALBOX_HOME=/tmp/build SIGNALBOX_STATIC_ROOT=/app/staticfiles \
    /venv/bin/python manage.py collectstatic --noinput --verbosity 0 \
    && rm -rf node_modules .cache scripts \
    && /venv/bin/python -m compileall -q messaging console examples

FROM python:${PYTHON}
RUN useradd --system --uid 10001 --no-create-home signalbox
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SIGNALBOX_HOME=/tmp/signalbox SIGNALBOX_STATIC_ROOT=/app/staticfiles
USER 10001
EXPOSE 8000
ENTRYPOINT ["python", "manage.py"]
CMD ["web"]
