#!/bin/sh
# `foodstream producer` under the documents' name: publishes new orders until stopped; arguments are passed on. No Spark is involved.
if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
exec "$python" "$(dirname "$0")/orders_cdc_producer.py" "$@"
