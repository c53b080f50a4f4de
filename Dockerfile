# foodstream with nothing around it: the first stage has Rust and builds a wheel, the second has only Python and the wheel.

FROM rust:1.95-slim-bookworm AS build
# perl and make: librdkafka and its OpenSSL are built in, so that the wheel needs no library of the system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ make perl python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/maturin && /opt/maturin/bin/pip install --no-cache-dir 'maturin>=1.16,<2'
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    /opt/maturin/bin/maturin build --release --out /wheels

FROM python:3.13-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels pip install --no-cache-dir /wheels/*.whl \
    # a fixed id, so that the owner of a volume is the same in every image
    && useradd --uid 10001 --create-home --home-dir /app foodstream \
    && install --directory --owner=foodstream --group=foodstream /app/datalake
WORKDIR /app
COPY --chown=foodstream configs configs
USER foodstream
VOLUME /app/datalake
# streams end cleanly on SIGTERM, which is what the engine sends first
ENTRYPOINT ["foodstream"]
CMD ["--help"]
