#!/bin/sh
# `foodstream consumer` under the documents' name: carries orders into the lake until stopped; arguments are passed on. No Spark is involved.
if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
exec "$python" "$(dirname "$0")/orders_stream_consumer.py" "$@"
