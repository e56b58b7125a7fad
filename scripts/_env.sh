# Sourced by the scripts beside it: finds a Python that limiar runs on, and defines `environment NAME...`.

for candidate in python3.11 python3.12 python3.13 python3; do
    # A name on the path can be an empty shim of a version manager: it counts only if it runs.
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "limiar needs Python 3.11, 3.12 or 3.13, but python3.11, python3.12, python3.13 and python3 are missing or another version: install one" >&2
    exit 1
fi

environment() { # NAME...
    "$python" scripts/environment.py "$@"
}

# A command may start dozens of processes; without bytecode each would compile all that it imports: 10 s for TensorFlow.
unset PYTHONDONTWRITEBYTECODE
