#!/usr/bin/env bash
# Sets up, then runs the quick experiment on the embedded digits and reports it; `./run.sh test`
# sets up and runs the tests. What is done already is skipped.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

setup() {
  local stamp=.venv/.installed python
  if [[ -f $stamp && ! pyproject.toml -nt $stamp ]]; then
    say "environment .venv is ready"
    return
  fi
  for python in python3.13 python3.12 python3.11 python3; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    python=
  done
  [[ -n $python ]] || { echo "Python 3.11 or newer is needed" >&2; exit 2; }
  say "making the environment .venv with $($python --version) (once, some minutes)"
  [[ -x .venv/bin/python ]] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,cluster]'
  touch "$stamp"
}

case "${1:-quick}" in
  quick)
    setup
    say "the quick experiment: 5 initial pools x 3 queries x 3 seeds on the digits"
    .venv/bin/python active/run.py --experiment quick --launcher local --processes 2
    say "its report"
    .venv/bin/python active/report.py --experiment quick
    ;;
  test)
    setup
    say "tests"
    # A worker a core, each with one thread: small networks gain nothing from more.
    OMP_NUM_THREADS=1 .venv/bin/python -m pytest \
      --numprocesses auto --maxprocesses 8 --dist loadscope "${@:2}"
    ;;
  *)
    echo "usage: ./run.sh [test [pytest arguments]]" >&2
    exit 2
    ;;
esac
