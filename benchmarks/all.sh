#!/bin/sh
# Everything: the peers' environment, the cases, the timings. `make demo` has made ours before.
#     sh benchmarks/all.sh DIR        DIR holds docs_opentelemetry and docs_tldr
set -eu
data=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
ours=$PWD/.venv/bin/python
peers=$PWD/benchmarks/.work/peers
if [ ! -e "$peers/complete" ]; then
    "$ours" -m venv --clear "$peers"
    "$peers/bin/pip" install --quiet --requirement benchmarks/requirements.txt
    touch "$peers/complete"
fi
"$peers/bin/python" benchmarks/cases.py --data "$data" --ours-python "$ours"
"$peers/bin/python" benchmarks/run.py --data "$data" --ours-python "$ours"
